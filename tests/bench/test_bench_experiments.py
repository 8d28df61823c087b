"""Every experiment in small, by rule instead of by a model: cells, sections, and verdicts that follow the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthgen.bench import biographies, published, ranges, retention, single, six_tasks
from synthgen.bench.cells import Cell, Tally, tallied
from synthgen.bench.drift import Drift
from synthgen.bench.section import Section
from tests.bench.planted import lab


def no_drift(_: str, adapters: Mapping[str, Any], contexts: Sequence[Any]) -> dict[str, list[Drift]]:
    return {
        name: [Drift(len(c.answer_ids), 0.1 * len(c.answer_ids), 2.0, 3.0) for c in contexts]
        for name in adapters
    }


def check(section: Section) -> None:
    """Rows as long as their heads, figures of their own, facts that are JSON."""
    for table in section.tables:
        assert table.rows, table.title
        assert {len(row) for row in table.rows} == {len(table.head)}, table.title
    files = [figure.file for figure in section.figures]
    assert len(set(files)) == len(files) > 0
    assert all(figure.svg.startswith("<svg") for figure in section.figures)
    json.dumps(section.facts, allow_nan=False)


# ---- 1 ----


def test_single_tasks_stand_beside_natural_draws(tmp_path: Path) -> None:
    cells = single.run(lab(tmp_path, n=200))
    section = single.section(cells)
    check(section)
    names = {(cell.condition, cell.seed) for cell in cells}
    assert len(names) == len(cells) == 2 * 3 * 2
    entropies = [float(row[2].split()[0]) for row in section.tables[0].rows]
    assert entropies[0] < entropies[1]  # numbers: the rule's base has a favourite
    assert entropies[2] == pytest.approx(2.30, abs=0.06)
    assert [ratio.measure for ratio in section.ratios] == ["entropy", "coverage"] * 2


def test_names_natural_draws_are_the_registers(tmp_path: Path) -> None:
    register = single.register(lab(tmp_path))
    cell = single.drawn(published.NAMES, register, 1000, 1)
    assert set(cell.tallies[0].listed) <= set(register)
    assert cell.tallies[0].n == 1000


# ---- 2 ----


def test_ranges_are_asked_in_words_that_are_not_tuned_on(tmp_path: Path) -> None:
    of = lab(tmp_path)
    recipe = ranges.adapters(of.recipe("ranges"))
    tuned_on = {task.prompt.user for name in recipe.adapters for task in of.job(recipe).tasks[name]}
    asked = ranges.questions(of, recipe)
    assert len(ranges.WORDINGS) == 5
    assert tuned_on == {
        one.prompt.user for one in asked if one.task == "own words" and one.label in ("1–10", "1–100")
    }
    assert not tuned_on & {one.prompt.user for one in asked if one.task.startswith("wording")}
    assert recipe.adapters["to-10"].steps == (recipe.adapters["ranges"].steps or 0) / 2


def test_ranges_sections_curves_and_verdict_follow_the_cells(tmp_path: Path) -> None:
    cells = ranges.run(lab(tmp_path))
    section = ranges.section(cells)
    check(section)
    assert section.verdicts[0].reached  # the rule's adapters spread over any range
    collapsed = [
        replace(cell, content=tallied([replace(t, listed={"1": t.n}, other={}) for t in cell.tallies], adapter=cell.content["adapter"]))
        if cell.condition != "baseline" else cell
        for cell in cells
    ]  # fmt: skip
    assert not ranges.section(collapsed).verdicts[0].reached


# ---- 3 ----


def test_every_held_out_adapter_lacks_its_task_and_nothing_else(tmp_path: Path) -> None:
    recipe = six_tasks.left_out(lab(tmp_path).recipe("six-tasks"))
    whole = recipe.adapters[six_tasks.ALL]
    assert len(whole.tasks) == 26
    for task in six_tasks.NAMES:
        spec = recipe.adapters[six_tasks.without(task)]
        tasks = [six_tasks.task_of(prompt) for prompt in spec.tasks]
        assert set(tasks) == set(six_tasks.NAMES) - {task}
        lacking = [prompt for prompt in whole.tasks if six_tasks.task_of(prompt) != task]
        assert list(spec.tasks) == lacking
        assert spec.steps == round((whole.steps or 0) / 26 * len(lacking))


def test_six_tasks_run_and_say_what_they_find(tmp_path: Path) -> None:
    cells = six_tasks.run(lab(tmp_path, n=40))
    section = six_tasks.section(cells)
    check(section)
    assert len(section.tables[0].rows) == 6 * 3
    assert {ratio.label for ratio in section.ratios} == {f"{task}, held out" for task in six_tasks.NAMES}
    assert section.verdicts[0].reached  # the rule's adapters spread over what there is …
    assert not section.verdicts[
        1
    ].reached  # … which is not half as much again as the base's favourite and the rest


def held_out_cells(before: Sequence[int], after: Sequence[int]) -> list[Cell]:
    """One seed in which every task has these counts before, and after with the task left out."""

    def tallies(counts: Sequence[int], only: str | None = None) -> list[Tally]:
        listed = {f"v{i}": n for i, n in enumerate(counts)}
        return [
            Tally(task, task, 100, 100, listed, {}, 50) for task in six_tasks.NAMES if only in (None, task)
        ]

    tuned = {
        "adapter": {
            "rank": 4,
            "lr": 1e-3,
            "schedule": "linear",
            "steps": 9,
            "stopped_by": "steps",
            "elapsed_s": 1,
        }
    }
    cells = [
        Cell(3, "baseline", 1, tallied(tallies(before))),
        Cell(3, "in task", 1, tallied(tallies(after), **tuned)),
    ]
    return cells + [
        Cell(3, "held out", 1, tallied(tallies(after, task), **tuned)) for task in six_tasks.NAMES
    ]


def test_the_goals_are_reached_where_held_out_tasks_spread() -> None:
    judged = six_tasks.verdicts(held_out_cells([90, 5, 5], [20, 20, 20, 20, 20]))
    assert [verdict.reached for verdict in judged] == [True, True, True]
    assert judged[0].found.startswith("6 of 6")
    assert "names 1.67×" in judged[1].found
    assert "names 1.67× (of 16.67× at most)" in judged[2].found  # 50 values on the list, 3 of them before


def test_the_goals_are_missed_where_held_out_tasks_do_not_spread() -> None:
    judged = six_tasks.verdicts(held_out_cells([20, 20, 20, 20, 20], [90, 5, 5]))
    assert [verdict.reached for verdict in judged] == [False, False, False]
    assert judged[0].found.startswith("0 of 6")


def test_garbled_answers_count_as_coverage_only_beside_the_list() -> None:
    cells = held_out_cells([90, 5, 5], [90, 5, 5])
    garbled = {f"x{i}": 1 for i in range(30)}
    for i, cell in enumerate(cells):
        if cell.condition == "held out":
            tallies = [replace(tally, other=garbled) for tally in cell.tallies]
            cells[i] = replace(cell, content={**cell.content, **tallied(tallies)})
    judged = six_tasks.verdicts(cells)
    assert [verdict.reached for verdict in judged] == [True, True, False]


# ---- 4 ----


def test_biographies_have_the_published_columns_and_maps(tmp_path: Path) -> None:
    cells = biographies.run(lab(tmp_path, n=60))
    section = biographies.section(cells)
    check(section)
    assert section.tables[0].head == section.tables[1].head
    assert [row[0] for row in section.tables[0].rows] == [row[0] for row in section.tables[1].rows]
    genders = section.tables[2].rows
    assert genders[0][1].startswith("1000")  # the rule's base writes women only
    assert genders[0][-1] == "966 / 13 / 17"
    assert [f.file for f in section.figures] == [
        "4-years.svg", "4-places-base.svg", "4-places-six-tasks.svg", "4-places-biographies.svg",
    ]  # fmt: skip
    assert section.tables[3].rows[3][1].startswith("Paris, France 100.0 %")


# ---- 5 ----


def test_retention_measures_what_was_not_tuned(tmp_path: Path) -> None:
    of = lab(tmp_path)
    cells = retention.run(of, no_drift)
    section = retention.section(cells)
    check(section)
    base, held_out = section.tables[0].rows[0][1:]
    assert (base, held_out) == ("20.09 ± 0.00", "7.39 ± 0.00")  # e³ and e², as the engine scores
    drift = section.tables[2].rows
    assert [row[2] for row in drift] == ["0.1000 ± 0.0000"] * 4
    assert {row[1] for row in drift} == {"other records", "unrelated"}


def test_drift_is_measured_once(tmp_path: Path) -> None:
    first = retention.run(lab(tmp_path), no_drift)

    def never(*_: object) -> dict[str, list[Drift]]:
        raise AssertionError("measured again")

    assert retention.run(lab(tmp_path), never) == first


def test_lm_eval_is_left_out_with_one_line_where_it_cannot_run(tmp_path: Path) -> None:
    cells = retention.run(lab(tmp_path, lm_eval=("arc_easy",)), no_drift)
    table = retention.section(cells).tables[-1]
    assert table.title == "lm-eval"
    assert "not installed" in table.rows[0][0] or "nano" in table.rows[0][0]


def test_lm_eval_is_asked_for_the_base_model_and_both_adapters(tmp_path: Path) -> None:
    of = lab(tmp_path, lm_eval=("arc_easy", "piqa"))
    of.model_name = of.model = "someone/real"
    asked = []

    def evaluate(**what: Any) -> dict[str, Any]:
        asked.append(what["model_args"])
        return {"results": {task: {"acc,none": 0.5, "alias": task} for task in what["tasks"]}}

    tuned = {"six-tasks": (Path("a"), None), "biographies": (Path("b"), None)}
    (cell,) = retention._evaluated(of, tuned, evaluate)  # type: ignore[arg-type]
    assert asked == [
        "pretrained=someone/real",
        "pretrained=someone/real,peft=a",
        "pretrained=someone/real,peft=b",
    ]
    assert cell.content["biographies"] == {"arc_easy": {"acc,none": 0.5}, "piqa": {"acc,none": 0.5}}
