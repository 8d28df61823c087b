"""Targets from functions, tables and marginals: what is drawn, what it declares, what is refused."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from synthgen import braces
from synthgen.errors import RecipeError
from synthgen.schema import RecordSchema, load_model, load_object
from synthgen.targets import Reference, TargetSet, TargetSource, load_targets

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
FUNCTIONS = {
    "biography": ("balanced_tuples", 4),
    "product": ("balanced_listings", 6),
    "ticket": ("balanced_tickets", 7),
    "patient": ("balanced_patients", 5),
    "job": ("balanced_jobs", 3),
}

PETS = """
    from typing import Literal
    from pydantic import BaseModel, Field, computed_field, field_validator, model_validator

    class Pet(BaseModel):
        kind: Literal["cat", "dog"]
        legs: int = Field(ge=0, le=4)
        name: str

        @field_validator("legs")
        @classmethod
        def _not_one(cls, legs: int) -> int:
            if legs == 1:
                raise ValueError("one leg is too few")
            return legs

        @computed_field
        def label(self) -> str:
            return f"{self.kind}/{self.legs}"

    def tuples(rng, n):
        for _ in range(n):
            yield ("cat" if rng.random() < 0.75 else "dog", int(rng.choice([3, 4])))

    def dicts(rng, n):
        return ({"kind": kind, "legs": legs} for kind, legs in tuples(rng, n))

    def instances(rng, n):
        return [Pet(kind=kind, legs=legs, name=f"Rex {i}") for i, (kind, legs) in enumerate(tuples(rng, n))]

    def broken(rng, n):
        raise KeyError("oops")

    def lazily_broken(rng, n):
        yield ("cat", 4)
        1 / 0

    def short(rng, n):
        return [("cat", 4)] * (n - 1)

    def wrong_value(rng, n):
        return [("cow", 4)] * n

    def wrong_length(rng, n):
        return [("cat", 4) if i else ("cat",) for i in range(n)]

    def too_long(rng, n):
        return [("cat", 4, "Rex", 1)] * n

    def invalid(rng, n):
        return [("cat", 1)] * n

    def unwritable(rng, n):
        return [("cat", 4, "{Rex}")] * n

    def no_tuples(rng, n):
        return ["cat"] * n

    number = 3
