"""Prompts as a recipe's adapters: found on its targets, reused, served by engines, mixed, refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import Recipe
from synthgen.adapters import AdapterManifest, card, load_manifest, verify
from synthgen.elicit.frame import soft_frame
from synthgen.elicit.soft_model import SoftModel, with_virtual
from synthgen.elicit.soft_prompt import read_soft_prompts
from synthgen.engines.canary import check_adapters
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request, Sampling
from synthgen.engines.transformers import TransformersEngine
from synthgen.errors import AdapterError, EngineError, RecipeError
from synthgen.generation import serving
from synthgen.job import Job, hard_prompts, prepare, ready_adapters
from synthgen.lora import load_model
from synthgen.packing import node_log_probs
from synthgen.progress import SilentProgress
from synthgen.run import run_recipe
from synthgen.summary import plan_summary
from synthgen.trie import TokenTrie
from synthgen.tuning_config import TuningConfig
from tests.elicit.models import model_folder

ROOT = Path(__file__).parent.parent.parent
DIE = {"targets": {"value": "uniform"}}
SOFT = {**DIE, "method": "soft-prompt", "n_virtual": 3, "position": "infix", "steps": 4, "lr": 0.3}
HARD = {**DIE, "method": "hard-prompt", "n_tokens": 3, "steps": 3, "restarts": 1}
LORA = {**DIE, "steps": 2, "anchor": "none"}

Ready = dict[str, tuple[Path, AdapterManifest]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the adapters of all tests here are kept."""
    return tmp_path_factory.mktemp("adapters")


def recipe(model: Path, tuned: Path, adapters: dict[str, dict[str, Any]], **generate: object) -> Recipe:
    content = {
        "schema": "schemas/die.py:Die",
        "model": str(model),
        "target": DIE,
        "adapters": adapters,
        "tuned_dir": str(tuned),
        "generate": {"max_tokens": 8, "mix": dict.fromkeys(adapters, 1.0), **generate},
    }
    return Recipe.from_mapping(content, base=ROOT)


@pytest.fixture(scope="module")
def job(model: Path, tuned: Path) -> Job:
    return prepare(recipe(model, tuned, {"soft": SOFT, "hard": HARD, "lora": LORA}))


@pytest.fixture(scope="module")
def ready(job: Job) -> Ready:
    return ready_adapters(job, SilentProgress())


class Notes(SilentProgress):
    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str, detail: str = "") -> None:
        self.told.append(f"{name}: {detail}")

    def note(self, text: str) -> None:
        self.told.append(text)


def test_prompts_are_found_once_and_reused(job: Job, ready: Ready) -> None:
    for name, kind in (("soft", "soft-prompt"), ("hard", "hard-prompt"), ("lora", "lora")):
        folder, manifest = ready[name]
        assert manifest.kind == kind
        assert manifest.prompts[0].prompt == job.prompt.fingerprint
        assert load_manifest(folder) == manifest
    assert ready["soft"][1].prompts[0].after["kl"] < ready["soft"][1].prompts[0].before["kl"]
    notes = Notes()
    again = ready_adapters(job, notes)
    assert {name: manifest for name, (_, manifest) in again.items()} == {n: m for n, (_, m) in ready.items()}
    assert sum("reused" in note for note in notes.told) == 3


def test_a_changed_setting_searches_again(job: Job, ready: Ready, model: Path, tuned: Path) -> None:
    from synthgen.job import _reusable

    changed = prepare(
        recipe(model, tuned, {"soft": SOFT | {"n_virtual": 4}, "hard": HARD | {"readable": True}})
    )
    for name, key in (("soft", "n_virtual: 3 → 4"), ("hard", "readable: False → True")):
        assert key in str(_reusable(changed, name, ready[name][0]))


def test_the_engine_serves_a_soft_prompt_with_the_tuners_log_probabilities(
    job: Job, ready: Ready, model: Path
) -> None:
    folder, _ = ready["soft"]
    sequences = [[*job.tokenizer.encode(f"{{{i}}}"), *job.prompt.stop_ids[:1]] for i in range(1, 11)]
    trie = TokenTrie.from_sequences(sequences, [1.0] * 10)
    base = load_model(str(model), TuningConfig())
    soft = SoftModel(base, read_soft_prompts({"soft": folder})["soft"].vectors)
    frame = soft_frame(job.prompt, job.tokenizer, "infix")
    expected = node_log_probs(soft, trie, with_virtual(job.prompt, frame, soft.virtual_ids).ids)
    engine = TransformersEngine(model, {"soft": folder, "lora": ready["lora"][0]})
    for ids, row in zip(sequences, engine.score(job.prompt.ids, sequences, "soft"), strict=True):
        path = trie.path(_leaf(trie, ids))
        assert np.allclose(row, expected[path], atol=1e-4)
    plain = engine.score(job.prompt.ids, sequences)
    assert not np.allclose(
        np.concatenate(plain), np.concatenate(engine.score(job.prompt.ids, sequences, "soft"))
    )


def _leaf(trie: TokenTrie, ids: Sequence[int]) -> int:
    paths = ((int(leaf), trie.path(int(leaf))) for leaf in np.flatnonzero(trie.is_leaf))
    return next(leaf for leaf, path in paths if trie.token[path].tolist() == list(ids))


def test_soft_prompts_lora_and_base_share_an_engine_that_passes_the_canary(
    job: Job, ready: Ready, model: Path
) -> None:
    served = {name: ready[name][0] for name in ("soft", "lora")}
    sampling = Sampling(max_tokens=12, stop_ids=job.prompt.stop_ids)
    engine = TransformersEngine(model, served, sampling)
    check_adapters(engine, job.prompt.ids, ("soft", "lora"), n_probes=4)
    requests = [Request(i, job.prompt.ids, (None, "soft", "lora")[i % 3], i) for i in range(12)]
    engine.submit(requests)
    done = []
    while found := engine.poll():
        done += found
    assert sorted(one.id for one in done) == list(range(12))
    with pytest.raises(EngineError, match=r"expected one of \['lora', 'soft'\]"):
        engine.submit([Request(0, job.prompt.ids, "hard", 0)])


