"""A recipe made ready: whose prompts an adapter is tuned on, when it is reused, and what it may serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthgen import Recipe
from synthgen.adapters import load_manifest
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request
from synthgen.errors import AdapterError
from synthgen.job import _reusable, adapter_facts, prepare, ready_adapters
from synthgen.progress import SilentProgress
from synthgen.recipe_tasks import own_task
from synthgen.run import run_recipe
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parent.parent
WEEKDAY: dict[str, object] = {
    "schema": "schemas/questions.py:Weekday",
    "prompt": {"text": "A day? {day}"},
    "targets": {"day": "uniform"},
    "weight": 3,
}
FRUIT: dict[str, object] = {
    "schema": "schemas/questions.py:Fruit",
    "targets": {"fruit": {"Apple": 1, "Fig": 1}},
}


class Notes(SilentProgress):
    """Remembers the stages and notes of a run."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.told.append(f"{name}: {detail}")

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


def make(model: Path, folder: Path, spec: dict[str, object], **changes: object) -> Recipe:
    content: dict[str, object] = {
        "schema": "schemas/die.py:Die",
        "model": str(model),
        "adapters": {"diffuse": spec},
        "tuned_dir": str(folder),
        "generate": {"max_tokens": 6, "mix": {"diffuse": 1.0}},
    }
    return Recipe.from_mapping(content | changes, base=ROOT)


@pytest.fixture(scope="module")
def general(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe for dice whose only adapter is tuned on weekdays and fruit."""
    spec: dict[str, object] = {"prompts": [WEEKDAY, FRUIT], "scope": "any", "steps": 2}
    return make(model, tmp_path_factory.mktemp("adapters"), spec)


def roll(_: Request, rng: np.random.Generator) -> str:
    return f"{{{rng.integers(1, 11)}}}"


def test_a_recipe_with_a_general_adapter_alone_runs_to_the_end(general: Recipe, tmp_path: Path) -> None:
    """Nothing is declared for its own record, and the report says so by comparing with nothing."""
    run = run_recipe(general, 200, tmp_path, engine=FakeEngine(roll, adapters=("diffuse",)))
    assert run.to_polars().height == 200 and (tmp_path / "_SUCCESS").exists()
    assert set(run.to_polars()["_adapter"]) == {"diffuse"}
    assert run.report.field("value").target is None
    (adapter,) = run.report.run.adapters
    assert adapter.after is not None and set(adapter.after.fields) == {"Weekday", "Fruit"}
    assert "mean of 2 prompts" in (tmp_path / "report.html").read_text()


def test_the_manifest_holds_every_prompt_and_its_share(general: Recipe) -> None:
    notes = Notes()
    ((folder, manifest),) = ready_adapters(prepare(general), notes).values()
    assert manifest.scope == "any"
    assert [(p.label, p.share, p.fields) for p in manifest.prompts] == [
        ("Weekday", 0.75, ("day",)),
        ("Fruit", 0.25, ("fruit",)),
    ]
    assert manifest.prompts[0].text == "A day? {day}"
    assert manifest.prompts[1].text.startswith("Generate a random fruit.")
    for prompt in manifest.prompts:
        for figures in (prompt.before, prompt.after):
            assert figures["kl"] == pytest.approx(figures["leak"] + figures["shape"])
    facts = adapter_facts(folder, manifest)
    shown = facts["after"]
    assert isinstance(shown, dict)
    assert shown["kl"] == pytest.approx(sum(p.share * p.after["kl"] for p in manifest.prompts))
    assert shown["fields"] == {p.label: p.after["kl"] for p in manifest.prompts}
    assert facts["prompts"] == 2


def test_a_tuned_adapter_is_reused_until_one_of_its_prompts_changes(model: Path, general: Recipe) -> None:
    ready_adapters(prepare(general), SilentProgress())
    spec: dict[str, object] = {"prompts": [WEEKDAY, FRUIT], "scope": "any", "steps": 2}
    folder = general.adapters_dir / f"{general.name}-diffuse"

    def told(**change: object) -> str:
        changed = make(model, general.adapters_dir, spec | {"prompts": [WEEKDAY, FRUIT | change]})
        found = _reusable(prepare(changed), "diffuse", folder)
        return found if isinstance(found, str) else "reused"

    assert told() == "reused"
    assert "prompt 2, share: 0.25 → 0.4" in told(weight=2)
    assert "prompt 2, targets: " in told(targets={"fruit": {"Apple": 1, "Fig": 2}})
    assert "prompt 2, prompt: " in told(prompt={"text": "A fruit? {fruit}"})
    assert "prompt 2, n_targets: 210 → 9" in told(n_targets=9)


def test_what_an_adapter_may_serve_can_change_without_tuning_again(model: Path, tmp_path: Path) -> None:
    spec: dict[str, object] = {"prompts": [{"targets": {"value": "uniform"}}, FRUIT], "steps": 1}
    ((folder, first),) = ready_adapters(prepare(make(model, tmp_path, spec)), SilentProgress()).values()
    assert first.scope == "record"
    use: dict[str, object] = {"use": str(folder)}
    other = make(model, tmp_path, use, schema="schemas/questions.py:Weekday")
    with pytest.raises(
        AdapterError, match=r"tuned on Die \(\w+\), Fruit \(\w+\), this run's prompt is .*scope: any"
    ):
        ready_adapters(prepare(other), SilentProgress())
    ready_adapters(prepare(make(model, tmp_path, use, schema="schemas/questions.py:Fruit")), SilentProgress())

    notes = Notes()
    ((_, second),) = ready_adapters(prepare(make(model, tmp_path, spec | {"scope": "any"})), notes).values()
    assert second == load_manifest(folder) == first.model_copy(update={"scope": "any"})
    assert [line for line in notes.told if line.startswith("tune")] == []
    ready_adapters(prepare(other), SilentProgress())


def test_what_a_prompt_leaves_out_is_the_recipes_own(model: Path, tmp_path: Path) -> None:
    prompts = [
        FRUIT,
        {"schema": "schemas/die.py:Die", "prompt": {"instruction": "Roll."}, "targets": {"value": "uniform"}},
        {"schema": "schemas/die.py:Die", "targets": {"value": {"1": 1, "2": 3}}},
    ]
    own = {"text": "Throw the die. {number}"}
    job = prepare(make(model, tmp_path, {"prompts": prompts}, prompt=own))
    tasks = job.tasks["diffuse"]
    assert [task.prompt.user.partition("\n")[0] for task in tasks] == [
        "Generate a random fruit. Answer with one line per field, each value between curly braces.",
        "Roll.",
        "Throw the die. {number}",
    ]
    assert own_task(job.recipe, "diffuse") == 2
    assert job.sources == {"diffuse": tasks[2].source}
    assert job.recipe.reference().shares == {"value": {"1": 0.25, "2": 0.75}}
