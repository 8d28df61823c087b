"""`--extend` end to end: more records, the old ones untouched, proof and gates over all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from synthgen import Recipe
from synthgen.cli import main
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request
from synthgen.errors import EngineError, GateError, RecipeError
from synthgen.files import sha256
from tests.tiny import tiny_tokenizer_folder
from tests.whole import findings

ROOT = Path(__file__).parent.parent
RECIPE = """
schema: {root}/schemas/die.py:Die
model: {model}
seed: 3
generate: {{mix: {{base: 1.0}}}}
export: {{rows_per_shard: 40}}
{more}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_tokenizer_folder(tmp_path_factory.mktemp("model"))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def recipe_file(model: Path, folder: Path, more: str = "") -> Path:
    path = folder / "die.yaml"
    path.write_text(RECIPE.format(root=ROOT, model=model, more=more))
    return path


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Recipe:
    return Recipe.from_yaml(recipe_file(model, tmp_path))


def roll(_: Request, rng: np.random.Generator) -> str:
    return f"{{{rng.integers(1, 11)}}}" if rng.random() < 0.9 else "{eleven}"


def files(out: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of change of all data files."""
    paths = [*out.glob("*.parquet"), *(out / "rejects").glob("*")]
    return {str(p.relative_to(out)): (sha256(p), p.stat().st_mtime_ns) for p in paths}


def test_an_extended_dataset_holds_the_old_files_and_equals_one_made_at_once(
    recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "grown"
    recipe.run(100, out, engine=FakeEngine(roll))
    first = files(out)
    run = recipe.run(230, out, engine=FakeEngine(roll), extend=True)
    assert findings(out, 230) == []
    assert {name: files(out)[name] for name in first} == first
    assert sorted(p.name for p in out.glob("part-*")) == [f"part-0000{k}.parquet" for k in range(7)]
    whole = recipe.run(230, tmp_path / "whole", engine=FakeEngine(roll))
    assert run.to_polars().equals(whole.to_polars())
    assert run.report.n_records == 230
    for key in ("n_accepted", "n_attempted", "n_rejected"):
        assert run.summary[key] == whole.summary[key]
    second = files(out)
    recipe.run(231, out, engine=FakeEngine(roll), extend=True)
    assert findings(out, 231) == [] and {name: files(out)[name] for name in second} == second


@pytest.mark.parametrize("extend", [True, False])
def test_an_interrupted_extension_is_finished_by_the_same_call(
    recipe: Recipe, tmp_path: Path, extend: bool
) -> None:
    out = tmp_path / "d"
    recipe.run(100, out, engine=FakeEngine(roll))
    first = files(out)
    with pytest.raises(EngineError):
        recipe.run(230, out, engine=FakeEngine(roll, capacity=9, die_after=80), extend=True)
    assert not (out / "_SUCCESS").exists()
    recipe.run(230, out, engine=FakeEngine(roll), extend=extend)
    assert findings(out, 230) == [] and {name: files(out)[name] for name in first} == first
    assert recipe.run(230, out, engine=FakeEngine(roll, die_after=0), extend=extend).summary[
        "already_complete"
    ]


def test_gates_are_judged_over_all_records_and_more_records_may_pass_one(model: Path, tmp_path: Path) -> None:
    path = recipe_file(model, tmp_path, "gates: {value: {coverage: 10}}")
    recipe, out = Recipe.from_yaml(path), tmp_path / "d"
    with pytest.raises(GateError, match="coverage"):
        recipe.run(5, out, engine=FakeEngine(roll))
    recipe.run(100, out, engine=FakeEngine(roll), extend=True)
    assert findings(out, 100) == []


def test_extend_on_the_command_line(model: Path, tmp_path: Path) -> None:
    path, out = recipe_file(model, tmp_path), tmp_path / "d"

    def call(*arguments: str) -> tuple[int, str, dict[str, object]]:
        command = [
            "recipe",
            str(path),
            "--out",
            str(out),
            "--engine",
            "fake",
            "--json",
            "--quiet",
            *arguments,
        ]
        result = CliRunner().invoke(main, command)
        return result.exit_code, result.stderr, json.loads(result.stdout.splitlines()[-1])

    assert call("--n", "50", "--extend") == (
        2,
        f"{out}: holds no dataset to extend; leave out --extend to begin one\n",
        {"exit_code": 2, "problems": [f"{out}: holds no dataset to extend; leave out --extend to begin one"]},
    )
    assert call("--n", "50")[0] == 0
    exit_code, line, _ = call("--n", "90")
    assert exit_code == 2 and line == (
        f"{out}: holds a dataset of another size (n 50 → 90); pass --extend to add 40, "
        "choose another --out, or pass --overwrite to replace it\n"
    )
    exit_code, line, _ = call("--n", "50", "--extend")
    assert exit_code == 2 and line == (
        f"{out}: holds 50 records already; --extend needs a larger --n, found 50; "
        "choose one, or leave out --extend\n"
    )
    exit_code, _, summary = call("--n", "90", "--extend")
    assert exit_code == 0 and summary["n_accepted"] == 90
    assert findings(out, 90) == []


def test_to_extend_and_to_overwrite_exclude_each_other(recipe: Recipe, tmp_path: Path) -> None:
    recipe.run(20, tmp_path / "d", engine=FakeEngine(roll))
    with pytest.raises(RecipeError, match="--extend and --overwrite exclude each other; choose one"):
        recipe.run(30, tmp_path / "d", engine=FakeEngine(roll), extend=True, overwrite=True)
    assert findings(tmp_path / "d", 20) == []
