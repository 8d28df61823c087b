"""What an adapter of a recipe means: its prompts, their fields and targets, and whether it fits what it is to serve.

Part of the second pass over a recipe (recipe_checks.py): faults become problems of the document.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from synthgen.adapters import CONFIG, MANIFEST, PROMPT_TEXT
from synthgen.conditionals import is_table
from synthgen.elicit.checks import check_method
from synthgen.recipe import BASE, TABLE_SUFFIXES, AdapterSpec, PromptSpec, Recipe, TaskSpec
from synthgen.recipe_findings import EXPECTED, attempt, suggestion, unknown_field, written
from synthgen.recipe_tasks import message, own_task, task_schema, task_words
from synthgen.schema import FieldSpec, RecordSchema
from synthgen.yaml_lines import Document, KeyPath


def check_prompt(document: Document, path: KeyPath, words: PromptSpec | None) -> None:
    """One way of wording a prompt, not two."""
    if words and words.text and words.instruction:
        document.problem(
            (*path, "text"), "stands beside `instruction`; text is the whole message: keep one of them"
        )


def check_adapter(
    document: Document, name: str, spec: AdapterSpec, recipe: Recipe, schema: RecordSchema | None
) -> None:
    """An adapter that is tuned here, or taken ready-made; `schema` is the recipe's own, None if it is faulty."""
    at: KeyPath = ("adapters", name)
    if name == BASE or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        document.problem(
            at, f"{name!r} is no adapter's name; use letters, digits, _ . - (base is the untuned model)"
        )
    others = [key for key in written(document, *map(str, at)) if key != "use"]
    if spec.use is not None:
        if others:
            document.problem(
                (*at, "use"), f"stands beside {others[0]!r}; a ready adapter is used as it is: keep one"
            )
        else:
            _check_folder(document, (*at, "use"), Path(spec.use))
        return
    if not spec.tasks:
        if not any(document.is_faulty((*at, key)) for key in ("targets", "prompts", "use")):
            document.problem(
                at, "neither `targets` nor `use`; write what to tune on, or a tuned adapter's folder"
            )
        return
    for key in ("targets", "fields", "closed"):
        if spec.prompts is not None and key in others:
            document.problem(
                (*at, key), "stands beside `prompts`; move it into the prompt that it belongs to"
            )
    if not check_method(document, at, spec, recipe):
        return
    if spec.steps is not None and spec.stop.steps is not None:
        document.problem((*at, "stop", "steps"), "stands beside the adapter's own `steps`; keep one of them")
    _check_stop(document, (*at, "stop"), spec)
    if spec.stop.gamma is not None and spec.fresh:
        document.problem(
            (*at, "stop", "gamma"),
            "needs a fixed list of targets, but fresh is true; remove one, or stop by kl, patience or steps",
        )
    if spec.after is not None:
        _check_after(document, (*at, "after"), name, spec, recipe)
    if schema is None:
        return
    places: list[KeyPath] = (
        [at] if spec.prompts is None else [(*at, "prompts", i) for i in range(len(spec.tasks))]
    )
    known: dict[str, KeyPath] = {}
    for i, (place, task) in enumerate(zip(places, spec.tasks, strict=True)):
        text = _check_task(document, place, name, i, recipe)
        if text in known:
            first = document.line(known[text])
            document.problem(
                place, f"the same prompt as in line {first}; write it once, with all its targets"
            )
        elif text is not None:
            known[text] = place
        if not document.is_faulty(at):
            _check_kl(document, (*at, "stop"), name, i, task, recipe)
    if not document.is_faulty(at):
        _check_tolerance(document, (*at, "stop", "tolerance"), name, recipe)
    if not document.is_faulty(at) and spec.scope == "record" and name in dict(recipe.mix):
        _check_scope(document, (*at, "scope"), name, recipe)


def _check_after(document: Document, path: KeyPath, name: str, spec: AdapterSpec, recipe: Recipe) -> None:
    """It starts from the weights of an adapter that is there by then, and of the same shape."""
    above = list(recipe.adapters)[: list(recipe.adapters).index(name)]
    if spec.after not in above:
        document.problem(
            path, f"{spec.after!r} is no adapter above this one; {suggestion(str(spec.after), above)}"
        )
        return
    first = recipe.adapters[spec.after]
    shape, of_first = (spec.rank, spec.alpha), (first.rank, first.alpha)
    if first.use is None and shape != of_first:
        document.problem(path, f"{spec.after!r} has another rank or alpha; give both the same")


