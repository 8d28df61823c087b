"""Completion → Record or Rejection: always one of the two."""

from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator

from synthgen.engines.protocol import Completion, FinishReason
from synthgen.schema import RecordSchema
from synthgen.validation import Record, Rejection, Validator, validate


class Colour(StrEnum):
    red = "red"
    blue = "blue"


class Person(BaseModel):
    name: str
    gender: Literal["Female", "Male"]
    born: date

    @field_validator("name")
    @classmethod
    def _not_bob(cls, name: str) -> str:
        if name == "Bob":
            raise ValueError("anyone but Bob")
        if name == "Boom":
            raise RuntimeError("the user's code broke")
        return name

    @computed_field
    def year(self) -> int:
        if self.name == "Zero":
            raise ZeroDivisionError
        return self.born.year


SCHEMA = RecordSchema.from_model(Person)


def check(text: str, finish: FinishReason = "stop") -> Record | Rejection:
    return validate(SCHEMA, Completion(3, text, finish, 9), attempt=1, adapter="base")


def test_a_good_answer_becomes_a_typed_record() -> None:
    record = check("{Ada}\n{Female}\n{1985-03-12}")
    assert record == Record(
        3, 1, "base", {"name": "Ada", "gender": "Female", "born": date(1985, 3, 12), "year": 1985}, 9
    )


@pytest.mark.parametrize(
    ("text", "stage", "reason"),
    [
        ("{Ada}\n{Female}", "parse", "missing_field"),
        ("{Ada}\n{Female}\n{1985-03-12}\n{more}", "parse", "extra_field"),
        ("{Ada}\n{}\n{1985-03-12}", "parse", "empty_value"),
        ("{Ada}\n{Robot}\n{1985-03-12}", "validate", "invalid:gender"),
        ("{Ada}\n{Female}\n{1985-02-30}", "validate", "invalid:born"),
        ("{Bob}\n{Male}\n{1985-03-12}", "validate", "invalid:name"),
        ("{Boom}\n{Male}\n{1985-03-12}", "validate", "invalid:Person"),
        ("{Zero}\n{Male}\n{1985-03-12}", "validate", "invalid:derived"),
        ("", "parse", "missing_field"),
    ],
)
def test_a_bad_answer_is_a_rejection_with_its_reason_and_text(text: str, stage: str, reason: str) -> None:
    rejection = check(text)
    assert isinstance(rejection, Rejection)
    assert (rejection.stage, rejection.reason, rejection.text) == (stage, reason, text)
    assert (rejection.id, rejection.attempt, rejection.adapter) == (3, 1, "base")


def test_a_cut_answer_is_called_truncated() -> None:
    rejection = check("{Ada}\n{Fem", "length")
    assert isinstance(rejection, Rejection) and rejection.reason == "truncated"


def test_an_engine_error_is_a_rejection_too() -> None:
    rejection = validate(SCHEMA, Completion(0, "", "error", 0, detail="out of memory"), 0, "a")
    assert isinstance(rejection, Rejection)
    assert (rejection.stage, rejection.reason, rejection.detail) == (
        "engine",
        "engine_error",
        "out of memory",
    )


@given(st.text(), st.sampled_from(["stop", "length"]))
def test_nothing_raises(text: str, finish: FinishReason) -> None:
    assert isinstance(check(text, finish), Record | Rejection)


class Odd(BaseModel):
    """Fields that Pydantic does not take as they are written, under names of their own."""

    model_config = ConfigDict(extra="allow")

    flag: bool = Field(alias="Is it?")
    when: date | None
    colour: Colour

    @cached_property
    def hidden(self) -> int:
        return 1


def test_written_values_are_converted_under_their_aliases_and_nothing_else_becomes_a_column() -> None:
    schema = RecordSchema.from_model(Odd)
    validator = Validator(schema)
    record = validator(Completion(0, "{yes}\n{none}\n{red}", "stop", 9), 0, "base")
    assert isinstance(record, Record)
    assert record.values == {"flag": True, "when": None, "colour": Colour.red}
    assert type(record.values["colour"]) is Colour
    rejection = validator(Completion(0, "{yes}\n{12}\n{red}", "stop", 9), 0, "base")
    assert isinstance(rejection, Rejection) and rejection.reason == "invalid:when"


def test_a_models_own_way_of_validating_is_used() -> None:
    class Counted(BaseModel):
        word: str

        @classmethod
        def model_validate(cls, obj: object, **settings: Any) -> "Counted":
            found = super().model_validate(obj, **settings)
            found.word += "!"
            return found

    record = validate(RecordSchema.from_model(Counted), Completion(0, "{hi}", "stop", 1), 0, "base")
    assert isinstance(record, Record) and record.values == {"word": "hi!"}
