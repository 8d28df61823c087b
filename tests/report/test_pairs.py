"""Pairs of fields against their declared joint distribution, and what lies beside a dataset."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthgen.errors import RecipeError, SynthgenError
from synthgen.report import summarise, write_reports
from synthgen.report.beside import read_beside
from synthgen.report.facts import compute
from synthgen.report.figures import Facts, PairTarget
from synthgen.seen import Seen
from synthgen.together import Together
from tests.report import biographies as bios

COINS = Together(("a", "b"), {(x, y): 0.25 for x in "HT" for y in "HT"})


def only(facts: Facts) -> PairTarget:
    assert facts.pairs is not None
    (pair,) = facts.pairs.pairs
    return pair


def test_distance_worked_by_hand() -> None:
    table = pl.DataFrame({"a": list("HHTT"), "b": list("HHTT")})
    base = pl.DataFrame({"a": list("HHHH"), "b": list("HHHH")})
    pair = only(compute(table, together=COINS, before=base))
    assert (pair.k, pair.tv.value, pair.tv_before) == (4, 0.5, 0.75)
    # four draws into four cells: 1 − E(cells hit)/4 = (3/4)⁴, up to what falls double
    assert 0.3 < pair.tv.floor_mean < 0.45


def test_fields_right_alone_and_wrong_together_are_off() -> None:
    """Seeded; the right table is off once in 40 seeds."""
    rng = np.random.default_rng(0)
    a = rng.choice(["H", "T"], 2000)
    table = pl.DataFrame({"a": a, "b": np.where(rng.random(2000) < 0.1, a, rng.choice(["H", "T"], 2000))})
    reference = {name: {"H": 0.5, "T": 0.5} for name in "ab"}
    facts = compute(table, reference=reference, together=COINS)
    assert all(f.target and f.target.state != "off" for f in facts.fields)
    assert only(facts).tv.state == "off"
    right = pl.DataFrame({name: rng.choice(["H", "T"], 2000) for name in "ab"})
    assert only(compute(right, together=COINS)).tv.state == "within noise"


def test_values_outside_and_numbers_in_any_spelling() -> None:
    table = pl.DataFrame({"n": [1.0, 2.0, 7.0, 1.0], "k": ["x", "y", "x", "z"]})
    target = Together(("n", "k"), {("1.0", "x"): 0.5, ("2", "y"): 0.5}, draws=500)
    facts = compute(table, together=target)
    assert only(facts).tv.value == pytest.approx(0.5)
    assert facts.pairs is not None
    assert facts.pairs.n_reference == 500


def test_many_values_are_grouped_by_the_target() -> None:
    rng = np.random.default_rng(1)
    years, towns = rng.integers(1900, 2000, 3000), rng.integers(0, 30, 3000)
    table = pl.DataFrame({"year": years, "town": [f"t{t}" for t in towns]})
    cells: dict[tuple[str, ...], float] = {
        (str(y), f"t{t}"): 1 / 3000 for y in range(1900, 2000) for t in range(30)
    }
    facts = compute(table, together=Together(("year", "town"), cells))
    assert facts.pairs is not None
    assert list(facts.pairs.grouped) == ["year", "town"]
    pair = only(facts)
    assert pair.k == 5 * 10
    assert pair.tv.state == "within noise"
    assert pair.tv.floor_mean < 0.1  # 3,000 cells of one record each would have a floor of 0.4


def test_impossible_pairs_are_refused() -> None:
    facts = compute(pl.DataFrame({"a": list("HT"), "b": list("HT")}), together=COINS)
    assert facts.pairs is not None
    pair = only(facts)
    for planted in (
        dataclasses.replace(pair, tv=dataclasses.replace(pair.tv, value=1.2)),
        dataclasses.replace(pair, p_value=-1.0),
    ):
        pairs = dataclasses.replace(facts.pairs, pairs=(planted,))
        with pytest.raises(SynthgenError, match=r"a and b, together: .* lies between 0 and 1"):
            dataclasses.replace(facts, pairs=pairs).check()


class TestBeside:
    def test_a_report_is_made_again_from_what_lies_beside(self, tmp_path: Path) -> None:
        data = bios.after(300)
        data.write_parquet(tmp_path / "part-00000.parquet")
        seen = [bios.seen(), Seen(("name",), {("Ann Lee",): 1})]
        facts = compute(data, reference=bios.REFERENCE, together=bios.together(), seen=seen)
        write_reports(facts, tmp_path)
        again = summarise(tmp_path)
        assert again == facts
        assert (again.together, again.seen) == (bios.together(), tuple(seen))
        assert again.pairs is not None
        assert again.seen_records is not None
        assert not {"together", "seen", "reference"} & set(json.loads((tmp_path / "report.json").read_text()))

    def test_nothing_lies_beside_other_tables(self, tmp_path: Path) -> None:
        beside = read_beside(tmp_path)
        assert (beside.reference, beside.together, beside.seen) == ({}, None, ())

    @pytest.mark.parametrize("name", ["_together.parquet", "_tuned.parquet", "_target.json"])
    def test_damage_is_named(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"[]")
        with pytest.raises(RecipeError, match=rf"{name}: expected"):
            read_beside(tmp_path)
