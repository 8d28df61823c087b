"""What the parts of a recipe mean to each other: fields to schema, shares to adapters, gates to targets.

The second pass over a recipe, after recipe_reading.py has found its shape to be right; every fault becomes a
problem of the document, with its key, and nothing is raised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from synthgen.errors import RecipeError, SynthgenError
from synthgen.recipe import BASE, TABLE_SUFFIXES, AdapterSpec, Recipe
from synthgen.schema import FieldSpec, RecordSchema
from synthgen.yaml_lines import Document, KeyPath, dotted

T = TypeVar("T")

DISTANCES = ("tv", "js", "kl")  # gates that are upper limits
LEAST = ("entropy", "coverage")  # gates that are lower limits
NO_SCHEMA = "-"  # stands in for a schema that is missing or wrong, while the rest is checked

EXPECTED = {  # what a key takes, where its type alone would not tell the user what to write
    "schema": "a Pydantic model such as ../schemas/biography.py:Biography",
    "targets": "a function (file.py:function), a table (.csv, .parquet, .jsonl) or marginals by field",
    "fields": "a list of field names such as [name, gender]",
    "closed": "distributions by field such as gender: {Female: 0.5, Male: 0.5}",
    "adapters": "adapters by name, each with `targets` or `use`",
    "mix": "shares by adapter such as {biographies: 1.0}",
    "gates": "limits by field such as gender: {tv: 0.05}",
    "use": "the folder of a tuned adapter",
}


def check_meaning(document: Document, recipe: Recipe) -> None:
    """Note every fault of a recipe whose shape is right and whose paths are absolute."""
    schema = _check_schema(document, recipe)
    _check_model(document, recipe)
    _check_prompt(document, recipe)
    for name, spec in recipe.adapters.items():
        _check_adapter(document, name, spec, recipe, schema)
    _check_mix(document, recipe)
    _check_gates(document, recipe, schema)


def shown(value: object) -> str:
    """A value as an error prints it: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "keys with values" if value else "{}"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


def suggestion(found: str, options: Iterable[str]) -> str:
    """`did you mean 'x'?` if something is close, else what there is."""
    options = list(options)
    close = get_close_matches(found, options, n=1, cutoff=0.6)
    if not close:  # a difference in case alone
        close = [option for option in options if option.casefold() == found.casefold()]
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(repr(option) for option in options[:12]) + (", …" if len(options) > 12 else "")
    return f"expected {shown}" if options else "expected none"


