"""YAML or plain values → Recipe, or every problem at once: file, line, key, finding, remedy.

Two passes: Pydantic looks at the shape (types, ranges, unknown keys), then recipe_checks.py at what the parts
mean to each other. What failed the first pass is taken out, so that the second still sees the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from synthgen.errors import RecipeError
from synthgen.recipe import (
    FORMS,
    TABLE_SUFFIXES,
    AdapterSpec,
    ExportSpec,
    GenerateSpec,
    PromptSpec,
    Recipe,
    StopSpec,
    TargetSpec,
    TaskSpec,
    UniqueSpec,
    split_reference,
)
from synthgen.recipe_checks import check_meaning
from synthgen.recipe_findings import EXPECTED, NO_SCHEMA, is_path_like, shown, suggestion
from synthgen.yaml_lines import MAX_BYTES, Document, KeyPath, Problem, parse

TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "finite_number": "a finite number",
    "path_type": "a folder",
}


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file; raises RecipeError with one line per problem."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig", "ignore" if len(content) > MAX_BYTES else "strict")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; `synthgen init` writes a recipe to start from") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = "no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise RecipeError(f"{path}: cannot be read: {reason}; expected a YAML file") from None
    document = parse(text)
    recipe = None if document.problems else check(document, path.absolute().parent)
    if recipe is None:
        raise RecipeError([_line(f"{path}:{problem.line}", problem) for problem in _ordered(document)])
    recipe._path, recipe._source = path.absolute(), text
    return recipe


def check_mapping(content: Mapping[str, object], base: Path) -> Recipe:
    """The recipe in plain Python values; raises RecipeError with one line per problem."""
    document = Document(value=dict(content))
    recipe = check(document, base.absolute())
    if recipe is None:
        raise RecipeError([_line("recipe", problem) for problem in _ordered(document)])
    return recipe


def _line(place: str, problem: Problem) -> str:
    """One line, whatever the user's keys hold."""
    text = ": ".join(part for part in (place, problem.key, problem.text) if part)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _ordered(document: Document) -> list[Problem]:
    return sorted(set(document.problems))


def check(document: Document, base: Path) -> Recipe | None:
    """The recipe with its paths resolved against `base`; None if `document.problems` says why not."""
    if not isinstance(document.value, dict):
        found = "nothing" if document.value is None else "no keys"
        document.problem((), f"found {found}; expected a recipe's keys, `schema: …` first")
        return None
    recipe = _shape(document, document.value)
    if recipe is None:
        return None
    recipe = _resolved(recipe, base)
    check_meaning(document, recipe)
    if document.problems:
        return None
    generate = recipe.generate.model_copy(update={"mix": dict(recipe.mix)})
    return recipe.model_copy(update={"generate": generate})


def _shape(document: Document, content: dict[str, object]) -> Recipe | None:
    """Pydantic's findings as problems, and a recipe of what is left without them; None if nothing is."""
    for _ in range(5):
        try:
            return Recipe.model_validate(content)
        except ValidationError as error:
            content = _without_faults(document, content, error)
    return None


def _without_faults(
    document: Document, content: dict[str, object], error: ValidationError
) -> dict[str, object]:
    """Note each fault of `error`, and give back the content with the faulty keys taken out."""
    seen: set[KeyPath] = set()
    for fault in error.errors(include_url=False):
        path = _written_path(content, tuple(fault["loc"]), fault["type"])
        if path in seen:  # a union says every branch's complaint
            continue
        seen.add(path)
        unknown = fault["type"] == "extra_forbidden"
        document.problem(path if not unknown else path[:-1], _finding(fault, path, content))
        if unknown:
            last = document.problems.pop()
            document.problems.append(Problem(document.line(path), last.key, last.text, last.path))
    for path in sorted(seen, key=lambda p: [str(part) for part in p], reverse=True):
        content = _without(content, path)  # later list items first
    return content


def _written_path(content: object, loc: KeyPath, kind: str) -> KeyPath:
    """The part of Pydantic's location that the user wrote: union branches are none of the user's keys."""
    path: list[str | int] = []
    for part in loc:
        if part == 0 and isinstance(content, dict):
            continue  # one item, written without its list
        inside = isinstance(content, dict) and part in content
        if not inside and part in FORMS:
            continue
        if not inside and not (isinstance(content, list) and isinstance(part, int)):
            return (*path, part) if kind == "missing" else tuple(path)
        path.append(part)
        content = content[part]  # type: ignore[index]
    return tuple(path)