def _check_task(document: Document, at: KeyPath, name: str, number: int, recipe: Recipe) -> str | None:
    """One prompt that an adapter is tuned on; its message, if that can be said."""
    task = recipe.adapters[name].tasks[number]
    if task.targets is None:
        if not document.is_faulty(at):
            document.problem(at, f"no `targets`; expected {EXPECTED['targets']}")
        return None
    check_prompt(document, (*at, "prompt"), task.prompt)
    if document.is_faulty((*at, "schema")) or document.is_faulty((*at, "prompt")):
        return None
    schema = attempt(document, (*at, "schema"), lambda: task_schema(recipe, task))
    if schema is None:
        return None
    is_sound = check_fields(document, (*at, "fields"), task, schema)
    is_sound &= check_closed(document, at, task, schema)
    is_sound &= check_marginals(document, (*at, "targets"), task, schema)
    if is_sound:
        _check_targets(document, (*at, "targets"), name, number, recipe)
    return message(schema, task_words(recipe, task))


def _check_kl(
    document: Document, path: KeyPath, name: str, number: int, task: TaskSpec, recipe: Recipe
) -> None:
    """To stop by KL or tolerance it must be known: no table is read here, and none is drawn afresh."""
    spec = recipe.adapters[name]
    keys = [key for key in ("kl", "tolerance") if getattr(spec.stop, key) is not None]
    if not keys or (isinstance(task.targets, str) and task.targets.endswith(TABLE_SUFFIXES)):
        return
    source = recipe.targets_of(name, number)
    if spec.tuning_config().is_fresh(source.fresh) and not source.declared.names:
        document.problem(
            (*path, keys[0]),
            "other tuples come at every step and none of their fields is in `closed`: no KL is known to stop by; "
            "declare a field there, or stop by patience or steps",
        )


def _check_stop(document: Document, path: KeyPath, spec: AdapterSpec) -> None:
    """Ways to stop that the method knows, and that do not contradict each other."""
    stop = spec.stop
    foreign = {"sft": ("gamma", "kl", "tolerance"), "hard-prompt": ("tolerance", "tokens", "seconds")}
    for key in foreign.get(spec.method, ()):
        if getattr(stop, key) is not None:
            ways = "steps, tokens, seconds or patience" if spec.method == "sft" else "kl or steps"
            document.problem((*path, key), f"means nothing to `method: {spec.method}`; stop by {ways}")
    for key in ("patience", "tokens", "seconds"):
        if stop.tolerance is not None and getattr(stop, key) is not None:
            document.problem(
                (*path, key), "stands beside `tolerance`, which decides how long to go on; keep one of them"
            )


def _check_tolerance(document: Document, path: KeyPath, name: str, recipe: Recipe) -> None:
    """Fields that have a tolerance of their own are tuned on."""
    spec = recipe.adapters[name]
    if not isinstance(spec.stop.tolerance, dict) or any(
        isinstance(task.targets, str) and task.targets.endswith(TABLE_SUFFIXES) for task in spec.tasks
    ):
        return
    known = [field for i in range(len(spec.tasks)) for field in recipe.targets_of(name, i).fields]
    for field in spec.stop.tolerance:
        if field not in known:
            text = f"{field!r} is no field that is tuned; {suggestion(field, known)}"
            document.problem((*path, field), text)


def _check_scope(document: Document, path: KeyPath, name: str, recipe: Recipe) -> None:
    if own_task(recipe, name) is None:
        document.problem(
            path,
            "not `any`, but the mix lets it answer the recipe's own prompt, which it is not tuned on; "
            "write `scope: any`, or add that prompt: {targets: …}",
        )


def _check_folder(document: Document, path: KeyPath, folder: Path) -> None:
    if not folder.is_dir():
        document.problem(path, f"{folder}: no such folder; `synthgen adapters list` shows what there is")
        return
    config = PROMPT_TEXT if (folder / PROMPT_TEXT).is_file() else CONFIG  # a hard prompt has no PEFT files
    for file in (config, MANIFEST):
        if not (folder / file).is_file():
            document.problem(path, f"{folder}: no {file}; expected an adapter that `synthgen tune` wrote")


def check_fields(document: Document, path: KeyPath, spec: TaskSpec, schema: RecordSchema) -> bool:
    """Known, once each, and the schema's first ones in its order."""
    if spec.fields is None or document.is_faulty(path):
        return not document.is_faulty(path)
    before = len(document.problems)
    for i, name in enumerate(spec.fields):
        if name not in schema.names:
            unknown_field(document, (*path, i), name, schema, derived=False)
    if len(document.problems) == before and tuple(spec.fields) != schema.names[: len(spec.fields)]:
        found = ", ".join(spec.fields)
        leading = ", ".join(schema.names[: len(set(spec.fields))])
        document.problem(
            path,
            f"found [{found}]; expected {schema.name}'s leading fields in order: [{leading}]",
        )
    return len(document.problems) == before


