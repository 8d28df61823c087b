"""Pydantic model → RecordSchema: ordered fields, each a finite support or open text.

First stage of the flow: the prompt, the wire format, the targets, the Parquet columns and the report all read
the fields from here, and nobody else looks into a Pydantic model's types.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from synthgen.errors import RecipeError
from synthgen.fields import FieldSpec, Kind, read_field, text_of
from synthgen.loading import describe_error, load_object

__all__ = ["FieldSpec", "Kind", "RecordSchema", "load_model", "load_object", "text_of"]


@dataclass(frozen=True)
class RecordSchema:
    """What a record is: the declared fields in order, then the derived ones (the model's computed fields)."""

    name: str
    title: str
    model: type[BaseModel]
    fields: tuple[FieldSpec, ...]
    derived: tuple[FieldSpec, ...]
    fingerprint: str

    @classmethod
    def from_model(cls, model: type[BaseModel]) -> RecordSchema:
        """Read a Pydantic model; RecipeError names every field not supported, and the types that are."""
        try:
            model.model_rebuild()
        except Exception as error:  # an annotation naming something that does not exist raises anything
            raise RecipeError(
                f"{model.__name__}: its annotations cannot be resolved: {describe_error(error)}"
            ) from error
        problems: list[str] = []
        if not model.model_fields:
            problems.append(f"{model.__name__}: found no fields; declare at least one, such as `name: str`")
        fields = []
        for name, info in model.model_fields.items():
            try:
                fields.append(_field_spec(name, info, model))
            except ValueError as error:
                problems.append(f"{model.__name__}.{name}: {error}")
        derived = []
        for name, computed in model.model_computed_fields.items():
            try:
                derived.append(
                    read_field(
                        name,
                        _return_type(computed),
                        (),
                        computed.title,
                        computed.description,
                        computed.examples,
                    )
                )
            except ValueError as error:
                problems.append(f"{model.__name__}.{name}: {error}")
        labels = [field.label for field in fields]
        for field in fields:
            if labels.count(field.label) > 1:
                problems.append(
                    f"{model.__name__}.{field.name}: the label {field.label!r} stands for several fields; "
                    "give each its own title"
                )
        if problems:
            raise RecipeError(problems)
        title = " ".join((model.model_config.get("title") or _words(model.__name__)).split())
        facts = [
            title,
            *(_facts(field) for field in fields),
            "derived",
            *(_facts(field) for field in derived),
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        return cls(model.__name__, title, model, tuple(fields), tuple(derived), digest)

    @property
    def names(self) -> tuple[str, ...]:
        """The declared fields' names, in order."""
        return tuple(field.name for field in self.fields)

    def field(self, name: str) -> FieldSpec:
        """A declared or derived field; KeyError if there is none of that name."""
        for field in (*self.fields, *self.derived):
            if field.name == name:
                return field
        raise KeyError(name)

    def derive(self, instance: BaseModel) -> dict[str, object]:
        """All computed fields of a validated instance; what the user's code raises passes through."""
        return {field.name: getattr(instance, field.name) for field in self.derived}

    def derive_partial(self, values: Mapping[str, object]) -> dict[str, object]:
        """The computed fields that follow from some of the fields alone; those that raise are left out."""
        if not self.derived:
            return {}
        instance = self.model.__new__(self.model)  # no defaults: an unknown field must stay unknown
        object.__setattr__(instance, "__dict__", dict(values))
        object.__setattr__(instance, "__pydantic_fields_set__", set(values))
        object.__setattr__(instance, "__pydantic_extra__", None)
        object.__setattr__(instance, "__pydantic_private__", None)
        found = {}
        for field in self.derived:
            try:
                found[field.name] = getattr(instance, field.name)
            except Exception:  # noqa: S112 — an unknown field shows as whatever the user's code raises
                continue
        return found


def load_model(path_and_name: str, base: Path) -> type[BaseModel]:
    """The Pydantic model at "file.py:Class" (from `base`) or "package.module:Class"; RecipeError if none."""
    found = load_object(path_and_name, base)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise RecipeError(
            f"{path_and_name}: found {type(found).__name__}; expected a class based on pydantic.BaseModel"
        )
    return found


def _field_spec(name: str, info: FieldInfo, model: type[BaseModel]) -> FieldSpec:
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    alias = info.validation_alias
    if alias is not None and not by_name and not isinstance(alias, str):
        raise ValueError(
            "found an AliasPath or AliasChoices; expected a plain alias, or validate_by_name=True"
        )
    key = alias if isinstance(alias, str) and not by_name else None
    return read_field(name, info.annotation, info.metadata, info.title, info.description, info.examples, key)


def _return_type(computed: Any) -> object:
    found = computed.return_type
    if isinstance(found, str) or (not isinstance(found, type) and get_origin(found) is None):
        getter = getattr(computed.wrapped_property, "fget", None) or getattr(
            computed.wrapped_property, "func", None
        )
        try:
            found = typing.get_type_hints(getter, include_extras=True)["return"]
        except Exception:  # no annotation, or one that names something unknown
            raise ValueError("found no usable return annotation; write one, such as `-> str`") from None
    return found


def _facts(field: FieldSpec) -> list[object]:
    support = None if field.support is None else [text_of(value) for value in field.support]
    examples = [text_of(value) for value in field.examples]
    texts = [field.name, field.label, field.hint, field.kind, field.description]
    return [*texts, field.optional, support, examples, field.decimal_places]


def _words(name: str) -> str:
    """SupportTicket → "support ticket"."""
    parts: list[str] = []
    for before, letter in zip(f" {name}", name, strict=False):
        if letter == "_" or (letter.isupper() and not before.isupper()):
            parts.append(" ")
        parts.append("" if letter == "_" else letter.lower())
    return "".join(parts)
