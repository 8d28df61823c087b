"""A prompt that is run once for many packs: losses, gradients and log-probabilities as if every target had its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from synthgen.lora import add_lora
from synthgen.packing import PACK_NODES, PACK_PATHS, backward_trie, batches, node_log_probs, pack_room
from synthgen.shared_prompt import SharedPrompt
from synthgen.trie import TokenTrie
from synthgen.tuning_config import TuningConfig
from tests.plain import gradients, load, plain_loss, some_targets
from tests.tiny import ARCHS, Arch, tiny_model_folder

PROMPT = tuple(range(40, 60))
ALONE = [9, 4]  # shares no prefix with any other target


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Arch, Path]:
    return {arch: tiny_model_folder(tmp_path_factory.mktemp(arch), arch) for arch in ARCHS}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("window", [None, 5])
def test_loss_and_gradient_are_those_of_every_target_with_its_prompt(
    folders: dict[Arch, Path], arch: Arch, window: int | None
) -> None:
    model = load(folders[arch], window if arch in ("mistral", "gemma2", "gemma3_text") else None)
    sequences, weights = some_targets(more=[ALONE])
    expected = plain_loss(model, PROMPT, sequences, weights)
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradients(model)
    trie = TokenTrie.from_sequences(sequences, weights)
    for pack_nodes in (len(trie), 16, 5):  # one pack, which carries its prompt; several; many
        model.zero_grad(set_to_none=True)
        log_probs, _ = backward_trie(model, trie, PROMPT, 2.0, pack_nodes, batch_tokens=40)
        assert -(trie.mass * log_probs).sum() == pytest.approx(expected.item(), rel=1e-5)
        assert (gradients(model) / 2 - wanted).norm() / wanted.norm() < 1e-4
        found = node_log_probs(model, trie, PROMPT, pack_nodes, batch_tokens=40)
        np.testing.assert_allclose(found, log_probs, atol=1e-5)


def test_only_what_is_tuned_gets_a_gradient_through_the_prompt(folders: dict[Arch, Path]) -> None:
    """A frozen model with LoRA: the prompt's keys and values carry a part of the gradient that no pack alone has."""
    model = add_lora(load(folders["llama"]).requires_grad_(False), TuningConfig(rank=2))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    sequences, weights = some_targets(more=[ALONE])
    plain_loss(model, PROMPT, sequences, weights).backward()  # type: ignore[no-untyped-call]
    wanted = gradients(model)
    model.zero_grad(set_to_none=True)
    backward_trie(model, TokenTrie.from_sequences(sequences, weights), PROMPT, pack_nodes=16)
    assert (gradients(model) - wanted).norm() / wanted.norm() < 1e-4
    assert all(p.requires_grad for p in model.parameters() if p.grad is not None)


def test_a_shared_prompt_is_computed_once(folders: dict[Arch, Path]) -> None:
    model = load(folders["llama"])
    sequences, weights = some_targets(more=[ALONE])
    trie = TokenTrie.from_sequences(sequences, weights)
    inputs = int((~trie.is_leaf).sum())
    _, alone = backward_trie(model, trie, PROMPT, pack_nodes=len(trie))
    assert alone == len(PROMPT) + inputs
    n_packs = len(trie.packs(16))
    _, shared = backward_trie(model, trie, PROMPT, pack_nodes=16)
    carried = sum(batch.n_tokens for batch in batches(trie, PROMPT, model.device, 16))
    assert carried - shared == (n_packs - 1) * len(PROMPT)


def test_a_prompt_that_nobody_read_has_nothing_to_send_back(folders: dict[Arch, Path]) -> None:
    model = load(folders["llama"])
    SharedPrompt(model, PROMPT).backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_gradients_of_many_packs_are_summed_in_full_precision(folders: dict[Arch, Path]) -> None:
    """Under autocast the prompt's states are bf16, in which a thousand small gradients would be lost on a large one."""
    model = load(folders["llama"])
    with torch.autocast("cpu", torch.bfloat16):
        prompt = SharedPrompt(model, PROMPT)
    layer = prompt.cache.layers[0]
    assert layer.keys.dtype == layer.values.dtype == prompt.logits.dtype == torch.float32
    own = torch.zeros(3, *layer.keys.shape[1:2], 2, layer.keys.shape[-1], dtype=torch.bfloat16)
    keys, values = prompt.cache.update(own, own, 0)
    assert keys.dtype == values.dtype == torch.bfloat16
    assert keys.shape == values.shape == (3, own.shape[1], len(PROMPT) + 2, own.shape[-1])


def test_packs_are_small_behind_a_shared_prompt_and_never_shorter_than_a_few_paths() -> None:
    short = TokenTrie.from_sequences([[1, i, 3] for i in range(4, 50)], [1.0] * 46)
    long = TokenTrie.from_sequences([[i, *range(100)] for i in range(4, 50)], [1.0] * 46)
    assert pack_room(short, shared=True) == PACK_NODES
    assert pack_room(short, shared=False) == 2 * PACK_NODES
    assert pack_room(long, shared=True) == pack_room(long, shared=False) == PACK_PATHS * 101
    carried = sum(len(pack.nodes) for pack in long.packs(pack_room(long, shared=True)))
    assert carried <= 1.05 * (~long.is_leaf).sum()


@pytest.mark.parametrize(("n_targets", "shared"), [(200, False), (300, True)])
def test_a_trie_that_fits_one_pack_carries_its_prompt(
    folders: dict[Arch, Path], n_targets: int, shared: bool
) -> None:
    model = load(folders["llama"])
    vocabulary = model.config.vocab_size
    sequences = [[i % vocabulary, i // vocabulary, 1, 2] for i in range(n_targets // 3)]
    trie = TokenTrie.from_sequences(sequences, [1.0] * len(sequences))
    inputs = int((~trie.is_leaf).sum())
    assert (inputs > 2 * PACK_NODES) == shared
    _, n_tokens = backward_trie(model, trie, PROMPT)
    least = len(PROMPT) + inputs
    assert n_tokens == least if not shared else n_tokens >= least
    packs = trie.packs(pack_room(trie, shared))
    widest = max(len(pack.nodes) for pack in packs)
    assert (len(packs) > 1) == shared
    assert n_tokens <= len(PROMPT) + len(packs) * widest  # padding at most, and the prompt once
