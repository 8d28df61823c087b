"""What a run measured of itself, and what `check` makes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from synthgen import Recipe
from synthgen.display import time_line
from synthgen.progress import SilentProgress
from synthgen.run import preview, run_recipe
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
    """10 s of tuning in 5 steps, 10 s to an engine, 400 requests in 40 s of which the last 300 count 60 rejects, 4 s."""
    watch = Stopwatch(SilentProgress(), clock)

    def after(seconds: float) -> None:
        clock.now += seconds

    watch.stage("tune", "fair: no adapter yet")
    for step in range(1, 6):
        watch.tuning_step(Step(step))
    after(10)
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
    assert found.tune_s == pytest.approx(10 / 5 * STEPS)
    assert (found.start_s, found.report_s) == (10, 4)
    assert found.generate_s == pytest.approx(
        (800 / 0.8 + 800) / 10
    )  # n samples before, where n is less than 1,000
    assert found.total_s == pytest.approx(100 + 10 + 180 + 4)
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


def test_a_whole_run_is_measured_with_its_report(tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path / "model")
    (tmp_path / "tuned").mkdir()
    recipe = recipe_in(tmp_path, model=str(model), adapters={})
    run_recipe(recipe, 100, tmp_path / "out")
    found = time_estimate(recipe, 100)
    assert found is not None and found.report_s and found.generate_s > 0
