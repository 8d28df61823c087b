"""The wire format, both ways: what the prompt shows, what an answer looks like, and what an answer said.

    render:  values → "{Evelyn Carter}\\n{Female}\\n{1985-03-12}"
    parse:   text → the fields' strings, or why they cannot be trusted
    convert: the strings → input for the Pydantic model

`parse` undoes `render` exactly; `render` refuses what it could not undo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from math import isfinite
from typing import Literal
from unicodedata import normalize

from synthgen.schema import FieldSpec, RecordSchema, text_of

Reason = Literal[
    "missing_field", "extra_field", "nested_brace", "empty_value", "truncated",
    "missing_candidate", "extra_candidate", "missing_probability", "wrong_probability", "missing_seed",  # styles.py
]  # fmt: skip

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`"}
_OPENING = "".join(_QUOTES)
_FORBIDDEN = re.compile(r"[{}\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
# A value as `render` writes it: no brace or line break in it, no space at its edges, no quote at its start.
_VALUE = rf"\{{([^{{}}\s{_OPENING}](?:[^{{}}\n]*[^{{}}\s])?)\}}"
_BRACE = re.compile(r"[{}]")
_NUMBER = re.compile(r"[+-]?\d+\.?\d*")


@dataclass(frozen=True, slots=True)
class ParseFailure:
    """Why an answer cannot be trusted; `detail` says where."""

    reason: Reason
    detail: str


def render_value(field: FieldSpec, value: object) -> str:
    """The text of a value inside its braces; ValueError names field and value if it cannot be undone."""
    text = _decimal(field, value) if isinstance(value, Decimal) else text_of(value)

    def refused(finding: str) -> ValueError:
        return ValueError(f"field {field.name!r}: found {value!r}, {finding}")

    if value is None:
        if not field.optional:
            raise refused("but the field is not Optional; give a value")
        return text
    if not text:
        raise refused("which is empty; expected some text")
    if text != text.strip():
        raise refused("which has spaces at its edges; strip it")
    if _FORBIDDEN.search(text):
        raise refused(
            "which holds a brace, a line break or a control character; expected plain text on one line"
        )
    if _unquoted(text) != text:
        raise refused("which stands in quotes as a whole; leave them out")
    if field.optional and text.casefold() == "none":
        raise refused("which means no value in an Optional field; write None or another word")
    if isinstance(value, float) and not isfinite(value):
        raise refused("which is no finite number")
    if getattr(value, "second", 0) or getattr(value, "microsecond", 0) or getattr(value, "tzinfo", None):
        raise refused("which has seconds or a time zone; expected year to minute, as in 2024-05-01 13:45")
    if field.by_text and text not in field.by_text:
        raise refused(f"expected one of {', '.join(field.by_text)}")
    return text


def join(texts: Sequence[str]) -> str:
    """Rendered values as an answer: one per line, in braces, no line break at the end."""
    return "{" + "}\n{".join(texts) + "}"


def render(
    schema: RecordSchema, values: Mapping[str, object] | Sequence[object], n_fields: int | None = None
) -> str:
    """The answer holding these typed values, by name or in order; with `n_fields` only the first ones.

    ValueError if a field has no value or one that cannot be written.
    """
    fields = schema.fields[:n_fields]
    if isinstance(values, Mapping):
        if missing := [field.name for field in fields if field.name not in values]:
            raise ValueError(f"found no value for field {missing[0]!r}")
        values = [values[field.name] for field in fields]
    if len(values) < len(fields):
        raise ValueError(f"found {len(values)} values; expected one for each of {len(fields)} fields")
    return join([render_value(field, value) for field, value in zip(fields, values, strict=False)])


def instruct(schema: RecordSchema, instruction: str | None = None) -> str:
    """The user message that asks for a record: an instruction, then each field's label and hint in braces."""
    default = (
        f"Generate a random {schema.title}. Answer with one line per field, each value between curly braces."
    )
    lines = [default if instruction is None else instruction.strip()]
    for field in schema.fields:
        lines.append(f"{{{field.label} - {field.hint}}}" if field.hint else f"{{{field.label}}}")
    return "\n".join(lines)


