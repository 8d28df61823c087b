"""The pipeline end to end with the fake engine: exact counts, resume, stop, gates."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthgen import Recipe
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Request
from synthgen.errors import EngineError, GateError, Incomplete, RecipeError
from synthgen.run import iterate, open_run, preview, run_recipe
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(model: Path) -> Recipe:
    return make(model)


def make(model: Path, **changes: object) -> Recipe:
    content: dict[str, object] = {
        "schema": "schemas/die.py:Die",
        "model": str(model),
        "seed": 3,
        "generate": {"mix": {"base": 1.0}, "max_attempts": 10},
        "export": {"rows_per_shard": 300},
    }
    return Recipe.from_mapping(content | changes, base=ROOT)


def roll(_: Request, rng: np.random.Generator) -> str:
    """A fair die that falls off the table one time in ten."""
    return f"{{{rng.integers(1, 11)}}}" if rng.random() < 0.9 else "{eleven}"


def test_exactly_n_records_and_every_attempt_accounted_for(recipe: Recipe, tmp_path: Path) -> None:
    run = run_recipe(recipe, 1000, tmp_path, engine=FakeEngine(roll, capacity=64))
    frame, rejected = run.to_polars(), run.rejections()
    assert frame["_id"].to_list() == list(range(1000))
    assert run.summary["n_accepted"] == 1000
    assert run.summary["n_attempted"] == 1000 + rejected.height
    assert set(rejected["reason"]) == {"invalid:value"} and set(rejected["text"]) == {"{eleven}"}
    assert 50 < rejected.height < 200
    assert (tmp_path / "_SUCCESS").exists()
    assert {p.name for p in tmp_path.iterdir()} >= {"report.json", "report.html", "README.md", "base.parquet"}
    for key in ("out", "engine", "elapsed_s", "records_per_s", "parse_rate", "gates"):
        assert key in run.summary


def test_the_same_command_again_does_nothing(recipe: Recipe, tmp_path: Path) -> None:
    first = run_recipe(recipe, 200, tmp_path, engine=FakeEngine(roll))
    again = run_recipe(recipe, 200, tmp_path, engine=FakeEngine(roll, die_after=0))
    assert again.summary["already_complete"] is True
    assert again.to_polars().equals(first.to_polars())
    assert open_run(tmp_path).report.n_records == 200


def test_a_run_is_reproducible_whatever_the_batches(recipe: Recipe, tmp_path: Path) -> None:
    one = run_recipe(recipe, 400, tmp_path / "a", engine=FakeEngine(roll, capacity=7))
    two = run_recipe(recipe, 400, tmp_path / "b", engine=FakeEngine(roll, capacity=256))
    assert one.to_polars().equals(two.to_polars())


def test_an_engine_death_loses_nothing(recipe: Recipe, tmp_path: Path) -> None:
    whole = run_recipe(recipe, 1000, tmp_path / "whole", engine=FakeEngine(roll)).to_polars()
    broken = tmp_path / "broken"
    n_deaths = 0
    for die_after in (700, 900, 1500, None):
        engine = FakeEngine(roll, capacity=32, die_after=die_after)
        try:
            run = run_recipe(recipe, 1000, broken, engine=engine, n_before=500)
        except EngineError:
            n_deaths += 1
            assert not (broken / "_SUCCESS").exists()
    assert n_deaths >= 1
    assert run.to_polars().equals(whole)
    assert run.summary["n_attempted"] == 1000 + run.rejections().height


def test_a_shortfall_is_counted_and_resumable_with_more_patience(model: Path, tmp_path: Path) -> None:
    hasty = make(model, generate={"mix": {"base": 1.0}, "max_attempts": 1})
    with pytest.raises(Incomplete, match=r"failed all 1 attempts.*invalid:value") as caught:
        run_recipe(hasty, 500, tmp_path, engine=FakeEngine(roll))
    assert caught.value.summary is not None and caught.value.summary["n_attempted"] == 500
    assert not (tmp_path / "_SUCCESS").exists()
    run = run_recipe(make(model), 500, tmp_path, engine=FakeEngine(roll))
    assert run.to_polars().height == 500


def test_sigterm_stops_in_order_and_the_next_run_finishes(recipe: Recipe, tmp_path: Path) -> None:
    n_asked = 0

    def roll_then_stop(request: Request, rng: np.random.Generator) -> str:
        nonlocal n_asked
        n_asked += 1
        if n_asked == 500:
            os.kill(os.getpid(), signal.SIGTERM)
        return roll(request, rng)

    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Incomplete, match="run the same command again"):
        run_recipe(recipe, 1000, tmp_path, engine=FakeEngine(roll_then_stop, capacity=50), n_before=100)
    assert signal.getsignal(signal.SIGTERM) is handler
    run = run_recipe(recipe, 1000, tmp_path, engine=FakeEngine(roll, capacity=50))
    assert run.to_polars()["_id"].to_list() == list(range(1000))


def test_failing_engine_calls_are_refilled_and_reported(recipe: Recipe, tmp_path: Path) -> None:
    run = run_recipe(recipe, 1000, tmp_path, engine=FakeEngine(roll, fail_rate=0.03))
    assert run.to_polars().height == 1000
    errors = run.rejections().filter(pl.col("stage") == "engine")
    assert errors.height > 5 and set(errors["detail"]) == {"planted failure"}


def test_a_failed_gate_keeps_the_data_and_marks_it(model: Path, tmp_path: Path) -> None:
    strict = make(model, gates={"parse_rate": 0.99, "value": {"coverage": 10}})
    with pytest.raises(GateError, match=r"gate parse_rate: 0\.\d+, asked at least 0\.99") as caught:
        run_recipe(strict, 500, tmp_path, engine=FakeEngine(roll))
    assert caught.value.summary is not None
    assert [g["passed"] for g in caught.value.summary["gates"]] == [False, True]  # type: ignore[attr-defined]
    assert not (tmp_path / "_SUCCESS").exists()
    assert pl.read_parquet(tmp_path / "part-*.parquet").height == 500


def test_a_changed_recipe_is_refused_by_name(model: Path, recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, 50, tmp_path, engine=FakeEngine(roll))
    with pytest.raises(RecipeError, match=r"seed 3 → 4.*--overwrite"):
        run_recipe(make(model, seed=4), 50, tmp_path, engine=FakeEngine(roll))
    with pytest.raises(RecipeError, match="n 50 → 60"):
        run_recipe(recipe, 60, tmp_path, engine=FakeEngine(roll))
    assert (
        run_recipe(make(model, seed=4), 50, tmp_path, engine=FakeEngine(roll), overwrite=True).out == tmp_path
    )


class Forgetful(FakeEngine):
    """Never answers record 5."""

    def poll(self) -> list[Completion]:
        return [c for c in super().poll() if c.id != 5]


def test_an_engine_that_forgets_a_request_is_found_out(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="never answered"):
        run_recipe(recipe, 50, tmp_path, engine=Forgetful(roll))


def test_batches_of_records_without_a_file(recipe: Recipe, tmp_path: Path) -> None:
    batches: Iterator[list[object]] = iterate(recipe, 250, 100, engine=FakeEngine(roll))  # type: ignore[assignment]
    assert [len(batch) for batch in batches] == [100, 100, 50]


def test_preview_shows_first_attempts_accepted_or_not(recipe: Recipe) -> None:
    outcomes = preview(recipe, 100, engine=FakeEngine(roll))
    assert [outcome.id for outcome in outcomes] == list(range(100))
    assert {type(outcome).__name__ for outcome in outcomes} == {"Record", "Rejection"}


def test_the_manifest_counts_what_the_files_hold(recipe: Recipe, tmp_path: Path) -> None:
    run_recipe(recipe, 700, tmp_path, engine=FakeEngine(roll))
    manifest = json.loads((tmp_path / "_manifest.json").read_text())
    assert [entry["rows"] for entry in manifest["shards"].values()] == [300, 300, 100]
    assert manifest["run"]["n_accepted"] == 700
    assert manifest["identity"]["n"] == 700
