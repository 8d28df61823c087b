"""Completion → Record or Rejection: the last stop of the model's text, the first of the user's data.

A fault of a record is data, never an exception: whatever comes in, one of the two comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from pydantic import BaseModel, ValidationError

from synthgen import braces
from synthgen.engines.protocol import Completion
from synthgen.schema import RecordSchema

Stage = Literal["engine", "parse", "validate", "quota", "unique"]
MOST_DETAIL = 500  # characters of what Pydantic or the user's code says


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


Read = Callable[[Completion, int], tuple[str, ...] | braces.ParseFailure]  # completion, attempt → strings


def validate(
    schema: RecordSchema, completion: Completion, attempt: int, adapter: str, read: Read | None = None
) -> Record | Rejection:
    """One completion through a `Validator` of its own."""
    return Validator(schema, read)(completion, attempt, adapter)


class Validator:
    """Completion → Record or Rejection: parse the braces, run the user's Pydantic model, compute the derived fields.

    What depends on the schema alone is looked up once. `read` takes the place of the braces where an answer has
    another form (see styles.py).
    """

    def __init__(self, schema: RecordSchema, read: Read | None = None) -> None:
        self._read, self._name, self._n_fields = read, schema.name, len(schema.fields)
        self._keys = [field.key or field.name for field in schema.fields]
        self._converted = [
            (i, self._keys[i], field)
            for i, field in enumerate(schema.fields)
            if not braces.is_verbatim(field)
        ]
        self._validate = _validation(schema.model)
        self._declared = tuple(field.name for field in schema.fields)
        self._derived = tuple(field.name for field in schema.derived)
        self._get_declared, self._get_derived = _getter(self._declared), _getter(self._derived)

    def __call__(self, completion: Completion, attempt: int, adapter: str) -> Record | Rejection:
        """Judge one completion."""
        if completion.finish_reason == "error":
            return _rejection(completion, attempt, adapter, "engine", "engine_error", completion.detail)
        if self._read is not None:
            parsed = self._read(completion, attempt)
        else:
            parsed = braces.parse(completion.text, self._n_fields, completion.finish_reason == "length")
        if isinstance(parsed, braces.ParseFailure):
            return _rejection(completion, attempt, adapter, "parse", parsed.reason, parsed.detail)
        found: dict[str, object] = dict(zip(self._keys, parsed, strict=False))
        try:
            for i, key, field in self._converted:
                found[key] = braces.convert_value(field, parsed[i])
            instance = self._validate(found, strict=False)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = str(first["loc"][0]) if first["loc"] else self._name
            detail = f"{first['msg']}; found {first['input']!r}"[:MOST_DETAIL]
            return _rejection(completion, attempt, adapter, "validate", f"invalid:{where}", detail)
        except Exception as error:  # a user's validator may raise anything
            detail = f"{type(error).__name__}: {error}"[:MOST_DETAIL]
            return _rejection(completion, attempt, adapter, "validate", f"invalid:{self._name}", detail)
        values = dict(zip(self._declared, self._get_declared(instance), strict=True))
        try:
            values.update(zip(self._derived, self._get_derived(instance), strict=True))
        except Exception as error:  # and so may a computed field
            detail = f"{type(error).__name__}: {error}"[:MOST_DETAIL]
            return _rejection(completion, attempt, adapter, "validate", "invalid:derived", detail)
        return Record(completion.id, attempt, adapter, values, completion.n_tokens)


def _validation(model: type[BaseModel]) -> Callable[..., BaseModel]:
    """The model's `model_validate`, or what that calls if it is Pydantic's own: a quarter of its time is the wrapping."""
    if model.model_validate.__func__ is BaseModel.model_validate.__func__:  # type: ignore[attr-defined]
        return model.__pydantic_validator__.validate_python
    return model.model_validate


def _rejection(
    completion: Completion, attempt: int, adapter: str, stage: Stage, reason: str, detail: str
) -> Rejection:
    text, n_tokens = completion.text, completion.n_tokens
    return Rejection(completion.id, attempt, adapter, stage, reason, detail, text, n_tokens)


def _getter(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    """Several attributes at once; `attrgetter` gives no tuple for fewer than two names."""
    if len(names) < 2:
        return lambda instance: tuple(getattr(instance, name) for name in names)
    return attrgetter(*names)