def is_path_like(model: str) -> bool:
    """Whether a model's name can only be a folder: a Hugging Face id has one slash at most."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model


def _check_schema(document: Document, recipe: Recipe) -> RecordSchema | None:
    if recipe.schema_ref == NO_SCHEMA:
        return None
    return _attempt(document, ("schema",), recipe.record_schema)


def _attempt(document: Document, path: KeyPath, action: Callable[[], T]) -> T | None:
    """Run a check of another room; its problems become ours, with the line."""
    try:
        return action()
    except RecipeError as error:
        for text in error.problems:
            document.problem(path, text.removeprefix(f"{path[-1]}: "))
    except SynthgenError as error:
        document.problem(path, str(error))
    return None


def _is_faulty(document: Document, path: KeyPath) -> bool:
    """Whether a problem is known at this key or under it: what only follows from it is not reported."""
    key = dotted(path)
    return any(p.key == key or p.key.startswith(key + ".") for p in document.problems)


def _written(document: Document, *path: str) -> list[str]:
    """The keys that the user wrote at a path."""
    value: object = document.value
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return list(value) if isinstance(value, dict) else []


def _check_model(document: Document, recipe: Recipe) -> None:
    if is_path_like(recipe.model) and not (Path(recipe.model) / "config.json").is_file():
        missing = "no model in it (config.json)" if Path(recipe.model).is_dir() else "no such folder"
        document.problem(
            ("model",), f"{recipe.model}: {missing}; expected nano, a Hugging Face id or a model's folder"
        )


def _check_prompt(document: Document, recipe: Recipe) -> None:
    if recipe.prompt and recipe.prompt.text and recipe.prompt.instruction:
        document.problem(
            ("prompt", "text"), "stands beside `instruction`; text is the whole message: keep one of them"
        )


def _check_adapter(
    document: Document, name: str, spec: AdapterSpec, recipe: Recipe, schema: RecordSchema | None
) -> None:
    at: KeyPath = ("adapters", name)
    if name == BASE or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        document.problem(
            at, f"{name!r} is no adapter's name; use letters, digits, _ . - (base is the untuned model)"
        )
    others = [key for key in _written(document, *map(str, at)) if key != "use"]
    if spec.use is not None:
        if others:
            document.problem(
                (*at, "use"), f"stands beside {others[0]!r}; a ready adapter is used as it is: keep one"
            )
        else:
            _check_folder(document, (*at, "use"), Path(spec.use))
        return
    if spec.targets is None:
        if not _is_faulty(document, (*at, "targets")) and not _is_faulty(document, (*at, "use")):
            document.problem(
                at, "neither `targets` nor `use`; write what to tune on, or a tuned adapter's folder"
            )
        return
    if spec.steps is not None and spec.stop.steps is not None:
        document.problem((*at, "stop", "steps"), "stands beside the adapter's own `steps`; keep one of them")
    if spec.stop.gamma is not None and spec.fresh:
        document.problem(
            (*at, "stop", "gamma"),
            "needs a fixed list of targets, but fresh is true; remove one, or stop by kl, patience or steps",
        )
    if schema is None:
        return
    is_sound = _check_fields(document, (*at, "fields"), spec, schema)
    is_sound &= _check_closed(document, at, spec, schema)
    is_sound &= _check_marginals(document, (*at, "targets"), spec, schema)
    if is_sound:
        _check_targets(document, (*at, "targets"), name, spec, recipe)


def _check_folder(document: Document, path: KeyPath, folder: Path) -> None:
    if not folder.is_dir():
        document.problem(path, f"{folder}: no such folder; `synthgen adapters list` shows what there is")
        return
    for file in ("adapter_config.json", "manifest.json"):
        if not (folder / file).is_file():
            document.problem(path, f"{folder}: no {file}; expected an adapter that `synthgen tune` wrote")


def _check_fields(document: Document, path: KeyPath, spec: AdapterSpec, schema: RecordSchema) -> bool:
    """Known, once each, and the schema's first ones in its order."""
    if spec.fields is None or _is_faulty(document, path):
        return not _is_faulty(document, path)
    before = len(document.problems)
    for i, name in enumerate(spec.fields):
        if name not in schema.names:
            _unknown_field(document, (*path, i), name, schema, derived=False)
    if len(document.problems) == before and tuple(spec.fields) != schema.names[: len(spec.fields)]:
        found = ", ".join(spec.fields)
        leading = ", ".join(schema.names[: len(set(spec.fields))])
        document.problem(
            path,
            f"found [{found}]; expected {schema.name}'s leading fields in order: [{leading}]",
        )
    return len(document.problems) == before


def _unknown_field(
    document: Document,
    path: KeyPath,
    name: str,
    schema: RecordSchema,
    *,
    derived: bool,
    more: Sequence[str] = (),
) -> None:
    names = [*schema.names, *(field.name for field in schema.derived if derived), *more]
    if not derived and name in {field.name for field in schema.derived}:
        text = f"{name!r} is a derived field of {schema.name}; name the fields that it is computed from"
    else:
        text = f"{name!r} is no field of {schema.name}; {suggestion(name, names)}"
    document.problem(path, text)


def _check_closed(document: Document, at: KeyPath, spec: AdapterSpec, schema: RecordSchema) -> bool:
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
            _unknown_field(document, here, name, schema, derived=False)
            continue
        if name not in fields:
            document.problem(
                here, f"{name!r} is not among the tuned fields [{', '.join(fields)}]; add it there"
            )
        _check_weights(document, here, weights, schema.field(name))
        if not math.isclose(total := sum(weights.values()), 1, abs_tol=1e-6) and not _is_faulty(
            document, here
        ):
            document.problem(here, f"found probabilities that add up to {total:.6g}; expected 1")
    return len(document.problems) == before


