"""The wire format: parse undoes render, forgives what models do, and never raises."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, create_model

from synthgen import braces
from synthgen.braces import ParseFailure, parse
from synthgen.schema import FieldSpec, RecordSchema

ANSWER = "{Evelyn Carter}\n{Female}\n{1985-03-12}\n{Paris, France}\n{Engineer}\n{She rebuilt it.}"
VALUES = tuple(line[1:-1] for line in ANSWER.split("\n"))


class Mood(Enum):
    GOOD = "good"
    BAD = 2


class Thing(BaseModel):
    """Every kind of field at once."""

    text: str
    note: str | None
    whole: int
    rating: int | None = Field(ge=1, le=5)
    number: float
    truth: bool
    day: date
    moment: datetime
    price: Decimal = Field(decimal_places=2)
    choice: Literal["a b", "c", 3, True]
    mood: Mood | None


SCHEMA = RecordSchema.from_model(Thing)


def spec(annotation: Any, **constraints: Any) -> FieldSpec:
    return RecordSchema.from_model(create_model("T", x=(annotation, Field(**constraints)))).fields[0]


def writable(text: str) -> bool:
    try:
        return bool(braces.render_value(spec(str | None), text))
    except ValueError:
        return False


texts = st.text(min_size=1, max_size=40).filter(writable)
things = st.fixed_dictionaries(
    {
        "text": texts,
        "note": st.none() | texts,
        "whole": st.integers(),
        "rating": st.none() | st.integers(1, 5),
        # no subnormals: a test that loads an engine leaves the processor flushing them to zero
        "number": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        "truth": st.booleans(),
        "day": st.dates(),
        "moment": st.datetimes().map(lambda moment: moment.replace(second=0, microsecond=0)),
        "price": st.decimals(-(10**6), 10**6, places=2),
        "choice": st.sampled_from(["a b", "c", 3, True]),
        "mood": st.none() | st.sampled_from(Mood),
    }
)


@given(things)
def test_parse_and_convert_undo_render(values: dict[str, Any]) -> None:
    strings = parse(braces.render(SCHEMA, values), len(values))
    assert not isinstance(strings, ParseFailure)
    read = Thing.model_validate(braces.convert(SCHEMA, strings))
    normal = Thing.model_validate({**values, "text": strings[0], "note": values["note"] and strings[1]})
    assert read == normal
    assert braces.render(SCHEMA, read.model_dump()) == braces.join(strings)


@given(st.lists(texts, min_size=1, max_size=8))
def test_parse_undoes_join(values: list[str]) -> None:
    rendered = [braces.render_value(spec(str), value) for value in values]
    assert parse(braces.join(rendered), len(values)) == tuple(rendered)


@settings(max_examples=300)
@given(
    st.text() | st.text(alphabet="{}\n\"'` a1"),
    st.integers(1, 7),
    st.booleans(),
)
def test_parse_never_raises(text: str, n_fields: int, truncated: bool) -> None:
    result = parse(text, n_fields, truncated)
    if isinstance(result, ParseFailure):
        assert result.detail
    else:
        assert len(result) == n_fields
        assert all(value and value == value.strip() and not set("{}\n") & set(value) for value in result)


@given(st.lists(st.text(max_size=10), min_size=11, max_size=11))
def test_convert_never_raises(strings: list[str]) -> None:
    assert set(braces.convert(SCHEMA, strings)) == set(SCHEMA.names)


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        ANSWER + "\n",
        f"\n\n  {ANSWER}  \n\n",
        ANSWER.replace("\n", "\n\n"),
        ANSWER.replace("\n", "\r\n"),
        ANSWER.replace("\n", ""),
        f"```\n{ANSWER}\n```",
        f"```text\n{ANSWER}```",
        f"Sure! Here is one:\n\n{ANSWER}\n\nAnything else?",
        "\n".join(f'{{"{value}"}}' for value in VALUES),
        "\n".join(f"{{ “{value}” }}" for value in VALUES),
        "\n".join(f"{i}. {{{value}}}" for i, value in enumerate(VALUES, 1)),
        "\n".join(f"- {{{value}}}" for value in VALUES),
        "\n".join(f"Label: {{{value}}}," for value in VALUES),
        "\n".join(f'"{{{value}}}"' for value in VALUES),
        ANSWER.replace("rebuilt it", "rebuilt\nit"),
    ],
)
def test_forgives_what_models_do(text: str) -> None:
    assert parse(text, 6) == VALUES


@pytest.mark.parametrize(
    ("text", "n_fields", "truncated", "reason"),
    [
        ("", 1, False, "missing_field"),
        ("", 1, True, "truncated"),
        ("no braces", 2, False, "missing_field"),
        ("{a}\n{b}", 3, False, "missing_field"),
        ("{a}\n{b}", 3, True, "truncated"),
        ("{a}\n{b}\n{c", 3, True, "truncated"),
        ("{a}\n{b}\n{c", 3, False, "missing_field"),
        ("{a}\n{b}\n{c", 2, True, "truncated"),
        ("{a}\n{b}\n{c}", 2, False, "extra_field"),
        ("{a}\n{b}\n{c}", 2, True, "extra_field"),
        ("{a {b} c}", 1, False, "nested_brace"),
        ("{{a}}", 1, False, "nested_brace"),
        ("{a}}", 1, False, "nested_brace"),
        ("{a\n{b}", 2, False, "nested_brace"),
        ("{a}\n{}", 2, False, "empty_value"),
        ("{a}\n{ \n }", 2, False, "empty_value"),
        ('{a}\n{""}', 2, False, "empty_value"),
    ],
)
def test_rejects_with_a_reason(text: str, n_fields: int, truncated: bool, reason: str) -> None:
    result = parse(text, n_fields, truncated)
    assert isinstance(result, ParseFailure)
    assert result.reason == reason


def test_complete_values_count_though_the_limit_was_hit() -> None:
    assert parse("{a}\n{b}\nand so", 2, truncated=True) == ("a", "b")


def test_parse_normalises() -> None:
    assert parse("{e\u0301}", 1) == ("\u00e9",)


def test_parse_is_fast() -> None:
    """The exact format takes under 3.3 µs of processor time for six fields (300,000 a second)."""

    def seconds() -> float:
        start = time.process_time()
        for _ in range(20_000):
            parse(ANSWER, 6)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) / 20_000 < 3.3e-6


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (spec(str), "a}b", "field 'x': found 'a}b', which holds a brace"),
        (spec(str), "a\nb", "line break"),
        (spec(str), "a\u2028b", "line break"),
        (spec(str), "\ud800", "control character"),
        (spec(str), "", "empty"),
        (spec(str), " a", "spaces at its edges"),
        (spec(str), '"a"', "in quotes"),
        (spec(str | None), "None", "means no value"),
        (spec(str), None, "not Optional"),
        (spec(float), float("inf"), "no finite number"),
        (spec(Decimal), Decimal("NaN"), "no finite number"),
        (spec(Decimal, decimal_places=2), Decimal("1.234"), "at most 2 decimal places"),
        (spec(datetime), datetime(2024, 1, 1, 0, 0, 5), "seconds"),
        (spec(Literal["a", "b"]), "c", "expected one of a, b"),
    ],
)
def test_render_refuses_what_it_could_not_undo(field: FieldSpec, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        braces.render_value(field, value)


def test_render_of_decimals() -> None:
    field = spec(Decimal, decimal_places=2)
    values = [Decimal("9.5"), Decimal(7), Decimal("1E+2"), Decimal("3.4000")]
    assert [braces.render_value(field, value) for value in values] == ["9.50", "7.00", "100.00", "3.40"]


def test_render_by_position_by_name_and_in_part() -> None:
    schema = RecordSchema.from_model(create_model("T", a=(int, ...), b=(bool, ...)))
    assert braces.render(schema, [1, True]) == braces.render(schema, {"b": True, "a": 1}) == "{1}\n{yes}"
    assert braces.render(schema, {"a": 1}, 1) == "{1}"
    with pytest.raises(ValueError, match="found no value for field 'b'"):
        braces.render(schema, {"a": 1})
    with pytest.raises(ValueError, match="found 1 values"):
        braces.render(schema, [1])


def test_instruct() -> None:
    schema = RecordSchema.from_model(
        create_model("SupportTicket", name=(str, ...), up_to=(int, Field(ge=0, le=99)), ok=(bool, ...))
    )
    fields = "{Name}\n{Up to - 0-99}\n{Ok - yes/no}"
    default = (
        "Generate a random support ticket. Answer with one line per field, each value between curly braces."
    )
    assert braces.instruct(schema) == f"{default}\n{fields}"
    assert braces.instruct(schema, "Invent one.\n") == f"Invent one.\n{fields}"


@pytest.mark.parametrize("text", ["1985", "86400", "-5", "3.5"])
def test_a_bare_number_is_no_date(text: str) -> None:
    """Pydantic would read it as seconds since 1970."""
    for kind in (date, datetime):
        model = create_model("T", x=(kind, ...))
        with pytest.raises(ValidationError):
            model.model_validate(braces.convert(RecordSchema.from_model(model), [text]))


def test_convert_gives_pydantic_what_it_reads() -> None:
    strings = ["x", "None", "7", "none", "1.5", "yes", "2024-02-29", "2024-05-01 13:45", "9.50", "3", "2"]
    read = Thing.model_validate(braces.convert(SCHEMA, strings))
    assert (read.note, read.rating, read.truth) == (None, None, True)
    assert (read.moment, read.price) == (datetime(2024, 5, 1, 13, 45), Decimal("9.50"))
    assert (read.choice, read.mood) == (3, Mood.BAD)


def test_convert_uses_the_alias() -> None:
    model = create_model("T", x=(int, Field(alias="theX")))
    assert model.model_validate(braces.convert(RecordSchema.from_model(model), ["4"])).model_dump() == {
        "x": 4
    }
