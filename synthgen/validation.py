"""Completion → Record or Rejection: the last stop of the model's text, the first of the user's data.

A fault of a record is data, never an exception: whatever comes in, one of the two comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from synthgen import braces
from synthgen.engines.protocol import Completion
from synthgen.schema import RecordSchema

Stage = Literal["engine", "parse", "validate", "unique"]


@dataclass(frozen=True, slots=True)
class Record:
    """An accepted record: `values` holds declared and derived fields as typed Python values."""

    id: int
    attempt: int
    adapter: str
    values: Mapping[str, object]
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """An attempt that gave no record: which stage refused it, why, and the model's text as it came."""

    id: int
    attempt: int
    adapter: str
    stage: Stage
    reason: str  # "missing_field", "truncated", "invalid:born", "engine_error", …
    detail: str
    text: str
    n_tokens: int


def validate(schema: RecordSchema, completion: Completion, attempt: int, adapter: str) -> Record | Rejection:
    """Parse the completion's braces, run the user's Pydantic model, compute the derived fields."""

    def rejection(stage: Stage, reason: str, detail: str) -> Rejection:
        return Rejection(
            completion.id, attempt, adapter, stage, reason, detail, completion.text, completion.n_tokens
        )

    if completion.finish_reason == "error":
        return rejection("engine", "engine_error", completion.detail)
    parsed = braces.parse(completion.text, len(schema.fields), truncated=completion.finish_reason == "length")
    if isinstance(parsed, braces.ParseFailure):
        return rejection("parse", parsed.reason, parsed.detail)
    try:
        instance = schema.model.model_validate(braces.convert(schema, parsed), strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = str(first["loc"][0]) if first["loc"] else schema.name
        return rejection("validate", f"invalid:{where}", f"{first['msg']}; found {first['input']!r}"[:500])
    except Exception as error:  # a user's validator may raise anything
        return rejection("validate", f"invalid:{schema.name}", f"{type(error).__name__}: {error}"[:500])
    try:
        derived = schema.derive(instance)
    except Exception as error:  # and so may a computed field
        return rejection("validate", "invalid:derived", f"{type(error).__name__}: {error}"[:500])
    declared = {field.name: getattr(instance, field.name) for field in schema.fields}
    return Record(completion.id, attempt, adapter, {**declared, **derived}, completion.n_tokens)
