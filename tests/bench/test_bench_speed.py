"""The page of speed figures, from small result files: what is met, what is not, what nobody measured."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
HERE = {"date": "2026-01-02 10:00 UTC", "machine": "one", "python": "3", "versions": {"polars": "1"}}
STEP = {"model": "nano", "prompts": "biographies", "dtype": "fp32", "memory less": 7.5}


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, imported as it is run: beside its neighbours."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("speed")


def keep(folder: Path, name: str, command: str, *rows: dict[str, Any], **facts: Any) -> None:
    """Append a run to a result file, as a bench does."""
    path = folder / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    run = {**HERE, "command": f"python bench/{command}", "headline": {}, "rows": rows, **facts}
    path.write_text(json.dumps([*before, run]), encoding="utf-8")


def spread(median: float, least: float, most: float) -> dict[str, float]:
    return {"median": median, "least": least, "most": most}


def cells(page: str, what: str) -> list[str]:
    """A goal's line: against, goal, measured, met, command."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {what} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_goal_is_met_by_its_median_and_says_so_where_a_turn_missed_it(
    speed: ModuleType, tmp_path: Path
) -> None:
    what = "tuning step, 210 biography tuples, fp32"
    for found, met in (
        (spread(6.5, 6.1, 7.0), "yes"),
        (spread(6.5, 5.9, 7.0), "yes, by the median"),
        (spread(5.9, 5.8, 6.2), "no"),
    ):
        keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "times less": found})
        _, goal, measured, verdict, command = cells(speed.page(tmp_path), what)
        assert (goal, verdict, command) == ("≥ 6× less time", met, "`python bench/tuning_step.py`")
        assert measured == "{median} ({least}–{most})× less time".format(
            **{k: f"{v:.4g}" for k, v in found.items()}
        )


def test_what_nobody_kept_is_not_measured(speed: ModuleType, tmp_path: Path) -> None:
    keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "dtype": "bf16", "times less": spread(9, 9, 9)})
    page = speed.page(tmp_path)
    assert page.count("| not measured | not measured |") == len(speed.GOALS)
    assert "Missing: no run of `python bench/seeds.py` is kept." in page


def test_every_size_has_to_reach_the_goal(speed: ModuleType, tmp_path: Path) -> None:
    what = "everything but the model, one core, by records"
    memory = {"rejects": 0.0, "MiB generated": 100.0, "MiB in all": 200.0}
    sizes = [
        {"records": 10**k, "records/s": spread(60_000, 60_000, 60_000), **memory, "MiB in all": 200.0 + k}
        for k in range(3, 7)
    ]
    keep(tmp_path, "pipeline", "pipeline.py", *sizes[:3])
    assert cells(speed.page(tmp_path), what)[3] == "not measured"
    keep(tmp_path, "pipeline", "pipeline.py", *sizes)
    page = speed.page(tmp_path)
    assert cells(page, what)[3] == "yes"
    assert "with the report: 1.015×" in page  # 206 over 203
    keep(tmp_path, "pipeline", "pipeline.py", {**sizes[0], "records/s": spread(49_000, 1, 1)}, *sizes[1:])
    assert cells(speed.page(tmp_path), what)[3] == "no"


def test_the_newest_run_of_a_kind_counts_and_other_kinds_do_not(speed: ModuleType, tmp_path: Path) -> None:
    keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "times less": spread(8, 8, 8)})
    keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "times less": spread(3, 3, 3)})
    keep(tmp_path, "tuning_step", "tuning_step.py --pace", {"pack": 64, "s/step": spread(1, 1, 2)})
    page = speed.page(tmp_path)
    assert cells(page, "tuning step, 210 biography tuples, fp32")[2:4] == ["3 (3–3)× less time", "no"]
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")}
    assert "| 64 | 1 (1–2) |" in sections["pace"] and "| 64 |" not in sections["step"]
    assert "Missing" in sections["scaling"]
    assert sections["tuning_step, over time"].count("bench/tuning_step.py") == 3


def test_a_start_is_measured_over_pythons_own(speed: ModuleType, tmp_path: Path) -> None:
    python = {"start": "python -c pass", "ms": spread(10, 9, 11)}
    keep(tmp_path, "start", "start.py", python, {"start": "synthgen --help", "ms": spread(155, 150, 170)})
    assert cells(speed.page(tmp_path), "`--help`")[2:4] == [
        "145 (140–160) ms over it",
        "yes, by the median",
    ]


