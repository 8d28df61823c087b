"""`synthgen elicit`: files and recipes in, a folder and figures out, wrong calls answered in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from synthgen.adapters import load_manifest
from synthgen.cli import main
from synthgen.elicit.serving import scored_kl
from synthgen.engines.fake import FakeEngine
from synthgen.engines.transformers import TransformersEngine
from synthgen.errors import EngineError
from tests.elicit.models import brute_force_kl, goal, load, model_folder

ROOT = Path(__file__).parent.parent.parent
RECIPE = """\
schema: {root}/schemas/die.py:Die
model: {model}
adapters:
  die:
    targets: {{value: uniform}}
    rank: 2
    steps: 3
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.yaml"
    lines = zip(("yes", "no", "none", "7", "10"), (0.4, 0.3, 0.1, 0.1, 0.1), strict=True)
    path.write_text("\n".join(f"{answer}: {weight}" for answer, weight in lines), encoding="utf-8")
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["elicit", *map(str, arguments), "--quiet"])


def last(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def test_a_soft_prompt_for_a_file_is_measured_as_it_is_served(
    model: Path, target: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    what = (model, "--target", target, "--prompt", "Answer.", "--n", "3", "--steps", "6", "--restarts", "2")
    result = call(*what, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found = last(result)
    assert found["kl"] < found["kl_start"]
    assert found["kl"] == pytest.approx(found["leak"] + found["shape"])
    assert len(found["restarts"]) == 2
    manifest = load_manifest(out)
    assert (manifest.kind, manifest.scope, manifest.prompts[0].fields) == (
        "soft-prompt",
        "record",
        ("answer",),
    )
    engine = TransformersEngine(model, {"found": out})
    some = goal(model)
    assert scored_kl(engine, some, some.prompt.ids, "found") == pytest.approx(found["kl"], abs=1e-4)
    again = last(call(*what, "--out", out, "--json"))
    assert again["reused"]
    assert again["kl"] == found["kl"]
    assert not last(call(*what, "--seed", "1", "--out", out, "--json"))["reused"]


def test_a_hard_prompt_for_a_file_is_words(model: Path, target: Path, tmp_path: Path) -> None:
    out = tmp_path / "words"
    what = ("--kind", "hard", "--n", "3", "--steps", "3", "--restarts", "1", "--readable")
    result = call(model, "--target", target, "--prompt", "Answer.", *what, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found, some = last(result), goal(model)
    text = (out / "prompt.txt").read_text(encoding="utf-8")
    assert text == f"Answer.\n{found['words']}"
    inner = load(model)
    ids = some.tokenizer.encode(some.tokenizer.chat(text))
    import torch

    inputs = inner.get_input_embeddings()(torch.tensor(ids))
    assert found["kl"] == pytest.approx(brute_force_kl(inner, inputs, some), abs=1e-4)
    assert "KL with it" in call(model, "--target", target, "--prompt", "Answer.", *what, "--out", out).stdout


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_recipes_own_target_is_searched_beside_its_adapter(model: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "die.yaml"
    path.write_text(RECIPE.format(root=ROOT, model=model), encoding="utf-8")
    result = call("--recipe", path, "--kind", kind, "--n", "3", "--steps", "3", "--restarts", "1", "--json")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "adapters" / f"die-die-{kind}-prompt"
    assert last(result)["folder"] == str(folder)
    assert load_manifest(folder).prompts[0].label == "Die"
    assert not (tmp_path / "adapters" / "die-die").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nano",), "elicit: no target; give --target FILE"),
        (
            ("https://host/v1", "--target", "TARGET"),
            "is an endpoint with closed weights, so a soft-prompt cannot be",
        ),
        (
            ("nano", "--target", "TARGET", "--template", "{found}"),
            "--template means nothing to a soft-prompt",
        ),
        (
            ("nano", "--target", "TARGET", "--kind", "hard", "--lr", "0.1"),
            "--lr means nothing to a hard-prompt",
        ),
        (("nano", "--target", "TARGET", "--kind", "hard", "--template", "x"), "template: found 0 times"),
        (("nano", "--target", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
def test_a_wrong_call_gets_one_line(target: Path, arguments: tuple[str, ...], line: str) -> None:
    result = call(*(str(target) if word == "TARGET" else word for word in arguments))
    assert result.exit_code == 2
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_target_that_does_not_sum_to_one_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "half.yaml"
    path.write_text("a: 0.5\n", encoding="utf-8")
    result = call("nano", "--target", path)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "add up to 0.5; expected 1" in result.stderr


def test_an_engine_without_log_probabilities_is_refused(model: Path, target: Path, tmp_path: Path) -> None:
    out = ("--n", "2", "--steps", "1", "--restarts", "1", "--out", tmp_path / "x")
    result = call(model, "--target", target, *out, "--engine", "fake")
    assert result.exit_code == 1
    assert "engine 'fake' gives no log-probabilities of a model" in result.stderr

    class Mute(FakeEngine):
        def score(self, *_: object, **__: object) -> list[list[float]]:
            raise NotImplementedError

    some = goal(model)
    with pytest.raises(EngineError, match="'fake' gives no log-probabilities"):
        scored_kl(Mute(["x"]), some, some.prompt.ids, None)


def test_a_perfect_engine_has_no_distance(model: Path) -> None:
    some = goal(model)
    leaves = np.flatnonzero(some.trie.is_leaf)
    paths = {
        tuple(some.trie.token[some.trie.path(int(i))].tolist()): float(some.trie.mass[i]) for i in leaves
    }

    def score(_adapter: str | None, _prompt: object, answer: Any) -> list[float]:
        return [float(np.log(paths[tuple(answer)])), *[0.0] * (len(answer) - 1)]

    assert scored_kl(FakeEngine(["x"], score=score), some, some.prompt.ids, None) == pytest.approx(
        0, abs=1e-12
    )