def _finding(fault: Mapping[str, object], path: KeyPath, content: object) -> str:
    """One line of what was found, what was expected, and what to write."""
    kind, context = str(fault["type"]), fault.get("ctx")
    facts: Mapping[str, object] = context if isinstance(context, Mapping) else {}
    key = str(next((part for part in reversed(path) if isinstance(part, str)), ""))
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; {suggestion(key, _known_keys(path))}"
    if kind == "missing":
        return f"missing; expected {EXPECTED.get(key, 'a value')}"
    found = f"found {shown(_at(content, path))}"
    if kind == "value_error":  # a check of ours, which says all there is to say
        return f"{found}; {facts['error']}"
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", str(facts.get("expected", "")))
        return f"{found}; {suggestion(str(fault['input']), options)}"
    limits = {"gt": "above", "ge": "of at least", "lt": "under", "le": "of at most"}
    for name, words in limits.items():
        if name in facts:
            return f"{found}; expected a number {words} {facts[name]:g}"
    if kind in ("string_too_short", "too_short"):
        return f"{found}; expected {EXPECTED.get(key, 'something')}, or leave the key out"
    if key in EXPECTED and not isinstance(path[-1], int):
        return f"{found}; expected {EXPECTED[key]}"
    return f"{found}; expected {TYPES.get(kind, str(fault['msg']).lower())}"


def _known_keys(path: KeyPath) -> list[str]:
    """The keys that could stand where the last part of `path` does."""
    models: dict[str, type[BaseModel]] = {
        "generate": GenerateSpec,
        "export": ExportSpec,
        "prompt": PromptSpec,
        "prompts": TaskSpec,
        "unique": UniqueSpec,
        "stop": StopSpec,
        "target": TargetSpec,
    }
    parent = next((part for part in reversed(path[:-1]) if isinstance(part, str)), "")
    within_adapter = len(path) == 3 and path[0] == "adapters"
    model: type[BaseModel] = (
        Recipe if len(path) == 1 else AdapterSpec if within_adapter else models.get(parent, Recipe)
    )
    return [field.alias or name for name, field in model.model_fields.items()]


def _at(content: object, path: KeyPath) -> object:
    for part in path:
        content = content[part]  # type: ignore[index]
    return content


def _without(content: dict[str, object], path: KeyPath) -> dict[str, object]:
    """A copy without one key or list item; a missing schema and a faulty prompt are replaced by stand-ins."""
    if path == ("schema",):
        return content | {"schema": NO_SCHEMA}
    if not path:
        return content

    def cut(value: object, rest: KeyPath) -> object:
        head, tail = rest[0], rest[1:]
        if isinstance(value, dict):
            kept = dict(value)
            if tail and head in kept:
                kept[head] = cut(kept[head], tail)
            else:
                kept.pop(head, None)
            return kept
        if isinstance(value, list) and isinstance(head, int):
            # the prompts behind a faulty one keep their places, and so their lines
            stand_in: list[object] = [{}] if "prompts" in path else []
            return [*value[:head], *([cut(value[head], tail)] if tail else stand_in), *value[head + 1 :]]
        return value

    cut_content = cut(content, path)
    assert isinstance(cut_content, dict)
    return cut_content


def _resolved(recipe: Recipe, base: Path) -> Recipe:
    """The recipe with every path made absolute, from the folder of the YAML."""

    def absolute(text: str) -> str:
        path = Path(text).expanduser()
        return str(path if path.is_absolute() else Path(*_normal((base / path).parts)))

    def reference(text: str) -> str:
        file, name = split_reference(text)
        if not file.endswith((".py", *TABLE_SUFFIXES)):
            return text  # package.module:Class
        return absolute(file) + (f":{name}" if name else "")

    def targets(spec: AdapterSpec | TaskSpec | TargetSpec) -> object:
        return reference(spec.targets) if isinstance(spec.targets, str) else spec.targets

    def task(spec: TaskSpec) -> TaskSpec:
        schema = None if spec.schema_ref is None else reference(spec.schema_ref)
        return spec.model_copy(update={"schema_ref": schema, "targets": targets(spec)})

    adapters = {
        key: spec.model_copy(
            update={
                "targets": targets(spec),
                "prompts": None if spec.prompts is None else [task(prompt) for prompt in spec.prompts],
                "use": None if spec.use is None else absolute(spec.use),
            }
        )
        for key, spec in recipe.adapters.items()
    }
    target = recipe.target
    folder = recipe.export.dir
    export = recipe.export.model_copy(update={"dir": None if folder is None else Path(absolute(str(folder)))})
    is_folder = is_path_like(recipe.model) or (
        recipe.model != "nano" and Path(absolute(recipe.model)).is_dir()
    )
    update: dict[str, object] = {
        "schema_ref": recipe.schema_ref if recipe.schema_ref == NO_SCHEMA else reference(recipe.schema_ref),
        "model": absolute(recipe.model) if is_folder else recipe.model,
        "target": None if target is None else target.model_copy(update={"targets": targets(target)}),
        "adapters": adapters,
        "export": export,
        "tuned_dir": None if recipe.tuned_dir is None else Path(absolute(str(recipe.tuned_dir))),
    }
    return recipe.model_copy(update=update)


def _normal(parts: Sequence[str]) -> list[str]:
    """Parts of an absolute path with `.` and `..` taken out, links left as they are."""
    kept: list[str] = []
    for part in parts:
        if part == ".." and len(kept) > 1:
            kept.pop()
        elif part not in (".", ".."):
            kept.append(part)
    return kept