def check_closed(document: Document, at: KeyPath, spec: TaskSpec, schema: RecordSchema) -> bool:
    """Known fields among those tuned, with probabilities that add up to 1."""
    before = len(document.problems)
    path = (*at, "closed")
    if spec.closed and isinstance(spec.targets, dict):
        document.problem(
            path, "stands beside inline marginals, which are closed already; move it into `targets`"
        )
    fields = spec.fields or schema.names
    for name, weights in spec.closed.items():
        here = (*path, name)
        if name not in schema.names:
            unknown_field(document, here, name, schema, derived=False)
            continue
        if name not in fields:
            document.problem(
                here, f"{name!r} is not among the tuned fields [{', '.join(fields)}]; add it there"
            )
        if not is_table(weights):
            numbers = {value: weight for value, weight in weights.items() if isinstance(weight, int | float)}
            _check_weights(document, here, numbers, schema.field(name))
            total = sum(numbers.values())
            if not math.isclose(total, 1, abs_tol=1e-6) and not document.is_faulty(here):
                document.problem(here, f"found probabilities that add up to {total:.6g}; expected 1")
    if len(document.problems) == before:
        _check_tables(document, path, spec.closed, schema, tuple(fields))
    return len(document.problems) == before


def check_marginals(document: Document, path: KeyPath, spec: TaskSpec, schema: RecordSchema) -> bool:
    """Plain weights by value are looked at here, value by value; other forms by the targets themselves."""
    before = len(document.problems)
    if not isinstance(spec.targets, dict):
        return True
    if not spec.targets:
        document.problem(path, f"found {{}}; expected {EXPECTED['targets']}")
    for name, weights in spec.targets.items():
        here = (*path, name)
        if name not in schema.names:
            unknown_field(document, here, name, schema, derived=False)
        elif isinstance(weights, dict) and weights and all(_is_number(w) for w in weights.values()):
            _check_weights(document, here, weights, schema.field(name))
    names = tuple(name for name in schema.names if name in spec.targets)
    if len(document.problems) == before and not document.is_faulty((*path[:-1], "fields")):
        wanted = schema.names[: len(names)] if spec.fields is None else tuple(spec.fields)
        if names != wanted:
            document.problem(
                path,
                f"found marginals of [{', '.join(names)}]; expected the leading fields [{', '.join(wanted)}]",
            )
    if len(document.problems) == before:
        _check_tables(document, path, spec.targets, schema, names)
    return len(document.problems) == before


def _check_tables(
    document: Document,
    path: KeyPath,
    forms: Mapping[str, object],
    schema: RecordSchema,
    names: tuple[str, ...],
) -> None:
    """Tables of one field given another: parents before their children, a row for each of the parent's values."""
    from synthgen.declared import read_forms, wrong_sum
    from synthgen.target_rows import RowReader

    tables = {name: form for name, form in forms.items() if is_table(form)}
    if not tables:
        return
    faults = read_forms(RowReader("", schema, names), forms)[1]
    for name, form in tables.items():
        if name in faults:
            document.problem((*path, name), faults[name].removeprefix(f"field {name!r}: "))
        elif path[-1] == "closed" and (finding := wrong_sum(form)):
            document.problem((*path, name), finding)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_weights(document: Document, path: KeyPath, weights: Mapping[str, float], field: FieldSpec) -> None:
    from synthgen.braces import render_value

    if not weights:
        document.problem(path, "found {}; expected at least one value with its weight")
    allowed = None if field.support is None else {render_value(field, value) for value in field.support}
    for value, weight in weights.items():
        if allowed is not None and value not in allowed:
            options = [render_value(field, v) for v in field.support or ()]
            document.problem(
                (*path, value), f"{value!r} is no value of {field.name!r}; {suggestion(value, options)}"
            )
        if not weight > 0:
            document.problem(
                (*path, value),
                f"found the weight {weight:g}; expected a number above 0 (leave the value out for none)",
            )


def _check_targets(document: Document, path: KeyPath, name: str, number: int, recipe: Recipe) -> None:
    """The function gives tuples that fit, the marginals make sense; a table's rows are read by the run."""
    targets = recipe.adapters[name].tasks[number].targets
    if not isinstance(targets, str) or not targets.endswith(TABLE_SUFFIXES):
        attempt(document, path, lambda: recipe.targets_of(name, number))
    elif not Path(targets).is_file():
        document.problem(path, f"{targets}: no such file; expected {EXPECTED['targets']}")
