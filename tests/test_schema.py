"""Pydantic model → RecordSchema, and loading a user's file: what is read, and what is refused by name."""

from __future__ import annotations

import pickle
import textwrap
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field, create_model

from synthgen.errors import RecipeError
from synthgen.loading import load_object
from synthgen.schema import FieldSpec, RecordSchema, load_model, text_of

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("biography", "product", "ticket", "patient", "job", "die")


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Everything(BaseModel):
    """Every supported kind of field."""

    model_config = ConfigDict(title="odd  thing")

    text: str
    described: str = Field(description="two\nwords")
    whole: int
    bounded: int = Field(ge=1, le=10)
    outside: Annotated[int, Field(gt=-3, lt=3)]
    wide: int = Field(ge=10_000, le=400_000)
    even: int = Field(ge=1, le=99, multiple_of=2)
    maybe: Optional[Annotated[int, Field(ge=1, le=5)]]  # noqa: UP045
    number: float
    truth: bool
    day: date
    moment: datetime
    price: Decimal = Field(decimal_places=2)
    amount: Decimal
    choice: Literal["a", "b"] = Field(description="pick one")
    ranked: Literal[1, 2, None]
    size: Size | None = Field(title="The size", examples=[Size.SMALL])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def first_word(self) -> str:
        return self.text.split()[0]

    @computed_field(title="Cheap")
    def is_cheap(self) -> bool:
        return self.price < 10


def shipped(name: str) -> RecordSchema:
    return RecordSchema.from_model(load_model(f"{name}.py:{name.capitalize()}", ROOT / "schemas"))


def field_of(**definition: Any) -> FieldSpec:
    return RecordSchema.from_model(create_model("Thing", **definition)).fields[0]


def test_fields_and_hints_of_every_kind() -> None:
    schema = RecordSchema.from_model(Everything)
    assert (schema.name, schema.title) == ("Everything", "odd thing")
    shown = {field.name: (field.kind, field.optional, field.hint) for field in schema.fields}
    assert shown == {
        "text": ("str", False, None),
        "described": ("str", False, "two words"),
        "whole": ("int", False, "whole number"),
        "bounded": ("int", False, "1-10"),
        "outside": ("int", False, "-2 to 2"),
        "wide": ("int", False, "10000-400000"),
        "even": ("int", False, "2-98 in steps of 2"),
        "maybe": ("int", True, "1-5 or none"),
        "number": ("float", False, "number"),
        "truth": ("bool", False, "yes/no"),
        "day": ("date", False, "YYYY-MM-DD"),
        "moment": ("datetime", False, "YYYY-MM-DD HH:MM"),
        "price": ("decimal", False, "0.00"),
        "amount": ("decimal", False, "number"),
        "choice": ("literal", False, "pick one: a/b"),
        "ranked": ("literal", True, "1/2/none"),
        "size": ("enum", True, "small/large/none"),
    }
    assert schema.field("bounded").support == tuple(range(1, 11))
    assert schema.field("even").support == tuple(range(2, 99, 2))
    assert schema.field("maybe").support == (1, 2, 3, 4, 5, None)
    assert schema.field("wide").support is None
    assert not schema.field("wide").is_closed
    assert schema.field("size").support == (Size.SMALL, Size.LARGE, None)
    assert schema.field("size").label == "The size"
    assert schema.field("size").examples == (Size.SMALL,)
    assert schema.field("price").decimal_places == 2
    assert [(field.name, field.label, field.kind) for field in schema.derived] == [
        ("first_word", "First word", "str"),
        ("is_cheap", "Cheap", "bool"),
    ]
    with pytest.raises(KeyError):
        schema.field("nothing")


def test_title_from_the_class_name() -> None:
    assert RecordSchema.from_model(create_model("SupportTicket", a=(str, ...))).title == "support ticket"
    assert RecordSchema.from_model(create_model("HTTPLog", a=(str, ...))).title == "httplog"


