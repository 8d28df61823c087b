"""The packed loss against the plain one on every architecture, and the loop on models that know nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from synthgen.errors import SynthgenError
from synthgen.packing import batches, check_packing, node_log_probs, pack_loss
from synthgen.trie import TokenTrie
from synthgen.tuning import LINEAR_LAYERS, add_lora
from synthgen.tuning_config import TuningConfig
from tests.tiny import ARCHS, Arch, tiny_model_folder

PROMPT = (1, 40, 41, 42, 43, 44, 45)
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Arch, Path]:
    """A random model of each architecture."""
    return {arch: tiny_model_folder(tmp_path_factory.mktemp(arch), arch) for arch in ARCHS}


def load(folder: Path, window: int | None = None) -> Any:
    """The model in fp32; `window` narrows sliding-window attention until it matters."""
    settings: dict[str, Any] = {"sliding_window": window} if window else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings)
    if getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    return model.eval()


def some_targets(n: int = 24, seed: int = 0) -> tuple[list[list[int]], list[float]]:
    """Sequences that share prefixes, and uneven weights."""
    rng = np.random.default_rng(seed)
    sequences = [[*rng.integers(10, 13, size=rng.integers(2, 12)).tolist(), 4] for _ in range(n)]
    return sequences, (rng.random(n) + 0.1).tolist()


def plain_loss(model: Any, sequences: Sequence[Sequence[int]], weights: Sequence[float]) -> torch.Tensor:
    """The published loss, one target at a time."""
    total = torch.zeros(())
    for ids, weight in zip(sequences, weights, strict=True):
        logits = model(input_ids=torch.tensor([[*PROMPT, *ids]]), use_cache=False).logits[0].float()
        scores = logits[len(PROMPT) - 1 : -1].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
        total = total - weight / sum(weights) * scores.sum()
    return total


def gradients(model: Any) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("window", [None, 5])
def test_packed_loss_and_gradient_equal_the_plain_ones(
    folders: dict[Arch, Path], arch: Arch, window: int | None
) -> None:
    model = load(folders[arch], window if arch in ("mistral", "gemma2", "gemma3_text") else None)
    sequences, weights = some_targets()
    plain = plain_loss(model, sequences, weights)
    plain.backward()  # type: ignore[no-untyped-call]
    expected = gradients(model)
    for max_nodes in (10_000, 16):
        model.zero_grad(set_to_none=True)
        trie = TokenTrie.from_sequences(sequences, weights)
        packed = torch.zeros(())
        for batch in batches(trie, PROMPT, CPU, max_nodes, batch_tokens=80):
            loss, _ = pack_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            packed += loss.detach()
        assert packed.item() == pytest.approx(plain.item(), rel=1e-5)
        difference = (gradients(model) - expected).norm() / expected.norm()
        assert difference < 1e-4
    assert check_packing(model, trie, PROMPT) < 1e-3


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_takes_the_adapter(folders: dict[Arch, Path], arch: Arch) -> None:
    model = add_lora(load(folders[arch]), TuningConfig(rank=2))
    sequences, weights = some_targets()
    trie = TokenTrie.from_sequences(sequences, weights)
    assert check_packing(model, trie, PROMPT) < 1e-3
    loss, _ = pack_loss(model, next(batches(trie, PROMPT, CPU)))
    loss.backward()  # type: ignore[no-untyped-call]
    names = {
        name.split(".lora_")[0].rsplit(".", 1)[-1]
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    assert names == set(LINEAR_LAYERS)


def test_the_models_own_distribution_as_target_leaves_no_divergence(folders: dict[Arch, Path]) -> None:
    """Targets: every answer of up to two tokens out of the whole vocabulary, weighted as the model weights
    them."""
    model = load(folders["llama"])
    vocabulary, stop = model.config.vocab_size, 4
    firsts = [t for t in range(vocabulary) if t != stop]
    sequences = [[stop], *([t, u] for t in firsts for u in range(vocabulary))]
    trie = TokenTrie.from_sequences(sequences, [1.0] * len(sequences))
    scores = node_log_probs(model, trie, PROMPT)
    chances = [float(np.exp(scores[trie.path(int(leaf))].sum())) for leaf in np.flatnonzero(trie.is_leaf)]
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    leaves = [trie.token[trie.path(int(leaf))].tolist() for leaf in np.flatnonzero(trie.is_leaf)]
    own = TokenTrie.from_sequences(leaves, chances)
    figures = own.figures(node_log_probs(model, own, PROMPT))
    assert figures.kl == pytest.approx(0, abs=1e-5)
    assert figures.leak == pytest.approx(0, abs=1e-5)
    assert figures.cross_entropy == pytest.approx(own.entropy(), abs=1e-5)


def test_a_model_without_the_projections_is_refused_by_name() -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = torch.nn.Linear(2, 2)
            self.config = type("Config", (), {"model_type": "other"})()

    with pytest.raises(SynthgenError, match=r"'other' has no q_proj.*its linear layers: c_attn"):
        add_lora(Other(), TuningConfig())