def _check_marginals(document: Document, path: KeyPath, spec: AdapterSpec, schema: RecordSchema) -> bool:
    """Plain weights by value are looked at here, value by value; other forms by the targets themselves."""
    before = len(document.problems)
    if not isinstance(spec.targets, dict):
        return True
    if not spec.targets:
        document.problem(path, f"found {{}}; expected {EXPECTED['targets']}")
    for name, weights in spec.targets.items():
        here = (*path, name)
        if name not in schema.names:
            _unknown_field(document, here, name, schema, derived=False)
        elif isinstance(weights, dict) and weights and all(_is_number(w) for w in weights.values()):
            _check_weights(document, here, weights, schema.field(name))
    if len(document.problems) == before:
        names = tuple(name for name in schema.names if name in spec.targets)
        wanted = schema.names[: len(names)] if spec.fields is None else tuple(spec.fields)
        if names != wanted:
            document.problem(
                path,
                f"found marginals of [{', '.join(names)}]; expected the leading fields [{', '.join(wanted)}]",
            )
    return len(document.problems) == before


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


def _check_targets(document: Document, path: KeyPath, name: str, spec: AdapterSpec, recipe: Recipe) -> None:
    """The function gives tuples that fit, the marginals make sense; a table's rows are read by the run."""
    if not isinstance(spec.targets, str) or not spec.targets.endswith(TABLE_SUFFIXES):
        _attempt(document, path, lambda: recipe.targets_of(name))
    elif not Path(spec.targets).is_file():
        document.problem(path, f"{spec.targets}: no such file; expected {EXPECTED['targets']}")


def _check_mix(document: Document, recipe: Recipe) -> None:
    path: KeyPath = ("generate", "mix")
    known = [*_written(document, "adapters"), BASE]
    for name in recipe.generate.mix:
        if name not in known:
            document.problem(
                (*path, name), f"{name!r} is no adapter of this recipe; {suggestion(name, known)}"
            )
    if len(known) > 2 and not recipe.generate.mix and not _is_faulty(document, path):
        document.problem(
            path, f"missing; expected a share for each of {', '.join(known[:-1])} (base is the untuned model)"
        )


def _check_gates(document: Document, recipe: Recipe, schema: RecordSchema | None) -> None:
    for name, limits in recipe.gates.items():
        path: KeyPath = ("gates", name)
        if name == "parse_rate":
            _check_limit(document, path, limits, 1.0)
            continue
        if schema is not None and name not in schema.names and name not in {f.name for f in schema.derived}:
            _unknown_field(document, path, name, schema, derived=True, more=("parse_rate",))
        if not isinstance(limits, dict):
            document.problem(
                path, f"found {shown(limits)}; expected a measure and its limit such as {{tv: 0.05}}"
            )
            continue
        for measure, limit in limits.items():
            if measure not in (*DISTANCES, *LEAST):
                text = f"{measure!r} is no measure; {suggestion(measure, (*DISTANCES, *LEAST))}"
                document.problem((*path, measure), text)
                continue
            _check_limit(
                document, (*path, measure), limit, {"tv": 1.0, "js": math.log(2)}.get(measure, math.inf)
            )
            if measure in DISTANCES and schema is not None and name in schema.names:
                _check_has_target(document, (*path, measure), name, recipe)


def _check_limit(document: Document, path: KeyPath, limit: object, most: float) -> None:
    if not isinstance(limit, int | float) or not 0 <= limit <= most:
        words = "a number of at least 0" if most == math.inf else f"a number from 0 to {most:.4g}"
        document.problem(path, f"found {shown(limit)}; expected {words}")


def _check_has_target(document: Document, path: KeyPath, field: str, recipe: Recipe) -> None:
    """Some adapter must be tuned on the field; what only its targets know is left to the run."""
    if _is_faulty(document, ("adapters",)):
        return
    for spec in recipe.adapters.values():
        fields = spec.targets if isinstance(spec.targets, dict) else spec.fields
        if spec.use is None and (fields is None or field in fields):
            return
    document.problem(
        path,
        f"no adapter declares a distribution of {field!r}; tune it, or gate its entropy or coverage instead",
    )
