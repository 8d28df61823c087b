"""The page and the command: what is finished stays, goals are drawn as they were judged, published numbers stay apart."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from synthgen.bench.estimates import Estimate
from synthgen.bench.page import REAL, STAND_IN, render, write_page
from synthgen.bench.paper import ALL, run_paper
from synthgen.bench.section import Figure, Ratio, Section, Table, Verdict
from synthgen.cli import main
from synthgen.engines.fake import FakeEngine
from synthgen.errors import Incomplete, RecipeError, SinkError
from tests.bench.planted import RECIPES, lab

STAMP = {
    "date": "2026-01-01 00:00 UTC",
    "machine": "a machine, 2 cores",
    "python": "3.11",
    "versions": {"torch": "2"},
}
SECTION = Section(
    3,
    "Planted",
    ("What is measured.",),
    (Table("A table", ("task", "entropy"), (("a | b", "1.00"),), "A note."),),
    (Figure("3-x.svg", "A figure.", "<svg/>"),),
    (
        Ratio(
            "names",
            "entropy",
            Estimate(1.5, 0.1, 0.05, 3),
            {"Gemma-7B-it": 1.57, "Mistral-7B-Instruct": None},
        ),
    ),
    (Verdict("goal one", "found 6", True), Verdict("goal two", "found 0", False)),
    {"x": 1},
    "`a command`, a date",
)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# ---- the page ----


def test_the_page_shows_goals_ratios_tables_figures_and_how_it_was_made() -> None:
    page = render([SECTION], "paper-nano", "nano", "synthgen bench paper", STAMP)
    assert "| goal one | found 6 | reached |" in page
    assert "| goal two | found 0 | **not reached** |" in page
    assert "| names | entropy | 1.50 ± 0.10 | 1.57 | – | – |" in page  # ours, Gemma, Llama-2, Mistral
    assert "| a / b | 1.00 |" in page  # a bar would end the cell
    assert "![A figure.](paper-nano/3-x.svg)" in page
    assert "`synthgen bench paper`" in page
    assert "a machine, 2 cores" in page
    assert "torch 2" in page
    assert "`a command`, a date." in page


def test_every_row_of_the_page_is_as_long_as_its_head() -> None:
    page = render([SECTION], "paper-nano", "nano", "synthgen bench paper", STAMP)
    for block in re.findall(r"(?:^\|.*\n?)+", page, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_only_the_stand_in_is_called_one() -> None:
    assert STAND_IN in render([SECTION], "p", "nano", "c", STAMP)
    real = render([SECTION], "p", "google/gemma-7b-it", "c", STAMP)
    assert REAL in real
    assert STAND_IN not in real


def test_the_pages_numbers_are_beside_it_as_json(tmp_path: Path) -> None:
    page = write_page([SECTION], tmp_path, "paper-nano", "nano", "c", STAMP)
    assert page == tmp_path / "paper-nano.md"
    assert (tmp_path / "paper-nano" / "3-x.svg").read_text() == "<svg/>"
    found = json.loads((tmp_path / "paper-nano.json").read_text())
    assert found["experiments"]["3"] == {"made": "`a command`, a date", "x": 1}
    assert found["ratios"][0]["measured"]["value"] == 1.5
    assert found["ratios"][0]["published"]["Gemma-7B-it"] == 1.57
    assert [verdict["reached"] for verdict in found["verdicts"]] == [True, False]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        write_page([SECTION], tmp_path / "file", "p", "nano", "c", STAMP)


# ---- the run ----


def test_experiments_that_are_finished_stay_on_the_page(tmp_path: Path) -> None:
    run_paper(lab(tmp_path, only=(1,)))
    page = run_paper(lab(tmp_path, only=(2,))).read_text()
    assert "## 1. Single tasks" in page
    assert "## 2. Ranges and wordings" in page
    assert "`synthgen bench paper --only 1 " in page
    assert "## 3." not in page


def test_a_finished_run_is_drawn_again_without_asking_anything(tmp_path: Path) -> None:
    first = run_paper(lab(tmp_path, only=(1,))).read_text()
    again = lab(tmp_path, only=(1,))
    again.engine = FakeEngine(["{1}"], drop_after=0)  # answers nothing

    def numbers(page: str) -> list[str]:
        return [line for line in page.splitlines() if line.startswith("| ")]

    assert numbers(run_paper(again).read_text()) == numbers(first)


def test_figures_of_the_page_exist(tmp_path: Path) -> None:
    page = run_paper(lab(tmp_path, only=(1, 2)))
    files = re.findall(r"\]\(([^)]+\.svg)\)", page.read_text())
    assert len(files) == 4
    assert all((page.parent / file).is_file() for file in files)


def test_a_spent_budget_leaves_the_page_of_what_is_finished(tmp_path: Path) -> None:
    run_paper(lab(tmp_path, only=(1,)))
    with pytest.raises(Incomplete):
        run_paper(lab(tmp_path, only=(2,), budget_min=0.0))
    assert "## 1. Single tasks" in (tmp_path / "out" / "paper-nano.md").read_text()


def test_a_damaged_section_is_left_out(tmp_path: Path) -> None:
    of = lab(tmp_path, only=(1,))
    run_paper(of)
    (kept,) = (of.work / "sections").iterdir()
    kept.write_text("{}")
    assert "## 1." not in run_paper(replace(of, options=replace(of.options, only=()))).read_text()


def test_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--only 6: no such experiment"):
        run_paper(lab(tmp_path, only=(1, 6)))


def test_there_are_five_experiments() -> None:
    assert sorted(ALL) == [1, 2, 3, 4, 5]


# ---- the command line ----


def test_bench_alone_lists_the_measurements() -> None:
    result = call("bench")
    assert result.exit_code == 0
    assert any(line.startswith("paper ") for line in result.output.splitlines())


def test_the_command_refuses_what_is_no_number(tmp_path: Path) -> None:
    result = call("bench", "paper", "--only", "one", "--out", tmp_path)
    assert result.exit_code == 2
    assert "--only one: expected numbers of experiments" in result.output


def test_the_command_refuses_a_model_without_a_recipe(tmp_path: Path) -> None:
    result = call("bench", "paper", "--model", "a/b", "--recipes", RECIPES, "--out", tmp_path)
    assert result.exit_code == 2
    assert "names this model" in result.output


def test_the_command_goes_on_where_its_budget_ended(tmp_path: Path) -> None:
    result = call(
        "bench",
        "paper",
        "--budget",
        "0",
        "--recipes",
        RECIPES,
        "--out",
        tmp_path / "out",
        "--work",
        tmp_path / "w",
    )
    assert result.exit_code == 4
    assert "run the same command again" in result.output
