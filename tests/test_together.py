"""How fields go together: counting, mixing, and what each kind of target declares."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from synthgen.schema import RecordSchema, load_model
from synthgen.targets import Reference, load_targets
from synthgen.together import Together, counted, mixed

MODEL = """
from typing import Literal
from pydantic import BaseModel, Field, computed_field

class Pet(BaseModel):
    kind: Literal["cat", "dog"] = Field(title="Kind")
    legs: int = Field(title="Legs", ge=0, le=4)

    @computed_field(title="Label")
    def label(self) -> str:
        return f"{self.kind}/{self.legs}"

def pets(rng, n):
    for legs in rng.choice([3, 4], n, p=[0.1, 0.9]).tolist():
        yield ("cat" if legs == 4 else "dog"), legs
"""


def declared(tmp_path: Path, targets: object) -> Reference:
    (tmp_path / "pets.py").write_text(MODEL)
    schema = RecordSchema.from_model(load_model("pets.py:Pet", tmp_path))
    source = load_targets(targets, schema, None, None, tmp_path)  # type: ignore[arg-type]
    return source.reference(np.random.default_rng(0), 2000)


def test_rows_are_counted_by_weight() -> None:
    found = counted({"a": ["x", "x", "y"], "b": ["1", "2", "1"]}, [1.0, 2.0, 1.0], None)
    assert found is not None
    assert found.shares == {("x", "1"): 0.25, ("x", "2"): 0.5, ("y", "1"): 0.25}
    assert found.of(["b"]) == {("1",): 0.5, ("2",): 0.5}
    assert counted({"a": ["x"]}, [1.0], None) is None


def test_a_mixture_of_independent_fields_need_not_be_independent() -> None:
    one = Together(("a", "b", "c"), {("x", "1", "p"): 1.0})
    two = Together(("b", "a"), {("2", "y"): 1.0}, draws=1000)
    found = mixed([(0.25, one), (0.75, two)])
    assert found == Together(("a", "b"), {("x", "1"): 0.25, ("y", "2"): 0.75}, draws=round(1000 / 0.75**2))
    again = mixed([(0.25, one), (0.75, one)])
    assert again is not None
    assert again.shares == {("x", "1", "p"): 1.0}
    assert mixed([(0.5, one), (0.5, None)]) is None
    assert mixed([(0.5, one), (0.5, Together(("a", "z"), {("x", "q"): 1.0}))]) is None


def test_a_function_is_counted_with_its_derived_fields(tmp_path: Path) -> None:
    found = declared(tmp_path, "pets.py:pets").together
    assert found is not None
    assert (found.fields, found.draws) == (("kind", "legs", "label"), 2000)
    assert set(found.shares) == {("cat", "4", "cat/4"), ("dog", "3", "dog/3")}
    assert found.shares["dog", "3", "dog/3"] == pytest.approx(0.1, abs=0.03)


def test_a_table_and_short_marginals_are_exact(tmp_path: Path) -> None:
    rows = [{"kind": "cat", "legs": 4, "weight": 3}, {"kind": "dog", "legs": 3, "weight": 1}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = declared(tmp_path, "t.jsonl").together
    assert table is not None
    assert table.draws is None
    assert table.of(["kind", "legs"]) == {("cat", "4"): 0.75, ("dog", "3"): 0.25}
    forms = {"kind": {"cat": 0.5, "dog": 0.5}, "legs": {"3": 0.25, "4": 0.75}}
    product_of = declared(tmp_path, forms).together
    assert product_of is not None
    assert product_of.draws is None
    cells = product({"cat": 0.5, "dog": 0.5}.items(), {"3": 0.25, "4": 0.75}.items())
    expected = {(a, b): p * q for (a, p), (b, q) in cells}
    assert product_of.of(["kind", "legs"]) == pytest.approx(expected)
