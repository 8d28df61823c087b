"""A recipe's adapters → the prompts they are tuned on, their targets, and the distribution these declare.

Stands between `recipe` and `run`: what a prompt of an adapter leaves out is the recipe's own, and a prompt is
"the recipe's own" when it asks for the recipe's record in the recipe's words.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthgen.errors import RecipeError
from synthgen.targets import Reference, load_targets
from synthgen.together import mixed

if TYPE_CHECKING:
    from synthgen.recipe import PromptSpec, Recipe, TargetSpec, TaskSpec
    from synthgen.schema import RecordSchema
    from synthgen.targets import Distribution, TargetSource


def task_schema(recipe: Recipe, task: TaskSpec) -> RecordSchema:
    """The record that a prompt asks for; RecipeError if it cannot be loaded."""
    if _has_own_schema(recipe, task):
        return recipe.record_schema()
    from synthgen.schema import RecordSchema, load_model

    assert task.schema_ref is not None
    return RecordSchema.from_model(load_model(task.schema_ref, recipe.base))


def task_words(recipe: Recipe, task: TaskSpec) -> PromptSpec | None:
    """How a prompt is worded, where not as usual."""
    return recipe.prompt if task.prompt is None and _has_own_schema(recipe, task) else task.prompt


def message(schema: RecordSchema, words: PromptSpec | None) -> str:
    """The user message that asks for a record."""
    from synthgen.braces import instruct

    if words and words.text:
        return words.text
    return instruct(schema, words.instruction if words else None)


def is_own(recipe: Recipe, task: TaskSpec) -> bool:
    """Whether a prompt is the recipe's own: the same record, asked for in the same words."""
    own, schema = recipe.record_schema(), task_schema(recipe, task)
    same_message = message(schema, task_words(recipe, task)) == message(own, recipe.prompt)
    return same_message and schema.fingerprint == own.fingerprint


def own_task(recipe: Recipe, adapter: str) -> int | None:
    """Which of the prompts that an adapter is tuned on is the recipe's own; None: it is tuned on others."""
    tasks = enumerate(recipe.adapters[adapter].tasks)
    return next((i for i, task in tasks if is_own(recipe, task)), None)


def read_targets(recipe: Recipe, task: TaskSpec) -> TargetSource:
    """A prompt's targets; RecipeError if they cannot be read, or do not fit its schema."""
    assert task.targets is not None
    return load_targets(task.targets, task_schema(recipe, task), task.fields, task.closed, recipe.base)


def declared_spec(recipe: Recipe) -> TargetSpec | None:
    """What `Recipe.declared` reads; RecipeError if several adapters declare different distributions."""
    from synthgen.recipe import TargetSpec

    if recipe.target is not None:
        return recipe.target
    found = []
    for name, spec in recipe.adapters.items():
        number = own_task(recipe, name)
        task = None if number is None else spec.tasks[number]
        if task is not None and task.targets is not None:
            found.append(TargetSpec(targets=task.targets, fields=task.fields, closed=task.closed))
    if any(spec != found[0] for spec in found):
        raise RecipeError(
            f"adapters declare different distributions of {recipe.record_schema().name}; "
            "write `target`, the one to follow"
        )
    return found[0] if found else None


def read_target(spec: TargetSpec, schema: RecordSchema, base: Path) -> TargetSource:
    """A declared distribution of any of a schema's fields; RecipeError if it cannot be read, or does not fit."""
    assert spec.targets is not None
    return load_targets(spec.targets, fields_first(schema, spec), spec.fields, spec.closed, base)


def fields_first(schema: RecordSchema, spec: TargetSpec) -> RecordSchema:
    """The schema as targets want it, whose fields are the leading ones: those declared moved to the front."""
    declared = spec.targets if isinstance(spec.targets, dict) else {}
    named = spec.fields or [name for name in schema.names if name in declared]
    front = [schema.field(name) for name in dict.fromkeys(named) if name in schema.names]
    rest = [field for field in schema.fields if field.name not in named]
    return replace(schema, fields=(*front, *rest))


def mixed_reference(recipe: Recipe) -> Reference:
    """See `Recipe.reference`."""
    if recipe.target is not None or recipe.generate.balance != "none":
        declared = recipe.declared()
        return Reference({}) if declared is None else declared.reference(np.random.default_rng(recipe.seed))
    parts: list[tuple[float, Reference]] = []
    for name, share in recipe.mix:
        task = own_task(recipe, name) if name in recipe.adapters else None
        if task is None:
            return Reference({})
        source = recipe.targets_of(name, task)
        parts.append((share, source.reference(np.random.default_rng(recipe.seed))))
    shared = [field for field in parts[0][1].shares if all(field in part.shares for _, part in parts)]
    mixture: dict[str, Distribution] = {field: {} for field in shared}
    draws: dict[str, int] = {}
    for field in shared:
        for share, part in parts:
            for value, probability in part.shares[field].items():
                mixture[field][value] = mixture[field].get(value, 0.0) + share * probability
        noise = sum(share**2 / part.draws[field] for share, part in parts if field in part.draws)
        if noise:  # as many draws from the mixture would be as noisy
            draws[field] = round(1 / noise)
    return Reference(mixture, draws, mixed([(share, part.together) for share, part in parts]))


def _has_own_schema(recipe: Recipe, task: TaskSpec) -> bool:
    return task.schema_ref is None or task.schema_ref == recipe.schema_ref