def test_day_machine_and_versions_are_named_where_they_differ(speed: ModuleType, tmp_path: Path) -> None:
    keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "times less": spread(8, 8, 8)})
    first = {"first record by": "vllm", "s": spread(9, 9, 9)}, {"first record by": "transformers", "s": 20.0}
    other = {"date": "2026-01-01 10:00 UTC", "machine": "two", "versions": {"polars": "0"}}
    keep(tmp_path, "start", "start.py --first", *first, **other)
    page = speed.page(tmp_path)
    assert page.splitlines()[2] == "2026-01-02; one; Python 3; polars 1."
    assert cells(page, "first record of nano, by engine")[2:] == [
        "vllm: 9 (9–9); transformers: 20 s",
        "no",
        "`python bench/start.py --first`; 2026-01-01 10:00 UTC; two; polars 0",
    ]


def test_plain_loops_do_not_stand_in_for_trl(speed: ModuleType, tmp_path: Path) -> None:
    def rows(by: str, kl: float) -> list[dict[str, Any]]:
        tried = [{"way": [0.002, "linear"], "seconds": 3.0}]
        own = {"SFT by": by, "KL to reach": 0.5, "our KL": spread(kl, kl, kl)}
        return [
            {"task": task, **own, "times less": spread(9, 8, 10), "SFT reached it": n, "tried": tried}
            for task, n in (("die", 3), ("names", 0))
        ]

    keep(tmp_path, "tuning_sft", "tuning_sft.py", *rows("a plain loop", 0.4))
    assert cells(speed.page(tmp_path), "tuning to the same exact KL: die")[3] == "not measured"
    keep(tmp_path, "tuning_sft", "tuning_sft.py --trl x", *rows("TRL", 0.6))
    page = speed.page(tmp_path)
    assert cells(page, "tuning to the same exact KL: die")[2:4] == ["9 (8–10)× less time", "yes"]
    late = "at least, SFT had not got there: 9 (8–10)× less time"
    assert cells(page, "tuning to the same exact KL: names")[2:4] == [late, "yes"]
    assert cells(page, "KL that ours ended at, of the KL to reach")[2:4] == [
        "die: 1.2 (1.2–1.2); names: 1.2 (1.2–1.2)",
        "no",
    ]
    assert "| names | [0.002, 'linear'] | 3 |" in page


def test_a_bench_that_fails_is_named(speed: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise SystemExit(3)", encoding="utf-8")
    ended = speed.measure(speed.Bench("step", "broken.py", "", ""), tmp_path)
    assert ended["exit code"] == 3
    keep(tmp_path, "tuning_step", "tuning_step.py", {**STEP, "times less": spread(8, 8, 8)})
    assert "failed" not in speed.page(tmp_path)
    keep(tmp_path, "speed", "speed.py", ended, date="2026-01-02 11:00 UTC")
    page, said = speed.page(tmp_path), "**failed with exit code 3**, 2026-01-02 11:00 UTC"
    assert f"\nstep {said}.\n" in page
    assert cells(page, "tuning step, 210 biography tuples, fp32")[4].endswith(f"; {said}")
    keep(tmp_path, "speed", "speed.py", {**ended, "exit code": 0})
    assert "failed" not in speed.page(tmp_path)


def test_a_first_try_that_fails_has_a_page(speed: ModuleType, tmp_path: Path) -> None:
    assert "Nothing is kept" in speed.page(tmp_path)
    keep(tmp_path, "speed", "speed.py", {"bench": "seeds", "exit code": 1, "s": 1})
    assert "seeds **failed with exit code 1**" in speed.page(tmp_path)


def test_a_goal_that_is_not_met_says_why_and_what_next(speed: ModuleType, tmp_path: Path) -> None:
    keep(
        tmp_path,
        "tuning_step",
        "tuning_step.py",
        {**STEP, "prompts": "six tasks", "times less": spread(9, 9, 11)},
    )
    page = speed.page(tmp_path)
    assert "Not met, why, and what next:\n\n- tuning step, six-task prompts, fp32: Counted operations" in page
    keep(
        tmp_path,
        "tuning_step",
        "tuning_step.py",
        {**STEP, "prompts": "six tasks", "times less": spread(10, 9, 11)},
    )
    assert "Not met" not in speed.page(tmp_path)


def test_goals_and_benches_fit_each_other_and_what_they_say_holds_no_figure(speed: ModuleType) -> None:
    names = [bench.name for bench in speed.BENCHES]
    assert len(set(names)) == len(names)
    assert {goal.bench for goal in speed.GOALS} <= set(names)
    for bench in speed.BENCHES:
        assert (BENCH.parent / bench.command.split()[0]).is_file()
    for said in (
        *(bench.shows for bench in speed.BENCHES),
        *(goal.missed for goal in speed.GOALS if goal.missed),
    ):
        assert said.endswith(".") and not re.search(r"\d", said)