def test_the_engine_is_given_no_hard_prompt(job: Job, ready: Ready) -> None:
    assert set(serving(job, ready, "transformers").adapters) == {"soft", "lora"}


class Remembering(FakeEngine):
    """Keeps every request."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(["{7}"], adapters=names)
        self.asked: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self.asked += requests
        super().submit(requests)


def test_a_mix_asks_each_adapter_in_its_own_way(job: Job, ready: Ready, tmp_path: Path) -> None:
    mix = {"soft": 1.0, "hard": 1.0, "lora": 1.0, "base": 1.0}
    spec = job.recipe.generate.model_copy(update={"mix": mix})
    mixed = job.recipe.model_copy(update={"generate": spec})
    engine = Remembering(("soft", "lora"))
    run = run_recipe(mixed, 40, tmp_path / "data", engine=engine, n_before=10)
    counts = dict(run.to_polars()["_adapter"].value_counts().iter_rows())
    assert set(counts) == set(mix)
    words = hard_prompts(job, ready)["hard"]
    asked = [request for request in engine.asked if request.prompt_ids == words]
    assert len(asked) == counts["hard"]
    assert {request.adapter for request in asked} == {None}
    others = {request.adapter for request in engine.asked if request.prompt_ids == job.prompt.ids}
    assert others == {None, "soft", "lora"}


def test_prompts_of_another_model_or_record_are_refused(job: Job, ready: Ready) -> None:
    for name in ("soft", "hard"):
        manifest = ready[name][1]
        with pytest.raises(AdapterError, match="made for base model"):
            verify(manifest, "another", job.prompt.fingerprint)
        with pytest.raises(AdapterError, match="tuned on Die"):
            verify(manifest, manifest.model_fingerprint, "another")
        verify(manifest, manifest.model_fingerprint, job.prompt.fingerprint)


@pytest.mark.parametrize(
    ("generate", "words"),
    [
        ({"ask": "varied"}, "ask: varied"),
        ({"balance": "in-prompt"}, "balance: in-prompt"),
        ({"balance": "exact"}, "balance: exact"),
    ],
)
def test_a_hard_prompt_is_not_asked_in_other_words(
    model: Path, tuned: Path, ready: Ready, generate: dict[str, object], words: str
) -> None:
    with pytest.raises(
        RecipeError, match=rf"adapters\.hard\.method: .*word for word, and `{words}` asks otherwise"
    ):
        recipe(model, tuned, {"hard": HARD | {"scope": "any"}}, **generate)
    used = {"hard": {"use": str(ready["hard"][0])}}  # what it is, only its folder says
    with pytest.raises(AdapterError, match=f"word for word as it was found, and {words}"):
        hard_prompts(prepare(recipe(model, tuned, used, **generate)), {"hard": ready["hard"]})


def test_a_ready_hard_prompt_is_used_by_its_folder(model: Path, tuned: Path, ready: Ready) -> None:
    folder = ready["hard"][0]
    used = prepare(recipe(model, tuned, {"words": {"use": str(folder)}}))
    found = ready_adapters(used, SilentProgress())
    assert hard_prompts(used, found)["words"] == hard_prompts(used, {"words": ready["hard"]})["words"]


def test_the_card_says_what_it_is(ready: Ready) -> None:
    assert "A soft prompt (3 tokens)" in card(ready["soft"][1])
    assert "A hard prompt (3 tokens)" in card(ready["hard"][1])
    assert "A LoRA adapter (rank 4, alpha 8)" in card(ready["lora"][1])


def test_the_plan_says_what_is_found(model: Path, tuned: Path) -> None:
    plan = plan_summary(recipe(model, tuned, {"soft": SOFT}), 10)
    assert plan.adapters[0].method == "soft-prompt"
    assert json.dumps(plan.to_json())


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (SOFT | {"rank": 8}, "rank: means nothing to `method: soft-prompt`"),
        (SOFT | {"n_tokens": 8}, "n_tokens: means nothing to `method: soft-prompt`"),
        (HARD | {"lr": 0.1}, "lr: means nothing to `method: hard-prompt`"),
        (HARD | {"stop": {"patience": 3}}, "stop.patience: means nothing to a search for words"),
        (HARD | {"template": "{prompt}"}, "template: found 0 times '{found}'"),
        (DIE | {"n_virtual": 3}, "n_virtual: means nothing to `method: lora`"),
        (SOFT | {"method": "soft"}, "method"),
        (SOFT | {"position": "suffix"}, "position"),
    ],
)
def test_what_means_nothing_is_refused(model: Path, tuned: Path, spec: dict[str, Any], line: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(model, tuned, {"x": spec})
    assert len(error.value.problems) == 1
    assert line in error.value.problems[0]


def test_an_endpoint_is_refused() -> None:
    content = {"schema": "schemas/die.py:Die", "model": "https://host/v1", "adapters": {"x": SOFT}}
    with pytest.raises(
        RecipeError, match="model: https://host/v1: an endpoint's weights are closed"
    ) as error:
        Recipe.from_mapping(content, base=ROOT)
    assert len(error.value.problems) == 1


def test_a_recipe_without_prompts_keeps_its_fingerprint(model: Path, tuned: Path) -> None:
    facts = recipe(model, tuned, {"lora": LORA}).facts
    assert not {"n_virtual", "position", "template", "readable", "restarts"} & set(facts["adapters"]["lora"])  # type: ignore[index]
