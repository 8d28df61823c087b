"""The hard-target baseline: the loss of plain SFT on sampled answers, with the tuner's adapter and schedule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from synthgen import sft
from synthgen.adapters import load_manifest
from synthgen.lora import add_lora
from synthgen.prompt import build_prompt
from synthgen.recipe import Recipe
from synthgen.schema import RecordSchema, load_model
from synthgen.targets import load_targets
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning import _Run, tune
from synthgen.tuning_config import TuningConfig, TuningTask
from synthgen.tuning_tasks import PreparedTask
from tests.tiny import tiny_model_folder

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
CPU = torch.device("cpu")
PROMPT = (1, 40, 41, 42)
ANSWERS = [[10, 11, 12, 4], [13, 4], [10, 4], [20, 21, 22, 23, 24, 25, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tiny"))


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def plain_nll(model: Any, answer: list[int]) -> torch.Tensor:
    """−log pθ of one answer behind the prompt, alone in its batch."""
    logits = model(input_ids=torch.tensor([[*PROMPT, *answer]])).logits[0, len(PROMPT) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum")


def task(folder: Path, weights: dict[int, float] | None = None) -> TuningTask:
    schema = RecordSchema.from_model(load_model("die.py:Die", SCHEMAS))
    forms: dict[str, object] = {"value": weights or {1: 3, 2: 1}}
    source, tokenizer = load_targets(forms, schema, None, None, SCHEMAS), load_tokenizer(folder)
    return TuningTask(build_prompt(schema, tokenizer), source, tokenizer)


def settings(**more: Any) -> TuningConfig:
    said: dict[str, Any] = {"method": "sft", "anchor": "none", "health_samples": 0, "steps": 4}
    return TuningConfig(**said | more)


def test_padding_changes_no_answers_probability(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        alone = torch.stack([plain_nll(model, answer) for answer in ANSWERS])
        batch = sft.padded(PROMPT, ANSWERS, CPU)
        assert batch.ids.shape == (4, len(PROMPT) + 7)
        assert sft.answer_nll(model, batch) == pytest.approx(alone, abs=1e-4)


def test_the_loss_is_the_mean_over_all_answer_tokens_of_a_step(folder: Path) -> None:
    """However the answers are batched, with the gradient of torch's own cross-entropy on the answers' tokens."""
    model = load(folder)
    n_tokens = sum(map(len, ANSWERS))
    loss = torch.stack([plain_nll(model, answer) for answer in ANSWERS]).sum() / n_tokens
    torch.autograd.backward(loss)
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    for batch_tokens in (10_000, 12):
        model.zero_grad(set_to_none=True)
        batches = list(sft.batches(PROMPT, ANSWERS, CPU, batch_tokens))
        assert sum(len(batch.ids) for batch in batches) == len(ANSWERS)
        assert (len(batches) == 1) == (batch_tokens > 1000)
        for batch in batches:
            (sft.answer_nll(model, batch).sum() / n_tokens).backward()  # type: ignore[no-untyped-call]
        found = [p.grad for p in model.parameters() if p.grad is not None]
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_a_step_samples_answers_by_weight_and_counts_its_tokens(folder: Path) -> None:
    """Of 4,000 draws 3,000 ± 27 are ones; the bound is over four standard errors wide."""
    prepared = PreparedTask(0, task(folder), "", 1.0, settings())
    samples = Counter(map(tuple, prepared.samples(4000)))
    assert len(samples) == 2 and max(samples.values()) == pytest.approx(3000, abs=120)
    assert sorted(prepared.seen.rows.values()) == sorted(samples.values())
    assert all(
        ids[-1] in prepared.task.prompt.stop_ids for ids in samples
    )  # whole records end with the stop token
    run = _Run(add_lora(load(folder), settings()), [task(folder)], settings(batch_size=6))
    figures = run.backward_targets(run.prompts[0])
    longest = max(map(len, samples))
    assert run.n_tokens == 6 * (len(run.prompts[0].task.prompt.ids) + longest)
    assert figures.kl is None and figures.optimum == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_the_gradient_is_that_of_the_exact_loss_on_average_up_to_the_mean_over_tokens(folder: Path) -> None:
    """One answer length: then the mean of many sampled steps is the exact gradient divided by that length."""

    def gradient(config: TuningConfig) -> torch.Tensor:
        model = add_lora(load(folder), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(0))
        run = _Run(model, [task(folder)], config)
        run.backward_targets(run.prompts[0])
        return torch.cat([p.grad.flatten() for p in run.parameters if p.grad is not None])

    length = len(PreparedTask(0, task(folder), "", 1.0, settings()).samples(1)[0])
    exact = gradient(TuningConfig(anchor="none", health_samples=0)) / length
    sampled = gradient(settings(batch_size=3000))
    assert (sampled - exact).norm() < 0.1 * exact.norm()


def test_the_baseline_comes_nearer_and_its_manifest_says_at_what_cost(folder: Path, tmp_path: Path) -> None:
    config = settings(steps=60, lr=1e-2, batch_size=16)
    result = tune(str(folder), [task(folder)], config, tmp_path / "sft")
    before, after = result.before[0].kl, result.after[0].kl
    assert before is not None and after is not None and after < 0.5 * before
    manifest = load_manifest(tmp_path / "sft")
    assert manifest.settings["method"] == "sft" and manifest.settings["batch_size"] == 16
    assert manifest.result["n_tokens"] == result.n_tokens > 60 * 16 * 4
    assert 0 < manifest.result["training_s"] <= manifest.result["elapsed_s"]
    assert manifest.result["steps"] == 60 and manifest.result["stopped_by"] == "steps"


@pytest.mark.parametrize("method", ["lora", "sft"])
def test_both_methods_end_at_the_same_number_of_tokens(folder: Path, tmp_path: Path, method: str) -> None:
    config = TuningConfig(
        method=method, steps=10**9, tokens=3000, anchor="none", health_samples=0,  # type: ignore[arg-type]
        batch_size=4 if method == "sft" else None,
    )  # fmt: skip
    result = tune(str(folder), [task(folder)], config, tmp_path / method)
    assert result.stopped_by == "tokens"
    per_step = result.n_tokens / result.steps
    assert 3000 <= result.n_tokens < 3000 + per_step
    assert result.losses[-1].n_steps == result.steps and result.losses[-1].lr < 0.2 * config.lr


def test_the_same_seed_gives_the_same_adapter(folder: Path, tmp_path: Path) -> None:
    runs = [
        tune(str(folder), [task(folder)], settings(seed=seed), tmp_path / n / "a")
        for n, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    losses = [[log.loss for log in run.losses] for run in runs]
    assert losses[0] == losses[1] != losses[2]


def test_a_recipe_asks_for_the_baseline(tmp_path: Path) -> None:
    def adapter(**more: object) -> Recipe:
        spec = {"targets": {"value": "uniform"}, "method": "sft"} | more
        return Recipe.from_mapping({"schema": f"{SCHEMAS}/die.py:Die", "adapters": {"a": spec}}, tmp_path)

    config = adapter(batch_size=8, stop={"tokens": 5000}).adapters["a"].tuning_config()
    assert (config.method, config.anchor, config.batch_size, config.tokens) == ("sft", "none", 8, 5000)
    assert config.steps > 10**6
    assert adapter(stop={"tokens": 5000, "steps": 7}).adapters["a"].tuning_config().steps == 7
