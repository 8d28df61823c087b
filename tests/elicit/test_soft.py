"""Soft prompts: a lower KL that is the brute-force one, PEFT's files, the same model when switched off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from synthgen.anchor import sample
from synthgen.elicit.config import Position, SoftConfig
from synthgen.elicit.frame import soft_frame
from synthgen.elicit.objective import cross_entropies, embed, gradients
from synthgen.elicit.soft_model import SoftModel, SoftTokenizer, random_vectors, with_virtual
from synthgen.elicit.soft_prompt import SoftPrompt, check_width, read_soft_prompts, write_soft_prompt
from synthgen.elicit.soft_search import best_row, search_soft
from synthgen.errors import AdapterError
from synthgen.packing import batches, check_packing, node_log_probs, pack_loss
from synthgen.prompt import answer_ids
from synthgen.trie import TokenTrie
from tests.elicit.models import brute_force_kl, goal, load, model_folder
from tests.tiny import ARCHS, Arch

CPU = torch.device("cpu")
QUICK = SoftConfig(n_virtual=4, steps=25, lr=0.3, restarts=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load(folder)


@pytest.mark.parametrize("position", ["prefix", "infix"])
@pytest.mark.parametrize("next_token", [False, True])
def test_the_search_lowers_the_exact_kl(
    folder: Path, model: Any, position: Position, next_token: bool
) -> None:
    some = goal(folder, next_token=next_token)
    frame = soft_frame(some.prompt, some.tokenizer, position)
    found = search_soft(model, frame, some.trie, replace(QUICK, position=position))
    row = best_row(found)
    kl = float(found.losses[row]) - some.trie.entropy()
    assert kl < 0.7 * (float(found.start[row]) - some.trie.entropy())
    before, after = (embed(model, torch.tensor(ids, dtype=torch.long)) for ids in (frame.before, frame.after))
    inputs = torch.cat([before, found.vectors[row], after])
    assert kl == pytest.approx(brute_force_kl(model, inputs, some), abs=1e-4)
    losses = [step.loss for step in found.curve]
    assert losses == sorted(losses, reverse=True)  # the best so far


def test_rows_of_a_search_do_not_touch_each_other(folder: Path, model: Any) -> None:
    some = goal(folder, message="", next_token=True)
    frame = soft_frame(some.prompt, some.tokenizer, "infix")
    n = len(some.trie)
    masses = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(n), size=3), dtype=torch.float32)
    config = replace(QUICK, steps=8)
    together = search_soft(model, frame, some.trie, config, masses)
    for row in range(3):
        alone = search_soft(model, frame, some.trie, replace(config, seed=row), masses[row : row + 1])
        assert float(alone.losses[0]) == pytest.approx(float(together.losses[row]), abs=1e-4)


def test_a_search_stops_at_the_distance_that_is_asked_for(folder: Path, model: Any) -> None:
    some = goal(folder, next_token=True)
    frame = soft_frame(some.prompt, some.tokenizer, "prefix")
    near = search_soft(model, frame, some.trie, replace(QUICK, kl=100.0))
    assert near.stopped_by == "kl"
    assert near.steps == 1


def test_batched_losses_and_gradients_are_those_of_single_prompts(folder: Path, model: Any) -> None:
    trie = goal(folder).trie
    prompts = torch.randn(3, 5, model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    losses, slopes = gradients(model, prompts, trie, pack_nodes=2, batch_tokens=16)
    assert torch.allclose(losses, cross_entropies(model, prompts, trie), atol=1e-4)
    for row in range(3):
        loss, slope = gradients(model, prompts[row : row + 1], trie)
        assert torch.allclose(loss[0], losses[row], atol=1e-4)
        assert torch.allclose(slope[0], slopes[row], atol=1e-4)


# ---- the model with virtual ids ----


@pytest.mark.parametrize("arch", ARCHS)
def test_virtual_ids_are_packed_like_any_others(arch: Arch, tmp_path: Path) -> None:
    base = load(model_folder(tmp_path, arch))
    if getattr(base.config, "attn_logit_softcapping", None):
        base.set_attn_implementation("eager")
    some = goal(tmp_path)
    frame = soft_frame(some.prompt, some.tokenizer, "infix")
    soft = SoftModel(base, random_vectors(base, 3, seed=1))
    ids = with_virtual(some.prompt, frame, soft.virtual_ids).ids
    assert len(ids) == len(some.prompt.ids) + 3
    assert check_packing(soft, some.trie, ids) < 1e-3
    loss, _ = pack_loss(soft, next(batches(some.trie, ids, CPU)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert soft.vectors.grad is not None
    assert bool((soft.vectors.grad.abs().sum(1) > 0).all())
    with soft.disable_adapter():  # the virtual columns fall out of ids, mask and positions
        without = node_log_probs(soft, some.trie, ids, pack_nodes=10_000)
    plain = node_log_probs(base, some.trie, some.prompt.ids, pack_nodes=10_000)
    assert np.allclose(without, plain, atol=1e-4)


def test_sampling_with_the_soft_prompt_off_is_the_base_models(folder: Path, model: Any) -> None:
    some = goal(folder)
    frame = soft_frame(some.prompt, some.tokenizer, "infix")
    soft = SoftModel(model, random_vectors(model, 3, seed=1))
    ids = list(with_virtual(some.prompt, frame, soft.virtual_ids).ids)
    leads: list[list[int]] = [[], [40, 41], [42]]

    def drawn(what: Any, prompt: list[int]) -> list[list[int]]:
        generator = torch.Generator().manual_seed(7)
        return sample(what, [[*prompt, *lead] for lead in leads], some.prompt.stop_ids, 12, generator)

    with soft.disable_adapter():
        off = drawn(soft, ids)
    assert off == drawn(model, list(some.prompt.ids))
    assert off != drawn(soft, ids)


def test_answers_are_tokenised_as_without_the_virtual_ids(folder: Path, model: Any) -> None:
    some = goal(folder)
    frame = soft_frame(some.prompt, some.tokenizer, "infix")
    virtual = SoftModel(model, random_vectors(model, 3, seed=1)).virtual_ids
    prompt = with_virtual(some.prompt, frame, virtual)
    tokenizer = SoftTokenizer(some.tokenizer, some.prompt, frame, virtual)
    expected = answer_ids(some.prompt, some.tokenizer, "{Evelyn}\n{", closed=False)
    assert answer_ids(prompt, tokenizer, "{Evelyn}\n{", closed=False) == expected
    assert tokenizer.decode(prompt.ids) == some.tokenizer.decode(some.prompt.ids)


# ---- files ----


def test_a_saved_prefix_is_plain_peft(folder: Path, model: Any, tmp_path: Path) -> None:
    vectors = random_vectors(model, 5, seed=3)
    write_soft_prompt(tmp_path / "soft", vectors, model, "tiny")
    peft = PeftModel.from_pretrained(load(folder), str(tmp_path / "soft"))
    ids = torch.arange(20, 30)[None]
    with torch.no_grad():
        theirs = peft(input_ids=ids).logits[0, -1]
        ours = SoftModel(model, vectors)
        whole = torch.tensor([[*ours.virtual_ids, *ids[0].tolist()]])
        mine = ours(whole).logits[0, -1]
    assert torch.allclose(theirs, mine, atol=1e-5)
    assert not torch.allclose(theirs, model(input_ids=ids).logits[0, -1], atol=1e-2)


def test_a_folder_without_our_manifest_is_read_as_a_prefix(model: Any, tmp_path: Path) -> None:
    write_soft_prompt(tmp_path, random_vectors(model, 5, seed=3), model, "tiny")
    found = read_soft_prompts({"soft": tmp_path})["soft"]
    assert found.place(10) == 0
    assert SoftPrompt(found.vectors, n_after=3).place(10) == 7
    assert read_soft_prompts({"other": tmp_path.parent}) == {}


def test_soft_prompts_of_another_model_are_refused(model: Any, tmp_path: Path) -> None:
    write_soft_prompt(tmp_path, torch.zeros(2, 8), model, "tiny")
    with pytest.raises(AdapterError, match=r"'soft': its vectors hold 8 numbers each, model 'tiny' takes 32"):
        check_width(read_soft_prompts({"soft": tmp_path}), 32, "tiny")
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"has no adapter_model\.safetensors"):
        read_soft_prompts({"soft": tmp_path})


def test_optimum_is_reached_by_the_models_own_distribution(folder: Path, model: Any) -> None:
    """A target that the start's own prompt produces: KL 0 before the first step."""
    some = goal(folder, message="", next_token=True)
    frame = soft_frame(some.prompt, some.tokenizer, "infix")
    size = model.config.vocab_size
    trie = TokenTrie.from_sequences([[i] for i in range(size)], [1.0] * size)
    vectors = random_vectors(model, 4, seed=0)
    soft = SoftModel(model, vectors)
    log_p = node_log_probs(soft, trie, frame.around(soft.virtual_ids))
    masses = torch.tensor(np.exp(log_p), dtype=torch.float32)[None]
    found = search_soft(model, frame, trie, replace(QUICK, steps=1, seed=0), masses)
    assert float(found.start[0]) == pytest.approx(float(-(masses * masses.log()).sum()), abs=1e-3)
