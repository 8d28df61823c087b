"""The published loss, one target after the other: what every packed loss is held against; and models in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM


def load(folder: Path, window: int | None = None) -> Any:
    """The model in fp32; `window` narrows sliding-window attention until it matters."""
    settings: dict[str, Any] = {"sliding_window": window} if window else {}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **settings)
    if getattr(model.config, "attn_logit_softcapping", None):
        model.set_attn_implementation("eager")
    return model.eval()


def some_targets(
    n: int = 24, seed: int = 0, more: Sequence[list[int]] = ()
) -> tuple[list[list[int]], list[float]]:
    """Sequences that share prefixes, then `more`, and uneven weights."""
    rng = np.random.default_rng(seed)
    sequences = [[*rng.integers(10, 13, size=rng.integers(2, 12)).tolist(), 4] for _ in range(n)]
    return [*sequences, *more], (rng.random(n + len(more)) + 0.1).tolist()


def plain_loss(
    model: Any, prompt: Sequence[int], sequences: Sequence[Sequence[int]], weights: Sequence[float]
) -> torch.Tensor:
    """The published loss, one target at a time, each behind the whole prompt."""
    total = torch.zeros(())
    for ids, weight in zip(sequences, weights, strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0].float()
        scores = logits[len(prompt) - 1 : -1].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
        total = total - weight / sum(weights) * scores.sum()
    return total


def gradients(model: Any) -> torch.Tensor:
    """All gradients of a model in one vector."""
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
