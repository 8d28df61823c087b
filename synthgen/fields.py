"""One field of a Pydantic model → FieldSpec: its kind, its finite values if it has them, its line in the prompt.

The types that are supported are decided here and nowhere else; schema.py puts the fields together.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Annotated, Literal, Union, get_args, get_origin
from unicodedata import normalize

import pydantic
from pydantic.fields import FieldInfo

Kind = Literal["str", "int", "float", "bool", "date", "datetime", "decimal", "literal", "enum"]
SUPPORTED = "str, int, float, bool, date, datetime, Decimal, Literal, Enum, each also Optional or constrained"
LARGEST_SUPPORT = 1000  # a bounded int with more values than this counts as open
LONGEST_LIST = 12  # more values than this are not listed in a hint
_SCALARS: dict[object, Kind] = {
    str: "str",
    int: "int",
    float: "float",
    bool: "bool",
    date: "date",
    datetime: "datetime",
    Decimal: "decimal",
    pydantic.PastDate: "date",
    pydantic.FutureDate: "date",
    pydantic.NaiveDatetime: "datetime",
    pydantic.PastDatetime: "datetime",
    pydantic.FutureDatetime: "datetime",
}
_TYPE_HINTS: dict[Kind, str] = {
    "int": "whole number",
    "float": "number",
    "date": "YYYY-MM-DD",
    "datetime": "YYYY-MM-DD HH:MM",
    "decimal": "number",
}


def text_of(value: object) -> str:
    """The plain text of a typed value, as prompts, answers and reports show it (NFC, nothing checked)."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if value.isascii() else normalize("NFC", value)
    if value is None:
        return "none"
    if isinstance(value, Enum):
        return text_of(value.value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M") if value.year >= 1000 else value.isoformat(" ", "minutes")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float) and "e" in repr(value):
        return format(Decimal(repr(value)), "f")
    return normalize("NFC", str(value))


@dataclass(frozen=True)
class FieldSpec:
    """One field of a record. `support` holds all Python values allowed if finitely many, else None."""

    name: str
    label: str
    hint: str | None
    kind: Kind
    optional: bool
    support: tuple[object, ...] | None
    description: str | None
    examples: tuple[object, ...]
    decimal_places: int | None
    key: str | None = None  # the alias that validation expects, where it refuses the name

    @property
    def is_closed(self) -> bool:
        """Whether the field has finitely many values."""
        return self.support is not None

    @cached_property
    def by_text(self) -> dict[str, object]:
        """Text → value, for fields whose values Pydantic cannot always read from text; else empty."""
        if self.kind not in ("literal", "enum", "bool"):
            return {}
        return {text_of(value): value for value in self.support or ()}


def read_field(
    name: str,
    annotation: object,
    metadata: Sequence[object],
    title: str | None,
    description: str | None,
    examples: Sequence[object] | None,
    key: str | None = None,
) -> FieldSpec:
    """A field from its annotation and what Pydantic's `Field` says; ValueError says what is not supported."""
    inner, optional, found = _unwrap(annotation, tuple(metadata))
    kind = _kind(inner)
    bounds = _bounds(found) if kind == "int" else None
    support = _support(kind, inner, bounds)
    optional = optional or (support is not None and None in support)
    if support is not None:
        support = (*(value for value in support if value is not None), *((None,) if optional else ()))
        texts = [text_of(value) for value in support]
        if optional and (
            odd := [text for text in texts[:-1] if text != "none" and text.casefold() == "none"]
        ):
            raise ValueError(f"found the value {odd[0]!r} in an Optional field, where it means no value")
        if twice := sorted({text for text in texts if texts.count(text) > 1}):
            raise ValueError(
                f"found several values written {twice[0]!r}; expected values that differ as plain text"
            )
    places = next((p for p in (getattr(m, "decimal_places", None) for m in found) if p is not None), None)
    label = " ".join((title or name.replace("_", " ").strip().capitalize()).split())
    description = " ".join(description.split()) if description else None
    hint = _hint(kind, optional, support, bounds, description, places)
    for what, text in (("title", label), ("description or values", hint or "")):
        if "{" in text or "}" in text:
            raise ValueError(
                f"found a brace in its {what} {text!r}; braces mark the fields in prompt and answer"
            )
    decimals = places if kind == "decimal" else None
    return FieldSpec(
        name, label, hint, kind, optional, support, description, tuple(examples or ()), decimals, key
    )


def _unwrap(annotation: object, metadata: tuple[object, ...]) -> tuple[object, bool, tuple[object, ...]]:
    """Strip Annotated, type aliases and Optional; return the inner type, optional, and constraints met."""
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *extra = get_args(annotation)
            for item in extra:
                metadata += tuple(item.metadata) if isinstance(item, FieldInfo) else (item,)
        elif origin in (Union, types.UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return annotation, optional, metadata
            optional, annotation = True, members[0]
        elif type(annotation).__name__ == "TypeAliasType":  # `type Gender = …`, from Python 3.12 on
            annotation = getattr(annotation, "__value__")  # noqa: B009 — unknown to Python 3.11's type stubs
        else:
            return annotation, optional, metadata


def _kind(annotation: object) -> Kind:
    if get_origin(annotation) is Literal:
        return "literal"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "enum"
    try:
        return _SCALARS[annotation]
    except (KeyError, TypeError):
        name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        raise ValueError(f"found type {name}; supported are {SUPPORTED}") from None


def _support(kind: Kind, annotation: object, bounds: range | None) -> tuple[object, ...] | None:
    if kind == "bool":
        return (True, False)
    if kind == "int":
        return None if bounds is None or len(bounds) > LARGEST_SUPPORT else tuple(bounds)
    if kind not in ("literal", "enum"):
        return None
    values = get_args(annotation) if kind == "literal" else tuple(typing.cast(type[Enum], annotation))
    for value in values:
        plain = value.value if isinstance(value, Enum) else value
        if not isinstance(plain, (str, int, float, type(None))):
            raise ValueError(
                f"found the value {plain!r} of type {type(plain).__name__}; expected text or numbers"
            )
        text = text_of(plain)
        if plain is not None and (not text or text != text.strip() or any(c in text for c in "{}\n\r")):
            raise ValueError(
                f"found the value {text!r}; expected text without braces, line breaks or edge spaces"
            )
    return values


def _bounds(metadata: Sequence[object]) -> range | None:
    """The values of an int bounded on both sides, in steps of `multiple_of`."""
    low: list[int] = []
    high: list[int] = []
    step = 1
    for item in metadata:
        if (ge := getattr(item, "ge", None)) is not None:
            low.append(-int(-ge // 1))  # ceiling
        if (gt := getattr(item, "gt", None)) is not None:
            low.append(int(gt // 1) + 1)
        if (le := getattr(item, "le", None)) is not None:
            high.append(int(le // 1))
        if (lt := getattr(item, "lt", None)) is not None:
            high.append(-int(-lt // 1) - 1)
        step = int(getattr(item, "multiple_of", None) or step)
    if not low or not high:
        return None
    values = range(-(-max(low) // step) * step, min(high) + 1, step)
    if not values:
        raise ValueError(f"found no whole number from {max(low)} to {min(high)}; check its bounds")
    return values


def _hint(
    kind: Kind,
    optional: bool,
    support: tuple[object, ...] | None,
    bounds: range | None,
    description: str | None,
    places: int | None,
) -> str | None:
    """What the prompt says after the label: the description, the values, or the type's form."""
    listed = support is not None and len(support) <= LONGEST_LIST
    form = _TYPE_HINTS.get(kind)
    if bounds is not None:
        dash = "-" if bounds[0] >= 0 else " to "
        form = f"{bounds[0]}{dash}{bounds[-1]}" + (f" in steps of {bounds.step}" if bounds.step > 1 else "")
    elif listed and support is not None:
        form = "/".join(text_of(value) for value in support if value is not None)
    elif kind == "decimal" and places:
        form = f"0.{'0' * places}"
    if description is not None:
        form = f"{description}: {form}" if listed else description
    if not optional:
        return form
    return f"{form}/none" if listed and bounds is None else f"{form or 'text'} or none"
