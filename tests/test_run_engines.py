"""The pipeline over engines that die, hang and fail: exact counts, a bound, one line, a folder that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from synthgen import Recipe
from synthgen.engines.fake import FakeEngine
from synthgen.errors import EngineDied, RecipeError
from synthgen.run import run_recipe
from tests.engines.planted import roll, supervised
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent
PATIENCE_S = 90.0  # on a loaded machine


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(model: Path) -> Recipe:
    content = {"schema": "schemas/die.py:Die", "model": str(model), "seed": 3}
    return Recipe.from_mapping(content, base=ROOT)


@pytest.fixture
def whole(recipe: Recipe, tmp_path: Path) -> pl.DataFrame:
    return run_recipe(recipe, 300, tmp_path / "whole", engine=FakeEngine(roll)).to_polars()


def test_an_engine_killed_twice_makes_the_same_dataset(
    recipe: Recipe, whole: pl.DataFrame, tmp_path: Path
) -> None:
    engine, capacities = supervised(("kill", 150), ("hang", 150), ("", 0), stall_s=3.0)
    with closing(engine):
        run = run_recipe(recipe, 300, tmp_path / "mortal", engine=engine, n_before=100)
    assert capacities == [64, 32, 32]
    assert run.to_polars().equals(whole)
    assert run.summary["n_attempted"] == 300 + run.rejections().height
    assert run.report.run.details["engine restarts"] == 2
    assert "engine restarts" in (run.out / "report.html").read_text()


def test_an_engine_that_always_dies_ends_in_one_line_and_a_folder_that_goes_on(
    recipe: Recipe, whole: pl.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "broken"
    engine, capacities = supervised(("exit", 250), ("exit", 0))
    with closing(engine), pytest.raises(EngineDied) as caught:
        run_recipe(recipe, 300, out, engine=engine, n_before=100)
    says = str(caught.value)
    assert "ended with status 7" in says and "RuntimeError: NCCL gave up" in says
    assert "so it went 4 times" in says and "run the same command again to go on" in says
    assert "\n" not in says and caught.value.exit_code == 1
    assert len(capacities) == 4
    assert not (out / "_SUCCESS").exists()
    asked: list[int] = []
    healthy = FakeEngine(lambda request, rng: asked.append(request.id) or roll(request, rng))  # type: ignore[func-returns-value]
    run = run_recipe(recipe, 300, out, engine=healthy)
    assert run.to_polars().equals(whole)
    assert len(asked) < 250  # the first life's answers are not asked again


def test_three_calls_in_a_hundred_failing_are_refilled_and_in_the_report(
    recipe: Recipe, tmp_path: Path
) -> None:
    run = run_recipe(recipe, 1000, tmp_path, engine=FakeEngine(roll, fail_rate=0.03))
    assert run.to_polars()["_id"].to_list() == list(range(1000))
    n_failed = run.rejections().filter(pl.col("reason") == "engine_error").height
    assert 10 < n_failed < 70
    assert json.loads((tmp_path / "report.json").read_text())["run"]["rejects"]["engine_error"] == n_failed


def test_the_limit_of_a_hang_is_the_recipes_and_no_part_of_what_a_dataset_is(
    recipe: Recipe, model: Path
) -> None:
    content = {"schema": "schemas/die.py:Die", "model": str(model), "seed": 3}
    patient = Recipe.from_mapping(content | {"generate": {"stall_s": 7200}}, base=ROOT)
    assert (recipe.generate.stall_s, patient.generate.stall_s) == (900, 7200)
    assert patient.fingerprint == recipe.fingerprint
    with pytest.raises(RecipeError, match=r"generate\.stall_s: .*0"):
        Recipe.from_mapping(content | {"generate": {"stall_s": 0}}, base=ROOT)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_while_a_model_generates_ends_at_once_with_its_process_and_goes_on(
    model: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "die.yaml", tmp_path / "out"
    content = {
        "schema": f"{ROOT / 'schemas/die.py'}:Die",
        "model": str(model),
        "generate": {"engine": "transformers", "max_tokens": 8, "max_attempts": 10**6},
    }
    file.write_text(json.dumps(content))  # JSON is YAML
    command = [sys.executable, "-m", "synthgen.cli", "recipe", str(file), "--n", "100", "--out", str(out)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # threads of a tiny model only wait for each other
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stderr is not None
        said = ""
        while "synthgen: generate" not in said:
            line = parent.stderr.readline()
            assert line, said
            said += line
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        time.sleep(0.5)  # let it be in the middle of the work; nothing depends on how far it comes
        os.killpg(parent.pid, signal.SIGINT)
        began = time.monotonic()
        rest = parent.communicate(timeout=PATIENCE_S)[1]
    assert parent.returncode == 4, said + rest
    assert time.monotonic() - began < 30  # the limit of a hang is 900
    assert "stopped; " in rest.splitlines()[-1]
    assert not Path(f"/proc/{child}").exists()
    run = run_recipe(Recipe.from_yaml(file), 100, out, engine=FakeEngine(roll))
    assert run.to_polars().height == 100
