"""Cells are found again by their key, and never otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthgen.bench.cells import Cell, Cells, Tally, key_of, tallied
from synthgen.bench.estimates import Measured
from synthgen.errors import SinkError

TALLY = Tally("1–10", "numbers", 12, 9, {"1": 3, "2": 5}, {"11": 2}, 10)


def test_a_kept_cell_is_found_with_its_key_only(tmp_path: Path) -> None:
    cells, cell = Cells(tmp_path), Cell(3, "held out days and dates", 2, tallied([TALLY], more=[1, 2]))
    cells.keep(cell, "k")
    found = cells.find(3, "held out days and dates", 2, "k")
    assert found == cell
    assert found is not None
    assert found.tallies == (TALLY,)
    assert cells.find(3, "held out days and dates", 2, "other") is None
    assert cells.find(3, "held out days and dates", 1, "k") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_cell_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    cells = Cells(tmp_path)
    cells.keep(Cell(1, "tuned", 1, {}), "k")
    (tmp_path / "1-tuned-s1.json").write_bytes(damage)
    assert cells.find(1, "tuned", 1, "k") is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        Cells(tmp_path / "file").keep(Cell(1, "tuned", 1, {}), "k")


def test_keys_change_with_any_fact() -> None:
    assert key_of(1, "a", ["b"]) == key_of(1, "a", ["b"]) != key_of(1, "a", ["c"])


def test_a_tally_tells_form_list_and_spread_apart() -> None:
    assert TALLY.n == 10
    assert TALLY.format_rate.value == 0.75
    assert TALLY.listed_rate.value == 0.8
    assert TALLY.coverage().value == 3
    assert TALLY.listed_coverage().value == 2
    assert TALLY.coverage(5).value < 3


def test_no_answer_at_all_has_no_spread() -> None:
    none = Tally("1–10", "numbers", 12, 0, {}, {}, 10)
    assert none.entropy() == none.coverage() == none.entropy(0) == Measured(0.0, 0.0)
