"""What a run measured of itself, and what `check` makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from synthgen import Recipe
from synthgen.display import time_line
from synthgen.engines.protocol import Completion, EngineInfo, Request
from synthgen.plan import Plan
from synthgen.progress import SilentProgress
from synthgen.run import preview, run_recipe
from synthgen.runners.local import Work
from synthgen.speeds import FILE, Estimate, Stopwatch, estimate, is_known
from synthgen.summary import plan_summary, time_estimate
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent
STEPS = 50


class Clock:
    """Tells what it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Step:
    step: int
    n_steps: int = STEPS
    loss: float = 1.0
    optimum: float | None = None
    kl: float | None = None
    kl_by_field: dict[str, float] = field(default_factory=dict)
    kl_by_prompt: dict[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0


class Stages(SilentProgress):
    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.names.append(name)


def recipe_in(folder: Path, **changes: object) -> Recipe:
    content: dict[str, object] = {
        "schema": "schemas/die.py:Die",
        "model": "nano",
        "tuned_dir": str(folder / "tuned"),
        "adapters": {"fair": {"targets": {"value": "uniform"}, "steps": STEPS}},
        "generate": {"engine": "fake"},
    }
    return Recipe.from_mapping(content | changes, base=ROOT)


def a_run(clock: Clock, before: tuple[int, int] = (0, 0)) -> Stopwatch:
    """14 s of tuning, 2 s for each of 5 steps and 4 around them, 10 s to an engine, 400 requests in 40 s of which the last 300 count 60 rejects, 4 s."""
    watch = Stopwatch(SilentProgress(), clock)

    def after(seconds: float) -> None:
        clock.now += seconds

    watch.stage("tune", "fair: no adapter yet")
    after(3)
    for step in range(1, 6):
        after(2)
        watch.tuning_step(Step(step))
    after(1)
    watch.stage("engine", "fake")
    after(8)
    watch.stage("canary")
    after(2)
    watch.stage("before", "100 samples")
    for i in range(1, 101):
        watch.generating(i, 100, i, 0)
    after(10)
    watch.stage("generate", "240 records")
    for i in range(1, 301):
        watch.generating(0, 240, before[0] + i, before[1] + i // 5)
    after(30)
    watch.stage("report")
    after(4)
    return watch


def test_an_estimate_is_arithmetic_on_what_was_measured(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    assert estimate(recipe, "fake", 800, 1000) is None
    a_run(Clock()).keep(recipe)
    found = estimate(recipe, "fake", 800, 1000)
    assert found is not None
    assert found.tune_s == pytest.approx(2 * STEPS + 4)
    assert (found.start_s, found.report_s) == (10, 4)
    assert found.generate_s == pytest.approx(
        (800 / 0.8 + 800) / 10
    )  # n samples before, where n is less than 1,000
    assert found.total_s == pytest.approx(104 + 10 + 180 + 4)
    many = estimate(recipe, "fake", 80_000, 1000)
    assert many is not None and many.generate_s == pytest.approx((80_000 / 0.8 + 1000) / 10)


def test_what_an_earlier_process_made_is_no_speed_of_this_one(tmp_path: Path) -> None:
    a_run(Clock()).keep(recipe_in(tmp_path / "a"))
    a_run(Clock(), before=(5000, 700)).keep(recipe_in(tmp_path / "b"))
    found = [estimate(recipe_in(tmp_path / name), "fake", 800, 1000) for name in ("a", "b")]
    assert found[0] == found[1] is not None


def test_another_engine_prompt_or_machine_is_not_known(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    a_run(Clock()).keep(recipe)
    assert is_known(recipe, "fake") and not is_known(recipe, "vllm")
    assert not is_known(recipe_in(tmp_path, prompt={"instruction": "Roll it."}), "fake")
    path = tmp_path / "tuned" / FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another one"}))
    assert not is_known(recipe, "fake")


@pytest.mark.parametrize("content", ["{", "[]", '{"machine": 1}', "\x00"])
def test_a_damaged_note_is_no_note(tmp_path: Path, content: str) -> None:
    recipe = recipe_in(tmp_path)
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / FILE).write_text(content)
    assert estimate(recipe, "fake", 10, 10) is None
    a_run(Clock()).keep(recipe)
    assert is_known(recipe, "fake")


def test_an_adapter_that_is_there_is_not_tuned_again_and_an_unknown_one_is_said_to_be(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    a_run(Clock()).keep(recipe)
    other = recipe_in(tmp_path, adapters={"fair": {"targets": {"value": "uniform"}, "rank": 64}})
    assert (found := estimate(other, "fake", 10, 10)) is not None and found.tune_s is None
    assert "tuning not measured yet" in time_line(found)
    folder = tmp_path / "tuned" / "recipe-fair"
    folder.mkdir()
    (folder / "manifest.json").touch()
    assert (found := estimate(recipe, "fake", 10, 10)) is not None and found.tune_s == 0


def test_a_run_without_an_engine_of_its_own_keeps_nothing(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path)
    Stopwatch(SilentProgress()).keep(recipe)
    assert not (tmp_path / "tuned").exists()


def test_the_line_says_the_whole_and_its_parts() -> None:
    line = time_line(Estimate("2026-11-21", 40.0, 13.0, 74.0, 3.0))
    assert (
        line
        == "about 2 min 10 s: tuning 40 s, engine 13 s, records 1 min 14 s, report 3 s (measured here on 2026-11-21)"
    )
    assert time_line(None).startswith("time: not known")


def test_a_part_that_nobody_measured_is_not_said_to_take_no_time() -> None:
    line = time_line(Estimate("2026-11-21", None, 13.0, 74.0, None))
    assert line.startswith("about 1 min 27 s: tuning not measured yet, engine 13 s")
    assert "report not measured yet" in line
    assert "tuning" not in time_line(Estimate("2026-11-21", 0.0, 13.0, 74.0, 3.0))


def test_a_preview_measures_once_and_check_knows_then(tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path / "model")
    (tmp_path / "tuned").mkdir()
    recipe = recipe_in(tmp_path, model=str(model), adapters={})
    assert plan_summary(recipe, 100).estimate is None
    stages = Stages()
    assert len(preview(recipe, 3, progress=stages)) == 3
    assert stages.names[-1] == "measure"
    found = plan_summary(recipe, 100).estimate
    assert found == time_estimate(recipe, 100)
    assert found is not None and found.report_s is None
    again = Stages()
    preview(recipe, 3, progress=again)
    assert "measure" not in again.names


class Slow(SilentProgress):
    """Holds 10 requests, answers two at a time, every fourth of them with nothing; and listens."""

    capacity = 10
    info = EngineInfo("slow", "1", "cpu", "record")

    def __init__(self) -> None:
        self.queue: list[Request] = []
        self.seen: tuple[int, ...] = ()

    def submit(self, requests: Sequence[Request]) -> None:
        self.queue += requests

    def poll(self) -> list[Completion]:
        done, self.queue = self.queue[:2], self.queue[2:]
        return [Completion(r.id, "{3}" if r.id % 4 else "", "stop", 3) for r in done]

    def score(self, *_: object) -> list[list[float]]:
        return []

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        self.seen = (done, total, attempted, rejected)


@pytest.mark.parametrize(("polls", "made", "rejected"), [(4, 8 + 10 // 2, 2 * 13 // 8), (99, 20, 5)])
def test_what_is_in_flight_when_the_measuring_ends_counts_half(
    monkeypatch: pytest.MonkeyPatch, polls: int, made: int, rejected: int
) -> None:
    from synthgen import run

    now = iter(range(1000))  # a second passes with every look at the clock
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(run, "MEASURE_S", polls)
    engine, recipe = Slow(), Recipe.from_yaml(ROOT / "recipes" / "die.yaml")
    work = Work(Plan(1, 7, (("base", 1.0),), 1), recipe.record_schema(), (1, 2), max_attempts=1)
    run._measure(work, engine, engine)
    assert engine.seen == (made, 20, made, rejected)


def test_a_whole_run_is_measured_with_its_report(tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path / "model")
    (tmp_path / "tuned").mkdir()
    recipe = recipe_in(tmp_path, model=str(model), adapters={})
    run_recipe(recipe, 100, tmp_path / "out")
    found = time_estimate(recipe, 100)
    assert found is not None and found.report_s and found.generate_s > 0
