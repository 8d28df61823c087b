"""What the parts of a recipe mean to each other: fields to schema, shares to adapters, gates to targets.

The second pass over a recipe, after recipe_reading.py has found its shape to be right; every fault becomes a
problem of the document, with its key, and nothing is raised.
"""

from __future__ import annotations

import math
from pathlib import Path

from synthgen.adapter_checks import check_adapter, check_prompt
from synthgen.recipe import BASE, Recipe, TargetSpec, TaskSpec
from synthgen.recipe_findings import (
    NO_SCHEMA,
    attempt,
    is_endpoint,
    is_path_like,
    shown,
    suggestion,
    unknown_field,
    written,
)
from synthgen.recipe_tasks import own_task
from synthgen.remedy_checks import check_remedy, check_target
from synthgen.schema import RecordSchema
from synthgen.yaml_lines import Document, KeyPath

DISTANCES = ("tv", "js", "kl")  # gates that are upper limits
LEAST = ("entropy", "coverage")  # gates that are lower limits
LEAST_RATES, MOST_RATES = ("parse_rate",), ("duplicate_rate",)  # gates on the whole dataset


def check_meaning(document: Document, recipe: Recipe) -> None:
    """Note every fault of a recipe whose shape is right and whose paths are absolute."""
    schema = _check_schema(document, recipe)
    _check_model(document, recipe)
    check_prompt(document, ("prompt",), recipe.prompt)
    for name, spec in recipe.adapters.items():
        check_adapter(document, name, spec, recipe, schema)
    _check_mix(document, recipe)
    check_target(document, recipe, schema)
    check_remedy(document, recipe, schema)
    _check_unique(document, recipe, schema)
    _check_gates(document, recipe, schema)


def _check_schema(document: Document, recipe: Recipe) -> RecordSchema | None:
    if recipe.schema_ref == NO_SCHEMA:
        return None
    return attempt(document, ("schema",), recipe.record_schema)


def _check_model(document: Document, recipe: Recipe) -> None:
    if is_endpoint(recipe.model):
        document.problem(
            ("model",),
            f"{recipe.model}: an endpoint's weights are closed, so no adapter is tuned and no soft prompt trained or "
            "served there; expected nano, a Hugging Face id or a model's folder",
        )
    elif is_path_like(recipe.model) and not (Path(recipe.model) / "config.json").is_file():
        missing = "no model in it (config.json)" if Path(recipe.model).is_dir() else "no such folder"
        document.problem(
            ("model",), f"{recipe.model}: {missing}; expected nano, a Hugging Face id or a model's folder"
        )


def _check_mix(document: Document, recipe: Recipe) -> None:
    path: KeyPath = ("generate", "mix")
    known = [*written(document, "adapters"), BASE]
    for name in recipe.generate.mix:
        if name not in known:
            document.problem(
                (*path, name), f"{name!r} is no adapter of this recipe; {suggestion(name, known)}"
            )
    if len(known) > 2 and not recipe.generate.mix and not document.is_faulty(path):
        document.problem(
            path, f"missing; expected a share for each of {', '.join(known[:-1])} (base is the untuned model)"
        )


def _check_unique(document: Document, recipe: Recipe, schema: RecordSchema | None) -> None:
    """Known fields, once each, and `near` for text alone."""
    if schema is None or document.is_faulty(("unique",)):
        return
    for rule in recipe.unique:
        names = rule.fields or list(schema.names)
        known = {field.name: field for field in (*schema.fields, *schema.derived)}
        for name in names:
            if name not in known:
                unknown_field(document, ("unique",), name, schema, derived=True)
            elif names.count(name) > 1:
                document.problem(("unique",), f"{name!r} is named twice; name it once")
        if rule.near is not None and not any(
            field.kind == "str" for name in names if (field := known.get(name))
        ):
            document.problem(
                ("unique",), f"near compares text, and {rule.label} has none; leave near out, or name a text"
            )


def _check_gates(document: Document, recipe: Recipe, schema: RecordSchema | None) -> None:
    for name, limits in recipe.gates.items():
        path: KeyPath = ("gates", name)
        if name in (*LEAST_RATES, *MOST_RATES):
            _check_limit(document, path, limits, 1.0)
            continue
        if schema is not None and name not in schema.names and name not in {f.name for f in schema.derived}:
            unknown_field(document, path, name, schema, derived=True, more=(*LEAST_RATES, *MOST_RATES))
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
            if measure in DISTANCES and schema is not None and not document.is_faulty(path):
                _check_has_target(document, (*path, measure), name, recipe, schema)


def _check_limit(document: Document, path: KeyPath, limit: object, most: float) -> None:
    if not isinstance(limit, int | float) or not 0 <= limit <= most:
        words = "a number of at least 0" if most == math.inf else f"a number from 0 to {most:.4g}"
        document.problem(path, f"found {shown(limit)}; expected {words}")


def _check_has_target(
    document: Document, path: KeyPath, field: str, recipe: Recipe, schema: RecordSchema
) -> None:
    """All of the mix must be tuned on the field, in the recipe's own prompt; what only targets know is left.

    `target` stands for all of them, and what is balanced is declared by any of them.
    """
    if any(document.is_faulty(place) for place in (("adapters",), ("target",), ("generate", "mix"))):
        return
    if recipe.target is not None:
        if not _names_field(recipe.target, field, schema):
            document.problem(
                path,
                f"`target` declares no distribution of {field!r}; add it there, or gate its entropy or coverage",
            )
        return
    if recipe.generate.balance != "none" and any(
        _declares(recipe, name, field, schema) for name in recipe.adapters
    ):
        return
    lacking = [name for name, _ in recipe.mix if not _declares(recipe, name, field, schema)]
    if lacking:
        who = (
            "no adapter declares a"
            if len(lacking) == len(recipe.mix)
            else f"{lacking[0]!r}, in the mix, declares no"
        )
        document.problem(
            path, f"{who} distribution of {field!r}; tune it, or gate its entropy or coverage instead"
        )


def _declares(recipe: Recipe, name: str, field: str, schema: RecordSchema) -> bool:
    number = own_task(recipe, name) if name in recipe.adapters else None
    if number is None:
        return False
    return _names_field(recipe.adapters[name].tasks[number], field, schema)


def _names_field(spec: TargetSpec | TaskSpec, field: str, schema: RecordSchema) -> bool:
    """Whether targets cover a field, as far as a recipe says; derived ones may follow from any."""
    fields = spec.targets if isinstance(spec.targets, dict) else spec.fields
    return fields is None or field in fields or field not in schema.names
