"""Gates: every measure holds and fails where it should, the line says all, and a run can be judged again."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthgen import Recipe
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request
from synthgen.errors import GateError
from synthgen.gates import judge
from synthgen.report import duplicates
from synthgen.report.duplicates import duplicate_rate
from synthgen.report.facts import Facts, FieldInfo, compute
from synthgen.run import open_run, run_recipe
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent
GENDER = FieldInfo("gender", "Gender", "closed")
TARGET = {"gender": {"Female": 0.5, "Male": 0.5}}


@pytest.fixture(scope="module")
def facts() -> Facts:
    """60 women and 40 men: TV 0.1, JS 0.00506, KL 0.02014, entropy 0.67301 nats, coverage 2, 98 repeats in 100."""
    table = pl.DataFrame({"gender": ["Female"] * 60 + ["Male"] * 40})
    return compute(table, fields=[GENDER], reference=TARGET)


@pytest.mark.parametrize(
    ("measure", "value", "holds", "fails"),
    [
        ("tv", 0.1, 0.1001, 0.0999),
        ("js", 0.005059, 0.0051, 0.005),
        ("kl", 0.020136, 0.0202, 0.0201),
        ("entropy", 0.673012, 0.673, 0.6731),
        ("coverage", 2, 2, 3),
    ],
)
def test_a_gate_on_a_field_holds_up_to_its_limit(
    facts: Facts, measure: str, value: float, holds: float, fails: float
) -> None:
    for limit, passed in ((holds, True), (fails, False)):
        (verdict,) = judge({"gender": {measure: limit}}, facts, 1.0)
        assert verdict.passed is passed
        assert verdict.value == pytest.approx(value, abs=1e-6)
        floor = facts.figure("gender", measure)[1]
        word = "at most" if measure in ("tv", "js", "kl") else "at least"
        beside = f" (noise floor {floor:.4g})" if floor is not None else ""
        assert str(verdict) == f"gate gender.{measure}: {value:.4g}{beside}, asked {word} {limit:g}"
    assert (floor is not None) is (measure in ("tv", "js", "kl"))


@pytest.mark.parametrize(
    ("gate", "value", "holds", "fails"),
    [("parse_rate", 0.93, 0.93, 0.94), ("duplicate_rate", 0.98, 0.98, 0.97)],
)
def test_a_gate_on_the_dataset_holds_up_to_its_limit(
    facts: Facts, gate: str, value: float, holds: float, fails: float
) -> None:
    for limit, passed in ((holds, True), (fails, False)):
        (verdict,) = judge({gate: limit}, facts, 0.93)
        assert verdict.passed is passed
        word = "at most" if gate == "duplicate_rate" else "at least"
        assert str(verdict) == f"gate {gate}: {value}, asked {word} {limit:g}"


def test_a_figure_that_does_not_exist_holds_no_gate() -> None:
    plain = compute(pl.DataFrame({"gender": ["Female"] * 5}), fields=[GENDER])
    (verdict,) = judge({"gender": {"tv": 1.0}}, plain, 1.0)
    assert not verdict.passed and "no such figure in the report (no declared target?)" in str(verdict)


def test_an_infinite_kl_fails_and_is_still_json() -> None:
    table = pl.DataFrame({"gender": ["Female", "Other"]})
    (verdict,) = judge({"gender": {"kl": 1e9}}, compute(table, fields=[GENDER], reference=TARGET), 1.0)
    assert not verdict.passed and verdict.value == math.inf and "gate gender.kl: inf" in str(verdict)
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))["value"] is None


# ---- the duplicate rate ----


def test_the_duplicate_rate_counts_records_equal_to_an_earlier_one_in_the_declared_fields() -> None:
    fields = [FieldInfo("a", "A", "open"), FieldInfo("b", "B", "number"), FieldInfo("c", "C", "open", True)]
    table = pl.DataFrame({"_id": range(6), "a": ["x", "x", "y", None, None, "x"], "b": [1, 2, 1, 1, 1, 1]})
    table = table.with_columns(c=pl.lit("derived"))
    assert compute(table, fields=fields).duplicate_rate == pytest.approx(2 / 6)  # rows 4 and 5
    assert duplicate_rate(table.lazy(), [], 6) is None


def test_the_duplicate_rate_of_a_large_table_comes_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """One value in ten of 60,000 rows: the estimate's standard error is 0.5 %, 2 % is four of them."""
    table = pl.DataFrame({"a": np.random.default_rng(1).integers(0, 40_000, 60_000)})
    exact = 1 - table["a"].n_unique() / table.height
    assert duplicate_rate(table.lazy(), ["a"], table.height) == pytest.approx(exact)
    monkeypatch.setattr(duplicates, "MOST_ROWS", 6_000)
    estimate = duplicate_rate(table.lazy(), ["a"], table.height)
    assert estimate != exact and estimate == pytest.approx(exact, abs=0.02)


# ---- in a run ----


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


def make(model: Path, gates: dict[str, object]) -> Recipe:
    content: dict[str, object] = {"schema": "schemas/die.py:Die", "model": str(model), "gates": gates}
    return Recipe.from_mapping(content | {"generate": {"mix": {"base": 1.0}}}, base=ROOT)


def roll(_: Request, rng: np.random.Generator) -> str:
    return f"{{{rng.integers(1, 11)}}}" if rng.random() < 0.9 else "{eleven}"


def dead() -> FakeEngine:
    """An engine that answers nothing: whoever asks it is found out."""
    return FakeEngine(roll, die_after=0)


def test_a_failed_gate_is_judged_again_without_generating(model: Path, tmp_path: Path) -> None:
    strict = make(model, {"parse_rate": 0.99, "duplicate_rate": 0.5})
    lines = []
    for engine in (FakeEngine(roll), dead(), dead()):
        with pytest.raises(GateError) as caught:
            run_recipe(strict, 300, tmp_path, engine=engine)
        assert caught.value.exit_code == 3 and not (tmp_path / "_SUCCESS").exists()
        lines.append(str(caught.value))
    assert len(set(lines)) == 1
    first, second = lines[0].splitlines()
    assert first.startswith(f"{tmp_path}: gate parse_rate: 0.") and first.endswith("asked at least 0.99")
    assert second == f"{tmp_path}: gate duplicate_rate: 0.9667, asked at most 0.5"

    relaxed = run_recipe(make(model, {"parse_rate": 0.8}), 300, tmp_path, engine=dead())
    assert (tmp_path / "_SUCCESS").exists() and relaxed.summary["records_per_s"] != 0
    assert [verdict["passed"] for verdict in relaxed.summary["gates"]] == [True]  # type: ignore[attr-defined]


def test_a_finished_dataset_is_held_to_the_gates_of_today(model: Path, tmp_path: Path) -> None:
    run_recipe(make(model, {}), 300, tmp_path, engine=FakeEngine(roll))
    with pytest.raises(GateError, match=r"gate value\.coverage: 10, asked at least 11"):
        run_recipe(make(model, {"value": {"coverage": 11}}), 300, tmp_path, engine=dead())
    assert not (tmp_path / "_SUCCESS").exists()
    run = run_recipe(make(model, {"value": {"coverage": 10}}), 300, tmp_path, engine=dead())
    assert (tmp_path / "_SUCCESS").exists()
    again = run_recipe(make(model, {"duplicate_rate": 1}), 300, tmp_path, engine=dead())
    assert again.summary["already_complete"] is True
    assert [verdict["gate"] for verdict in again.summary["gates"]] == ["duplicate_rate"]  # type: ignore[attr-defined]
    assert open_run(tmp_path).to_polars().equals(run.to_polars())
