"""Tuning that starts from another adapter's weights, and the exact drift of adapters: on tiny random models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synthgen.bench.drift import Context, drift
from synthgen.errors import AdapterError, RecipeError
from synthgen.lora import add_lora, load_model
from synthgen.recipe import Recipe
from synthgen.tuning_config import TuningConfig
from tests.tiny import tiny_model_folder

CONFIG = TuningConfig(rank=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that change every probability."""
    tuned = add_lora(load_model(str(model), CONFIG), CONFIG)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_" in name:
                weight.normal_(0.0, 0.3)
    folder = tmp_path_factory.mktemp("adapters") / "first"
    tuned.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def lora_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in model.named_parameters() if "lora_" in name}


def test_tuning_starts_from_the_other_adapters_weights(model: Path, adapter: Path) -> None:
    from safetensors.torch import load_file

    started = add_lora(load_model(str(model), CONFIG), replace(CONFIG, start=str(adapter)))
    found = {name.replace(".default", ""): weight for name, weight in lora_weights(started).items()}
    assert found.keys() == load_file(adapter / "adapter_model.safetensors").keys()
    for name, weight in load_file(adapter / "adapter_model.safetensors").items():
        assert torch.equal(found[name], weight)
    assert all(weight.requires_grad for name, weight in started.named_parameters() if "lora_" in name)


def test_a_start_of_another_rank_is_refused(model: Path, adapter: Path) -> None:
    with pytest.raises(AdapterError, match="rank 2 and alpha 4"):
        add_lora(load_model(str(model), CONFIG), TuningConfig(rank=4, start=str(adapter)))


def test_a_start_without_weights_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        add_lora(load_model(str(model), CONFIG), replace(CONFIG, start=str(tmp_path)))


def test_settings_know_a_start_by_its_weights_and_are_silent_without_one(adapter: Path) -> None:
    assert "start" not in CONFIG.settings()
    found = replace(CONFIG, start=str(adapter)).settings()["start"]
    assert len(found) == 64
    assert str(adapter) not in found


def recipe(**second: object) -> dict[str, object]:
    first = {"targets": {"value": "uniform"}, "rank": 8}
    adapters = {"first": first, "second": {**first, **second}}
    return {"schema": "schemas/die.py:Die", "adapters": adapters, "generate": {"mix": {"second": 1.0}}}


def test_an_adapter_may_start_from_one_above_it() -> None:
    assert Recipe.from_mapping(recipe(after="first")).adapters["second"].after == "first"


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"after": "frist"}, "did you mean 'first'?"),
        ({"after": "second"}, "no adapter above this one"),
        ({"after": "first", "rank": 4}, "another rank or alpha"),
    ],
)
def test_an_adapter_that_cannot_start_there_is_a_fault_of_the_recipe(
    second: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_mapping(recipe(**second))
    assert said in str(caught.value)


def test_recipes_without_a_start_keep_their_fingerprint() -> None:
    facts = Recipe.from_mapping(recipe()).facts["adapters"]
    assert isinstance(facts, dict)
    assert not {"after", "warmup_steps"} & set(facts["second"])
    assert Recipe.from_mapping(recipe(after="first")).fingerprint != Recipe.from_mapping(recipe()).fingerprint


# ---- drift ----

CONTEXTS = [Context((2, 7, 9), (5, 6, 8, 4)), Context((3, 7), ()), Context((2, 9, 9, 11, 12), (20,))]


@torch.no_grad()
def plain(model: Path, adapter: Path | None, context: Context) -> torch.Tensor:
    """Log-probabilities at the answer's tokens, unbatched and unpadded."""
    loaded = load_model(str(model), CONFIG)
    if adapter is not None:
        loaded = add_lora(loaded, replace(CONFIG, start=str(adapter)))
    ids = torch.tensor([[*context.prompt_ids, *context.answer_ids]])
    start = len(context.prompt_ids) - 1
    logits: torch.Tensor = loaded(input_ids=ids).logits[0, start:-1]
    return logits.log_softmax(-1)


def test_drift_is_the_sum_of_kl_over_tokens_and_vocabulary(model: Path, adapter: Path) -> None:
    found = drift(str(model), {"first": adapter}, CONTEXTS)["first"]
    assert [one.n_tokens for one in found] == [4, 0, 1]
    for i in (0, 2):
        base, tuned = plain(model, None, CONTEXTS[i]), plain(model, adapter, CONTEXTS[i])
        kl = float((base.exp() * (base - tuned)).sum())
        chosen = torch.tensor(CONTEXTS[i].answer_ids)[:, None]
        assert found[i].kl == pytest.approx(kl, rel=1e-4)
        assert found[i].nll_base == pytest.approx(-float(base.gather(1, chosen).sum()), rel=1e-4)
        assert found[i].nll == pytest.approx(-float(tuned.gather(1, chosen).sum()), rel=1e-4)
        assert found[i].kl > 0.01


def test_an_adapter_that_changes_nothing_does_not_drift(model: Path, tmp_path: Path) -> None:
    add_lora(load_model(str(model), CONFIG), CONFIG).save_pretrained(
        str(tmp_path), save_embedding_layers=False
    )
    found = drift(str(model), {"fresh": tmp_path}, CONTEXTS)["fresh"]
    assert all(one.kl == pytest.approx(0.0, abs=1e-6) for one in found)


def test_nothing_to_compare_is_no_fault(model: Path, adapter: Path) -> None:
    assert drift(str(model), {}, CONTEXTS) == {}
    assert [one.n_tokens for one in drift(str(model), {"first": adapter}, [CONTEXTS[1]])["first"]] == [0]