"""

Load = Callable[..., TargetSource]


@pytest.fixture
def pets(tmp_path: Path) -> RecordSchema:
    (tmp_path / "pets.py").write_text(textwrap.dedent(PETS))
    return RecordSchema.from_model(load_model("pets.py:Pet", tmp_path))


@pytest.fixture
def load(pets: RecordSchema, tmp_path: Path) -> Load:
    def load(
        spec: str | Mapping[str, object],
        fields: list[str] | None = None,
        closed: dict[str, Any] | None = None,
    ) -> TargetSource:
        return load_targets(spec, pets, fields, closed, tmp_path)

    return load


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shipped(name: str) -> RecordSchema:
    return RecordSchema.from_model(load_model(f"{name}.py:{name.capitalize()}", SCHEMAS))


def die(form: object) -> TargetSource:
    return load_targets({"value": form}, shipped("die"), None, None, SCHEMAS)


def check(targets: TargetSet) -> None:
    assert math.isclose(targets.weights.sum(), 1, rel_tol=1e-12)
    assert (targets.weights > 0).all()
    assert len(targets.answers) == len(targets.values) == len(targets.weights) == len(set(targets.answers))
    for answer, values in zip(targets.answers, targets.values, strict=True):
        assert braces.parse(answer, len(targets.fields)) == values


# ---------------------------------------------------------------- functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shipped_functions(name: str) -> None:
    function, n_fields = FUNCTIONS[name]
    schema = shipped(name)
    source = load_targets(f"{name}.py:{function}", schema, schema.names[:n_fields], None, SCHEMAS)
    targets = source.draw(rng(), 300)
    check(targets)
    assert targets.fields == schema.names[:n_fields]
    assert not targets.whole
    assert source.fresh
    assert targets.answers == source.draw(rng(), 300).answers
    assert targets.answers != source.draw(rng(1), 300).answers


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shipped_functions_are_fast(name: str) -> None:
    """10,000 tuples take under 0.3 s of processor time once the lists are there."""
    function: Any = load_object(f"{name}.py:{FUNCTIONS[name][0]}", SCHEMAS)
    list(function(rng(), 10))
    start = time.process_time()
    assert len(list(function(rng(), 10_000))) == 10_000
    assert time.process_time() - start < 0.3


def test_biographies_are_balanced() -> None:
    """Fixed seed; each bound is over four standard errors wide."""
    source = load_targets(
        "biography.py:balanced_tuples",
        shipped("biography"),
        None,
        {"gender": {"Female": 0.48, "Male": 0.48, "Non-binary": 0.04}},
        SCHEMAS,
    )
    assert source.closed["gender"]["Non-binary"] == 0.04
    declared = source.reference(rng(), 20_000)
    reference = declared.shares
    assert declared.draws == dict.fromkeys(reference.keys() - {"gender"}, 20_000)  # gender is declared: exact
    assert reference["gender"] == source.closed["gender"]
    years = reference["birth_year"]
    assert set(years) == {str(year) for year in range(1935, 2011)}
    assert max(years.values()) < 1.35 / 76
    assert len(reference["country"]) > 150
    assert not {"name", "birthplace"} & set(
        reference
    )  # open: more values than a distribution can be declared for
    assert "born" not in reference
    assert "profession" not in reference  # not a target
    sources: Any = load_object("sources.py:given_names", SCHEMAS)
    women, men = set(sources("female")), set(sources("male"))
    for name, gender, born, place in source.draw(rng(), 500).values:
        first = name.split()[0]
        assert first in {"Female": women, "Male": men, "Non-binary": women | men}[gender]
        assert "1935-01-01" <= born <= "2010-12-31"
        assert place.count(", ") == 1


@pytest.mark.parametrize("function", ["tuples", "dicts"])
def test_functions_of_leading_fields(load: Load, function: str) -> None:
    source = load(f"pets.py:{function}")
    assert source.fields == ("kind", "legs")
    targets = source.draw(rng(), 400)
    check(targets)
    assert len(targets.answers) == 4  # equal tuples are one answer, weighted
    shares = dict(zip(targets.values, targets.weights.tolist(), strict=True))
    assert shares["cat", "3"] + shares["cat", "4"] == pytest.approx(0.75, abs=0.09)  # four standard errors
    reference = source.reference(rng(), 10_000)
    assert set(reference.shares) == {"kind", "legs", "label"} == set(reference.draws)
    assert set(reference.shares["label"]) == {"cat/3", "cat/4", "dog/3", "dog/4"}


def test_functions_of_whole_records(load: Load) -> None:
    source = load("pets.py:instances")
    targets = source.draw(rng(), 20)
    check(targets)
    assert targets.whole
    assert len(targets.answers) == 20


def test_function_fingerprint_follows_the_file(load: Load, tmp_path: Path) -> None:
    before = load("pets.py:tuples").fingerprint
    assert load("pets.py:tuples").fingerprint == before
    assert load("pets.py:dicts").fingerprint != before
    (tmp_path / "pets.py").write_text(textwrap.dedent(PETS) + "# changed\n")
    assert load("pets.py:tuples").fingerprint != before


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        ("pets.py:absent", None, "found no 'absent' in it"),
        ("pets.py:number", None, r"found int; expected a function \(rng, n\)"),
        ("pets.py", None, r"expected 'file\.py:function', a table \(\.csv"),
        ("pets.py:broken", None, r"pets\.py:broken: raised line \d+: KeyError: 'oops'"),
        ("pets.py:lazily_broken", None, r"raised line \d+: ZeroDivisionError"),
        ("pets.py:short", None, "gave 49 tuples; expected the 50"),
        ("pets.py:wrong_value", None, "tuple 1: field 'kind': found 'cow'; expected one of cat, dog"),
        ("pets.py:wrong_length", ["kind", "legs"], "tuple 1: found 1 values; expected 2: kind, legs"),
        ("pets.py:too_long", None, "found 4 values in a tuple; Pet has 3 fields"),
        ("pets.py:invalid", None, "tuple 1: field 'legs': found '1'; Value error, one leg is too few"),
        ("pets.py:unwritable", None, "field 'name': found '{Rex}', which holds a brace"),
        ("pets.py:no_tuples", None, "tuple 1: found str; expected a tuple, a dict or a Pet"),
        ("pets.py:tuples", ["kind", "legz"], "'legz' is no field of Pet; did you mean 'legs'"),
        ("pets.py:tuples", ["legs", "kind"], "expected the leading ones in schema order: kind, legs"),
        ("pets.py:dicts", ["kind", "legs", "name"], "found no value for field 'name'"),
        ("absent.csv", None, r"absent\.csv: found no such file"),
    ],
)
def test_wrong_functions(load: Load, spec: str, fields: list[str] | None, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load(spec, fields)
    assert all("\n" not in problem for problem in caught.value.problems)


def test_closed_fields_are_held_against_the_function(load: Load) -> None:
    good = load("pets.py:tuples", closed={"kind": {"cat": 0.75, "dog": 0.25}, "legs": {3: 0.5, 4: 0.5}})
    assert good.closed == {"kind": {"cat": 0.75, "dog": 0.25}, "legs": {"3": 0.5, "4": 0.5}}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"kind": {"cat": 0.5, "dog": 0.5}}, r"kind: declared '\w+' with 0.5, but the tuples have 0\.\d+"),
        ({"kind": {"cat": 0.75, "dog": 0.2}}, r"kind: the probabilities sum to 0.95; expected 1"),
        (
            {"kind": {"cat": 0.75, "cow": 0.25}},
            r"closed: field 'kind': found 'cow'; expected one of cat, dog",
        ),
        ({"name": {"Rex": 1.0}}, r"closed: 'name' is none of the fields kind, legs"),
        ({"kind": {"cat": 1.25, "dog": -0.25}}, r"has the weight -0.25"),
    ]
    for closed, message in wrong:
        with pytest.raises(RecipeError, match=message):
            load("pets.py:tuples", closed=closed)


# ---------------------------------------------------------------- tables

ROWS = [
    {"kind": "cat", "legs": 4, "weight": 1.0},
    {"kind": "dog", "legs": 4, "weight": 2.0},
    {"kind": "dog", "legs": 3, "weight": 1.0},
    {"kind": "dog", "legs": 2, "weight": 0.0},
]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_tables(load: Load, tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(ROWS)
    match suffix:
        case "csv":
            frame.write_csv(tmp_path / "t.csv")
        case "parquet":
            frame.write_parquet(tmp_path / "t.parquet")
        case _:
            (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    source = load(f"t.{suffix}")
    assert source.fields == ("kind", "legs")
    assert not source.fresh
    targets = source.draw(rng())
    check(targets)
    assert dict(zip(targets.answers, targets.weights.tolist(), strict=True)) == {
        "{cat}\n{4}": 0.25,
        "{dog}\n{4}": 0.5,
        "{dog}\n{3}": 0.25,
    }
    assert source.reference(rng()) == Reference(
        {
            "kind": {"cat": 0.25, "dog": 0.75},
            "legs": {"4": 0.75, "3": 0.25},
            "label": {"cat/4": 0.25, "dog/4": 0.5, "dog/3": 0.25},
        }
    )
    assert set(source.draw(rng(), 2).weights.tolist()) <= {0.5, 1.0}
    assert source.fingerprint == load(f"t.{suffix}").fingerprint


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("kind,legs\ncat,4\ncow,4", None, r"t\.csv: tuple 2: field 'kind': found 'cow'; expected one of"),
        ("kind,legs\ncat,", None, "tuple 1: field 'legs': found None; Input should be a valid integer"),
        ("kind,legs\ncat,9", None, "field 'legs': found '9'; Input should be less than or equal to 4"),
        ("kind,legs\ncat,1", None, "field 'legs': found '1'; Value error, one leg is too few"),
        ("kind,leg\ncat,4", None, "found column 'leg' but none for 'legs'"),
        ("legs\n4", None, "found column 'legs' but none for 'kind'"),
        ("colour\nred", None, "found no column 'kind'; the columns are colour"),
        ("kind,leg\ncat,4", ["kind", "legs"], "found no column 'legs'; did you mean 'leg'"),
        ("kind,weight\ncat,-1", None, "tuple 1: found the weight '-1'"),
        ("kind,weight\ncat,much", None, "found the weight 'much'"),
        ("kind,weight\ncat,0", None, "found no row with a weight above 0"),
        ("kind", None, "found no rows"),
        ("", None, "cannot be read as csv"),
    ],
)
def test_wrong_tables(load: Load, tmp_path: Path, text: str, fields: list[str] | None, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load("t.csv", fields)
    assert all("\n" not in problem for problem in caught.value.problems)


def test_a_table_lists_several_faults(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("kind\n" + "cow\n" * 20)
    with pytest.raises(RecipeError) as caught:
        load("t.csv")
    assert len(caught.value.problems) == 5


def test_unknown_columns_are_left_alone(load: Load, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("kind,source\ncat,web")
    assert load("t.csv").fields == ("kind",)


# ---------------------------------------------------------------- marginals


def test_a_uniform_die() -> None:
    source = die("uniform")
    targets = source.draw(rng())
    check(targets)
    assert targets.whole
    assert not source.fresh
    assert targets.answers == tuple(f"{{{value}}}" for value in range(1, 11))
    assert targets.weights.tolist() == pytest.approx([0.1] * 10)
    assert source.closed["value"] == source.reference(rng()).shares["value"]


def test_binomials() -> None:
    exact = {k: math.comb(10, k) * 0.2**k * 0.8 ** (10 - k) for k in range(11)}
    truncated = die({"binomial": [10, 0.2], "truncate": True}).closed["value"]
    assert set(truncated) == {str(k) for k in range(1, 11)}
    assert truncated["2"] == pytest.approx(exact[2] / (1 - exact[0]), rel=1e-9)
    shifted = die({"binomial": [9, 0.2], "shift": 1}).closed["value"]
    assert shifted["1"] == pytest.approx(0.8**9, rel=1e-9)
    assert sum(shifted.values()) == pytest.approx(1)
    assert die({"binomial": [4, 1], "shift": 0}).closed["value"] == {"4": 1.0}


def test_ranges_and_weights() -> None:
    assert die({"range": [2, 3]}).closed["value"] == {"2": 0.5, "3": 0.5}
    assert die({"range": [9, 12], "truncate": True}).closed["value"] == {"9": 0.5, "10": 0.5}
    assert die({1: 3, "2": 1, 5: 0}).closed["value"] == {"1": 0.75, "2": 0.25}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"binomial": [10, 0.2]},
            r"binomial gives 0, which the field may not hold; shift it .*truncate: true",
        ),
        ({"binomial": [10, 2]}, r"found binomial: \[10, 2\]; expected \[trials, probability\]"),
        ({"binomial": [10, 0.2], "trunc": True}, "found trunc beside binomial"),
        ({"binomial": [10, 0.2], "truncate": "yes"}, "found truncate: 'yes'; expected true or false"),
        ({"binomial": [9, 0.2], "shift": "a"}, "found shift: 'a'"),
        ({"range": [1, 11]}, "range gives 11, which the field may not hold; leave such values out"),
        ({"range": [5, 1]}, r"found range: \[5, 1\]; expected \[lowest, highest\]"),
        ({11: 1.0}, "field 'value': found 11; Input should be less than or equal to 10"),
        ({1: -1}, "1 has the weight -1"),
        ({1: "a"}, "1 has the weight 'a'"),
        ({1: 0}, "found no value with a weight above 0"),
        ({1: 1, "1": 1}, "found the value '1' twice"),
        ("even", "found 'even'; expected `uniform`"),
    ],
)
def test_wrong_marginals(form: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        die(form)


def test_marginals_of_several_fields(load: Load) -> None:
    source = load({"legs": {"range": [2, 4]}, "kind": {"cat": 3, "dog": 1}})
    assert source.fields == ("kind", "legs")
    targets = source.draw(rng())
    check(targets)
    assert len(targets.answers) == 6
    assert targets.weights[0] == pytest.approx(0.25)
    reference = source.reference(rng())
    assert reference.shares["label"]["dog/4"] == pytest.approx(1 / 12)
    assert reference.draws == {}


@pytest.mark.parametrize(
    ("spec", "fields", "message"),
    [
        (
            {"kind": "uniform", "name": "uniform"},
            None,
            "expected the leading ones in schema order: kind, legs",
        ),
        ({"kind": "uniform"}, ["kind", "legs"], "found no distribution of field 'legs'"),
        ({"kind": "uniform", "legs": {4: 1}}, ["kind"], "found a distribution of 'legs'"),
        ({"kinds": "uniform"}, None, "'kinds' is no field of Pet; did you mean 'kind'"),
        ({"kind": "uniform", "legs": "uniform"}, None, "field 'legs': found '1'; Value error, one leg"),
        (
            {"kind": {"cat": 1}, "legs": {4: 1}, "name": "uniform"},
            None,
            "`uniform` needs finitely many values",
        ),
    ],
)
def test_marginals_that_do_not_fit(
    load: Load, spec: dict[str, object], fields: list[str] | None, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        load(spec, fields)


def test_every_wrong_marginal_is_named_at_once(load: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        load({"kind": {"cow": 1}, "legs": {9: 1}})
    assert len(caught.value.problems) == 2


def test_many_combinations_are_drawn_not_listed() -> None:
    schema = shipped("patient")
    forms = {
        "sex": "uniform",
        "age": {"range": [0, 99]},
        "blood_type": "uniform",
        "smoker": {True: 1, False: 3},
    }
    source = load_targets(forms, schema, None, None, SCHEMAS)
    assert source.fresh
    targets = source.draw(rng(), 2000)
    check(targets)
    smokers = Counter[str]()
    for values, weight in zip(targets.values, targets.weights, strict=True):
        smokers[values[3]] += weight
    assert smokers["yes"] == pytest.approx(0.25, abs=0.04)  # four standard errors
    reference = source.reference(rng(), 5000)
    assert reference.draws == {
        "age_group": 5000
    }  # the marginals are exact, what is derived from them is drawn
    assert reference.shares["smoker"] == {"yes": 0.25, "no": 0.75}
    assert reference.shares["age_group"]["child"] == pytest.approx(0.18, abs=0.025)


def test_yaml_truth_values_name_a_literal(tmp_path: Path) -> None:
    """YAML reads the keys of {yes: 1, no: 1} as true and false."""
    (tmp_path / "m.py").write_text(
        "from typing import Literal\nfrom pydantic import BaseModel\n"
        "class M(BaseModel):\n    answer: Literal['yes', 'no', 'maybe']\n"
    )
    schema = RecordSchema.from_model(load_model("m.py:M", tmp_path))
    source = load_targets({"answer": {True: 1, False: 1, "maybe": 2}}, schema, None, None, tmp_path)
    assert source.closed["answer"] == {"yes": 0.25, "no": 0.25, "maybe": 0.5}