def test_fingerprint_changes_with_what_the_prompt_or_the_data_show() -> None:
    one = RecordSchema.from_model(create_model("A", x=(int, Field(ge=1, le=9))))
    same = RecordSchema.from_model(create_model("A", x=(int, Field(ge=1, le=9))))
    other = RecordSchema.from_model(create_model("A", x=(int, Field(ge=1, le=8))))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 16


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"x": (bytes, ...)}, r"Thing\.x: found type bytes; supported are str, int, .*Literal, Enum"),
        ({"x": (list[str], ...)}, r"Thing\.x: found type list\[str\]"),
        ({"x": (str | int, ...)}, r"Thing\.x: found type str \| int"),
        ({"x": (Everything, ...)}, r"Thing\.x: found type Everything"),
        ({"x": (Any, ...)}, r"Thing\.x: found type Any"),
        ({"x": (Literal["\u00e9", "e\u0301"], ...)}, r"Thing\.x: found several values written 'é'"),
        ({"x": (Literal["1", 1], ...)}, r"found several values written '1'"),
        ({"x": (Literal["none", None], ...)}, r"found several values written 'none'"),
        ({"x": (Literal["None"] | None, ...)}, r"found the value 'None' in an Optional field"),
        ({"x": (Literal["a{"], ...)}, r"found the value 'a\{'"),
        ({"x": (int, Field(ge=5, le=4))}, r"found no whole number from 5 to 4"),
        ({"x": (str, Field(title="a {b}"))}, r"brace in its title"),
        ({"x": (str, Field(title="A")), "y": (str, Field(title="A"))}, r"label 'A' stands for several"),
        ({}, r"Thing: found no fields"),
    ],
)
def test_refused_by_name(definition: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RecordSchema.from_model(create_model("Thing", **definition))


def test_every_unsupported_field_is_named_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        RecordSchema.from_model(create_model("Thing", a=(bytes, ...), b=(str, ...), c=(dict, ...)))
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["Thing.a", "Thing.c"]


def test_unannotated_computed_field_is_refused() -> None:
    class Sloppy(BaseModel):
        a: str

        @computed_field(return_type=set)  # type: ignore[prop-decorator]
        @property
        def wrong(self) -> object:
            return {self.a}

    with pytest.raises(RecipeError, match=r"Sloppy\.wrong: found type set"):
        RecordSchema.from_model(Sloppy)


def test_an_alias_is_what_validation_wants() -> None:
    assert field_of(x=(int, Field(alias="X"))).key == "X"
    by_name = create_model("Thing", __config__=ConfigDict(validate_by_name=True), x=(int, Field(alias="X")))
    assert RecordSchema.from_model(by_name).fields[0].key is None


def test_derived_fields() -> None:
    schema = shipped("biography")
    record = schema.model(
        name="Ada King Lovelace",
        gender="Female",
        born=date(1915, 12, 10),
        birthplace="London, United Kingdom",
        profession="Mathematician",
        accomplishments="She wrote programs.",
    )
    expected = {
        "first_name": "Ada",
        "last_name": "Lovelace",
        "birth_year": 1915,
        "city": "London",
        "country": "United Kingdom",
    }
    assert schema.derive(record) == expected
    assert schema.derive_partial({"name": "Ada Lovelace", "born": date(1915, 12, 10)}) == {
        "first_name": "Ada",
        "last_name": "Lovelace",
        "birth_year": 1915,
    }
    assert schema.derive_partial({}) == {}


def test_a_default_is_not_known_in_a_partial_record() -> None:
    class Defaulted(BaseModel):
        a: int
        b: int = 3

        @computed_field
        def total(self) -> int:
            return self.a + self.b

    assert RecordSchema.from_model(Defaulted).derive_partial({"a": 1}) == {}


def test_text_of_values() -> None:
    values = [
        True,
        None,
        7,
        2.5,
        1e-7,
        Decimal("1E+2"),
        Size.SMALL,
        date(985, 1, 2),
        datetime(2024, 5, 1, 13, 4),
    ]
    texts = ["yes", "none", "7", "2.5", "0.0000001", "100", "small", "0985-01-02", "2024-05-01 13:04"]
    assert [text_of(value) for value in values] == texts
    assert text_of("e\u0301") == "\u00e9"


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_schemas_load(name: str) -> None:
    schema = shipped(name)
    assert schema.title == name
    assert shipped(name).model is schema.model  # the same file gives the same class
    assert pickle.loads(pickle.dumps(schema.model)) is schema.model


Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> None:
        (tmp_path / "mine.py").write_text(textwrap.dedent(text))

    return write


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        ("", "absent.py:A", r"^absent\.py: found no such file"),
        ("x = (", "mine.py:A", r"^mine\.py: cannot be loaded: line 1: SyntaxError: '\(' was never closed$"),
        ("\nraise KeyError('a\\nb')", "mine.py:A", r"cannot be loaded: line 2: KeyError"),
        ("raise SystemExit(3)", "mine.py:A", r"cannot be loaded: line 1: SystemExit: 3"),
        ("import surely_absent", "mine.py:A", r"is surely_absent installed\?"),
        ("import mine_too", "mine.py:A", r"write `from \.mine_too import …`"),
        ("Biography = 1", "mine.py:Biografy", r"found no 'Biografy' in it; did you mean 'Biography'\?"),
        ("A = 1", "mine.py:A", r"found int; expected a class based on pydantic\.BaseModel"),
        ("A = 1", "mine.py", r"found no name; expected 'file\.py:Name'"),
        ("A = 1", "no.such.module:A", r"^no\.such\.module: cannot be imported: ModuleNotFoundError"),
        ("import pydantic\nclass A(pydantic.BaseModel):\n    x: 'Gone'", "mine.py:A", r"A: its annotations"),
    ],
)
def test_a_broken_file_gives_one_line(
    tmp_path: Path, write: Write, text: str, reference: str, message: str
) -> None:
    write(text)
    (tmp_path / "mine_too.py").touch()
    with pytest.raises(RecipeError, match=message) as caught:
        RecordSchema.from_model(load_model(reference, tmp_path))
    assert "\n" not in str(caught.value)


def test_files_share_code_with_their_neighbours_only(tmp_path: Path) -> None:
    for folder, value in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sources.py").write_text(f"VALUE = {value}")
        (tmp_path / folder / "mine.py").write_text("from .sources import VALUE")
    assert [load_object(f"{folder}/mine.py:VALUE", tmp_path) for folder in ("one", "two")] == [1, 2]


def test_a_changed_file_is_loaded_again(tmp_path: Path, write: Write) -> None:
    write("A = 1")
    assert load_object("mine.py:A", tmp_path) == 1
    write("A = 200")
    assert load_object("mine.py:A", tmp_path) == 200


def test_an_installed_module() -> None:
    assert load_object("decimal:Decimal", Path()) is Decimal
