"""Tables of one field given another: what is read, drawn and declared, and every mistake in one line."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import Recipe
from synthgen.declared import Declared
from synthgen.errors import RecipeError
from synthgen.marginal_source import MarginalsSource
from synthgen.schema import RecordSchema, load_model
from synthgen.targets import TargetSource, load_targets

STAFF = """
    from typing import Literal
    from pydantic import BaseModel, computed_field

    class Staff(BaseModel):
        gender: Literal["Female", "Male"]
        profession: Literal["Nurse", "Engineer", "Pilot"]
        tool: str
        fit: bool
        name: str

        @computed_field
        def post(self) -> str:
            return f"{self.gender} {self.profession}"

    ROWS = {"Female": [0.75, 0.25], "Male": [0.25, 0.75]}

    def staff(rng, n):
        for _ in range(n):
            gender = "Female" if rng.random() < 0.6 else "Male"
            yield gender, str(rng.choice(["Nurse", "Engineer"], p=ROWS[gender]))

    def alike(rng, n):
        for _ in range(n):
            yield "Female" if rng.random() < 0.6 else "Male", str(rng.choice(["Nurse", "Engineer"]))
"""
GENDER = {"Female": 3, "Male": 2}
PROFESSION = {
    "given": "gender",
    "Female": {"Nurse": 3, "Engineer": 1},
    "Male": {"Nurse": 1, "Engineer": 2, "Pilot": 1},
}
TOOL = {
    "given": "profession",
    "Nurse": {"syringe": 1},
    "Engineer": {"pen": 1, "saw": 1},
    "Pilot": {"map": 1},
}
CHAIN = {"gender": GENDER, "profession": PROFESSION, "tool": TOOL}
JOINT = {
    ("Female", "Nurse", "syringe"): 0.6 * 0.75,
    ("Female", "Engineer", "pen"): 0.6 * 0.25 * 0.5,
    ("Female", "Engineer", "saw"): 0.6 * 0.25 * 0.5,
    ("Male", "Nurse", "syringe"): 0.4 * 0.25,
    ("Male", "Engineer", "pen"): 0.4 * 0.5 * 0.5,
    ("Male", "Engineer", "saw"): 0.4 * 0.5 * 0.5,
    ("Male", "Pilot", "map"): 0.4 * 0.25,
}
Load = Callable[..., TargetSource]


@pytest.fixture
def staff(tmp_path: Path) -> RecordSchema:
    (tmp_path / "staff.py").write_text(textwrap.dedent(STAFF))
    return RecordSchema.from_model(load_model("staff.py:Staff", tmp_path))


@pytest.fixture
def load(staff: RecordSchema, tmp_path: Path) -> Load:
    def load(spec: str | Mapping[str, object], closed: dict[str, Any] | None = None) -> TargetSource:
        return load_targets(spec, staff, None, closed, tmp_path)

    return load


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def mutual_information(joint: Mapping[tuple[str, ...], float]) -> float:
    """Of the first two fields, in nats."""
    pair: Counter[tuple[str, str]] = Counter()
    for values, share in joint.items():
        pair[values[0], values[1]] += share  # type: ignore[assignment]
    first = {a: sum(p for (x, _), p in pair.items() if x == a) for a, _ in pair}
    second = {b: sum(p for (_, y), p in pair.items() if y == b) for _, b in pair}
    return sum(p * math.log(p / (first[a] * second[b])) for (a, b), p in pair.items())


# ---- inline tables ----


def test_a_chain_is_listed_with_its_joint_distribution(load: Load) -> None:
    source = load(CHAIN)
    assert not source.fresh and source.fields == ("gender", "profession", "tool")
    targets = source.draw(rng())
    assert dict(zip(targets.values, targets.weights.tolist(), strict=True)) == pytest.approx(JOINT)
    assert source.closed == {"gender": {"Female": 0.6, "Male": 0.4}}
    assert source.conditionals["profession"].rows["Male"] == {"Nurse": 0.25, "Engineer": 0.5, "Pilot": 0.25}
    assert source.conditionals["tool"].parent == "profession"


def test_what_a_chain_declares_is_exact_by_field_and_together(load: Load) -> None:
    reference = load(CHAIN).reference(rng())
    assert reference.draws == {}
    assert reference.shares["profession"] == pytest.approx({"Nurse": 0.55, "Engineer": 0.35, "Pilot": 0.1})
    assert reference.shares["tool"] == pytest.approx(
        {"syringe": 0.55, "pen": 0.175, "saw": 0.175, "map": 0.1}
    )
    assert reference.shares["post"]["Male Pilot"] == pytest.approx(0.1)
    assert reference.together is not None and reference.together.draws is None
    assert reference.together.of(["gender", "profession", "tool"]) == pytest.approx(JOINT)
    independent = load({"gender": GENDER, "profession": {"Nurse": 55, "Engineer": 35, "Pilot": 10}})
    flat = independent.reference(rng()).together
    assert flat is not None
    assert mutual_information(flat.of(["gender", "profession"])) == pytest.approx(0, abs=1e-12)
    assert mutual_information(reference.together.of(["gender", "profession"])) > 0.15


def test_a_field_is_known_at_every_prefix(load: Load) -> None:
    declared = load(CHAIN).declared
    assert declared.given("gender", {}) == {"Female": 0.6, "Male": 0.4}
    assert declared.given("tool", {"gender": "Male", "profession": "Pilot"}) == {"map": 1.0}
    assert declared.given("name", {}) is None
    with pytest.raises(KeyError):
        declared.given("tool", {"profession": "Cook"})


def test_rows_may_have_any_form(load: Load) -> None:
    source = load(
        {"gender": "uniform", "profession": {"given": "gender", "Female": "uniform", "Male": {"Pilot": 1}}}
    )
    assert source.conditionals["profession"].rows == {
        "Female": pytest.approx({"Nurse": 1 / 3, "Engineer": 1 / 3, "Pilot": 1 / 3}),
        "Male": {"Pilot": 1.0},
    }


def test_two_fields_may_be_given_the_same_one(load: Load) -> None:
    rows = {"given": "gender", "Female": {True: 3, False: 1}, "Male": {True: 1, False: 3}}
    tools = {"given": "gender", "Female": {"saw": 1}, "Male": {"pen": 1}}
    source = load({"gender": GENDER, "profession": PROFESSION, "tool": tools, "fit": rows})
    joint = source.reference(rng()).together
    assert joint is not None
    assert joint.of(["gender", "tool", "fit"]) == pytest.approx(
        {
            ("Female", "saw", "yes"): 0.45,
            ("Female", "saw", "no"): 0.15,
            ("Male", "pen", "yes"): 0.1,
            ("Male", "pen", "no"): 0.3,
        }
    )


def test_many_combinations_are_drawn_by_the_chain_rule(staff: RecordSchema) -> None:
    """Fixed seed; each bound is over four standard errors wide."""
    tools = {f"tool {i}": 1 for i in range(2000)}
    forms = {
        "gender": GENDER,
        "profession": PROFESSION,
        "tool": {"given": "profession", "Nurse": tools, "Engineer": tools, "Pilot": {"map": 1}},
    }
    source = MarginalsSource(forms, staff, None, {})
    assert source.fresh
    targets = source.draw(rng(), 4000)
    shares: Counter[tuple[str, str]] = Counter()
    for values, weight in zip(targets.values, targets.weights, strict=True):
        shares[values[0], values[1]] += weight
        assert (values[2] == "map") == (values[1] == "Pilot")
    assert shares["Female", "Pilot"] == 0
    assert shares["Female", "Nurse"] == pytest.approx(0.45, abs=0.035)
    assert shares["Male", "Pilot"] == pytest.approx(0.1, abs=0.02)
    assert source.draw(rng(), 50).values == source.draw(rng(), 50).values
    reference = source.reference(rng(), 3000)
    assert reference.draws == {"post": 3000}  # each field's own distribution is exact
    assert reference.shares["tool"]["map"] == pytest.approx(0.1)


def test_a_recipe_without_tables_keeps_its_fingerprint(load: Load) -> None:
    """That of a version which knew no tables."""
    plain = load({"gender": GENDER, "profession": {"Nurse": 1}})
    assert (
        len({plain.fingerprint, load(CHAIN).fingerprint, load(CHAIN | {"tool": {"saw": 1}}).fingerprint}) == 3
    )
    turned = CHAIN | {"profession": PROFESSION | {"Female": {"Nurse": 2, "Engineer": 1}}}
    assert load(turned).fingerprint != load(CHAIN).fingerprint
    assert Declared({"a": {"x": 1.0}}).facts() == [{"a": {"x": 1.0}}]


def rows(**changes: object) -> dict[str, object]:
    return {"gender": GENDER, "profession": PROFESSION | changes}


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        (rows(given="gendre"), "'gendre', which is none of the fields; did you mean 'gender'?"),
        (rows(given="profession"), "is given itself; name a field before it"),
        (rows(given=["gender"]), r"found given: \['gender'\]; expected the name of one field before it"),
        (
            {"gender": {"given": "profession", "Nurse": {"Male": 1}}, "profession": {"Nurse": 1}},
            "'gender': is given 'profession', which comes after it; turn the table round, "
            "or move 'profession' before 'gender' in Staff",
        ),
        (
            {"gender": {"given": "profession", "Nurse": {"Male": 1}}, "profession": PROFESSION},
            "'gender': is given 'profession', which is given 'gender'; let one of them stand without `given`",
        ),
        (
            {"gender": GENDER, "profession": {"given": "gender", "Female": {"Nurse": 1}}},
            "found no row for gender 'Male'; write one, or leave that value out of gender",
        ),
        (
            rows(Other={"Nurse": 1}),
            "row 'Other': field 'gender': found 'Other'; expected one of Female, Male",
        ),
        (
            {"gender": {"Female": 1}, "profession": PROFESSION},
            "found a row for gender 'Male', which gender never is; give the value a weight there",
        ),
        (
            CHAIN | {"tool": TOOL | {"Pilot": {}}},
            "row 'Pilot': found no value with a weight above 0",
        ),
        (rows(Male={"Cook": 1}), "row 'Male': found 'Cook'; expected one of Nurse, Engineer, Pilot"),
        (rows(Male={"Nurse": "much"}), "row 'Male': 'Nurse' has the weight 'much'"),
        (rows(Male=3), "row 'Male': found 3; expected `uniform`"),
        (
            {"gender": GENDER, "profession": {"given": "gender"}},
            "found no row; write one for each value of gender",
        ),
    ],
)
def test_every_mistake_in_a_table_is_one_line(load: Load, forms: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load(forms)
    assert all(line.startswith("targets: field '") and line.isprintable() for line in caught.value.problems)


def test_a_child_of_a_faulty_table_is_not_blamed(load: Load) -> None:
    with pytest.raises(RecipeError) as caught:
        load(CHAIN | {"profession": PROFESSION | {"given": "gendre"}})
    assert len(caught.value.problems) == 1


def test_a_value_called_given_has_its_weight(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "from pydantic import BaseModel\nclass M(BaseModel):\n    word: str\n    next: str\n"
    )
    schema = RecordSchema.from_model(load_model("m.py:M", tmp_path))
    source = load_targets({"word": {"given": 1, "taken": 3}}, schema, None, None, tmp_path)
    assert source.closed["word"] == {"given": 0.25, "taken": 0.75}


# ---- beside a function or a table file ----

BESIDE: dict[str, Any] = {
    "profession": {
        "given": "gender",
        "Female": {"Nurse": 0.75, "Engineer": 0.25},
        "Male": {"Nurse": 0.25, "Engineer": 0.75},
    }
}


def test_a_function_declares_tables_as_it_declares_fields(load: Load) -> None:
    alone = load("staff.py:staff", BESIDE)
    assert alone.closed == {} and alone.conditionals["profession"].rows["Male"]["Engineer"] == 0.75
    assert alone.reference(rng(), 1000).draws.keys() == {"gender", "profession", "post"}
    both = load("staff.py:staff", BESIDE | {"gender": {"Female": 0.6, "Male": 0.4}})
    reference = both.reference(rng(), 1000)
    assert reference.shares["profession"] == pytest.approx({"Nurse": 0.55, "Engineer": 0.45})
    assert reference.draws == {"post": 1000}


@pytest.mark.parametrize(
    ("spec", "change", "message"),
    [
        (
            "staff.py:alike",
            {},
            r"closed: profession: declared '\w+ given Female' with 0\.\d+, but the tuples have 0",
        ),
        (
            "staff.py:staff",
            {"Male": {"Nurse": 0.5, "Engineer": 0.4}},
            "row 'Male': the probabilities sum to 0.9; expected 1",
        ),
        (
            "staff.py:staff",
            {"given": "tool"},
            "closed: field 'profession': is given 'tool', which is none of the fields",
        ),
    ],
)
def test_tables_are_held_against_what_the_function_gives(
    load: Load, spec: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load(spec, {"profession": BESIDE["profession"] | change})
    assert all(line.isprintable() for line in caught.value.problems)


def test_a_value_without_a_row_is_named(load: Load) -> None:
    table = {key: row for key, row in BESIDE["profession"].items() if key != "Male"}
    with pytest.raises(
        RecipeError, match="profession: the tuples hold gender 'Male', for which it has no row"
    ):
        load("staff.py:staff", {"profession": table})


def test_a_table_file_must_agree_exactly(load: Load, tmp_path: Path) -> None:
    lines = [
        "gender,profession,weight",
        "Female,Nurse,3",
        "Female,Engineer,1",
        "Male,Nurse,1",
        "Male,Engineer,3",
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    assert load("t.csv", BESIDE).conditionals["profession"].parent == "gender"
    (tmp_path / "t.csv").write_text("\n".join([*lines[:-1], "Male,Engineer,1"]))
    with pytest.raises(RecipeError, match=r"t\.csv: closed: profession: declared 'Engineer given Male'"):
        load("t.csv", BESIDE)


# ---- in a recipe ----


def recipe(folder: Path, **adapter: object) -> Recipe:
    content = {"schema": "staff.py:Staff", "adapters": {"a": adapter}}
    return Recipe.from_mapping(content, base=folder)


def test_a_recipe_takes_tables_in_both_places(staff: RecordSchema, tmp_path: Path) -> None:
    inline = recipe(tmp_path, targets=CHAIN)
    assert inline.targets_of("a").conditionals.keys() == {"profession", "tool"}
    beside = recipe(tmp_path, targets="staff.py:staff", closed=BESIDE)
    assert beside.targets_of("a").conditionals.keys() == {"profession"}
    assert (
        len({inline.fingerprint, beside.fingerprint, recipe(tmp_path, targets="staff.py:staff").fingerprint})
        == 3
    )


@pytest.mark.parametrize(
    ("adapter", "line"),
    [
        (
            {"targets": CHAIN | {"profession": PROFESSION | {"given": "gendre"}}},
            "targets.profession: is given 'gendre', which is none of the fields; did you mean 'gender'?",
        ),
        (
            {
                "targets": "staff.py:staff",
                "closed": {"profession": BESIDE["profession"] | {"Mal": {"Nurse": 1.0}}},
            },
            "closed.profession: row 'Mal': field 'gender': found 'Mal'; expected one of Female, Male",
        ),
        (
            {"targets": "staff.py:staff", "closed": {"gender": {"Female": -1}}},
            "closed.gender.Female: found -1; expected a number above 0",
        ),
    ],
)
def test_a_wrong_table_is_answered_at_its_own_key(
    staff: RecordSchema,
    tmp_path: Path,
    adapter: dict[str, object],
    line: str,
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(tmp_path, **adapter)
    assert f"recipe: adapters.a.{line}" in caught.value.problems