def parse(text: str, n_fields: int, truncated: bool = False) -> tuple[str, ...] | ParseFailure:
    """The strings of `n_fields` brace groups, or the reason why the text cannot be trusted; never raises.

    Text around the groups, blank lines, code fences, list markers, labels before a group, and quotes around a
    value are let pass; a line break inside a value becomes a space. `truncated` says that the model ran into
    its token limit.
    """
    if not text.isascii():
        text = normalize("NFC", text)
    if match := _exact(n_fields).fullmatch(text):
        return match.groups()
    return _parse_loosely(text, n_fields, truncated)


def convert(schema: RecordSchema, strings: Sequence[str]) -> dict[str, object]:
    """Parsed strings as input for `schema.model.model_validate`, keyed as it wants them."""
    values: dict[str, object] = {}
    for field, text in zip(schema.fields, strings, strict=False):
        values[field.key or field.name] = convert_value(field, text)
    return values


def is_verbatim(field: FieldSpec) -> bool:
    """Whether `convert_value` leaves every text of the field as it is."""
    return (
        not field.optional
        and field.kind not in ("date", "datetime")
        and all(type(value) is str and value == text for text, value in field.by_text.items())
    )


def convert_value(field: FieldSpec, text: str) -> object:
    """One parsed string as input for Pydantic: yes/no, none and list values typed, the rest left to it."""
    if field.optional and text.casefold() == "none":
        return None
    if field.by_text:
        return field.by_text.get(text, text)
    if field.kind in ("date", "datetime") and _NUMBER.fullmatch(text):
        return f"{text} "  # a bare number would pass as seconds since 1970; with a space it is refused
    return text


@cache
def _exact(n_fields: int) -> re.Pattern[str]:
    return re.compile(r"\s*" + r"\n".join([_VALUE] * n_fields) + r"\s*")


def _parse_loosely(text: str, n_fields: int, truncated: bool) -> tuple[str, ...] | ParseFailure:
    values: list[str] = []
    start = -1  # where the open group's value begins; -1 outside a group
    for brace in _BRACE.finditer(text):
        if brace[0] == "{":
            if start >= 0:
                return ParseFailure("nested_brace", f"a brace opens inside value {len(values) + 1}")
            start = brace.end()
        else:
            if start < 0:
                return ParseFailure(
                    "nested_brace", f"a brace closes after value {len(values)} that never opened"
                )
            values.append(_unquoted(" ".join(text[start : brace.start()].splitlines()).strip()))
            start = -1
    if start >= 0 and truncated:
        return ParseFailure("truncated", f"cut off inside value {len(values) + 1} of {n_fields}")
    if len(values) > n_fields:
        return ParseFailure("extra_field", f"found {len(values)} values, expected {n_fields}")
    if start >= 0:
        return ParseFailure(
            "missing_field", f"the brace of value {len(values) + 1} of {n_fields} never closes"
        )
    if len(values) < n_fields:
        reason: Reason = "truncated" if truncated else "missing_field"
        return ParseFailure(reason, f"found {len(values)} of {n_fields} values")
    if "" in values:
        return ParseFailure("empty_value", f"value {values.index('') + 1} of {n_fields} is empty")
    return tuple(values)


def _unquoted(text: str) -> str:
    """The text without a pair of quotes around the whole of it."""
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        inner = text[1:-1]
        if text[0] not in inner and text[-1] not in inner:
            return inner.strip()
    return text


def _decimal(field: FieldSpec, value: Decimal) -> str:
    """Plain digits, filled up to the field's decimal places."""
    if not value.is_finite():
        raise ValueError(f"field {field.name!r}: found {value!r}, which is no finite number")
    places = field.decimal_places
    text = format(value, "f")
    if places is None:
        return text
    whole, _, fraction = text.partition(".")
    if len(fraction.rstrip("0")) > places:
        raise ValueError(f"field {field.name!r}: found {value!r}; expected at most {places} decimal places")
    return f"{whole}.{fraction[:places]:0<{places}}" if places else whole
