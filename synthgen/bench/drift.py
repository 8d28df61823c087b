"""How far adapters have moved a model on answers of its own: exact, token by token, over the whole vocabulary.

At every token of the base model's own samples, KL(p_base ‖ p_adapter) is a sum over all next tokens, so that only the
choice of contexts is left to chance. The edge where the benchmarks load a model with torch and PEFT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from synthgen.lora import load_model
from synthgen.tuning_config import TuningConfig

BATCH_TOKENS = 4096  # of the padded batch: logits of the whole vocabulary are held for all of them


@dataclass(frozen=True)
class Context:
    """A prompt and the base model's own answer to it, as token ids; the stop token is part of it."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True)
class Drift:
    """Sums over one answer's tokens, in nats."""

    n_tokens: int
    kl: float  # of p_base from p_adapter
    nll_base: float  # −log probability of the answer
    nll: float  # the same with the adapter


@torch.no_grad()
def drift(model: str, adapters: Mapping[str, Path], contexts: Sequence[Context]) -> dict[str, list[Drift]]:
    """Every adapter's drift on every context, in their order; all zero where an answer is empty."""
    found = {name: [Drift(0, 0.0, 0.0, 0.0)] * len(contexts) for name in adapters}
    asked = [i for i, context in enumerate(contexts) if context.answer_ids]
    if not asked or not adapters:
        return found
    names = list(adapters)
    loaded = PeftModel.from_pretrained(load_model(model, TuningConfig()), str(adapters[names[0]]), names[0])
    for name in names[1:]:
        loaded.load_adapter(str(adapters[name]), name)
    loaded.eval()
    for places in _batches(sorted(asked, key=lambda i: contexts[i].length), contexts):
        batch = [contexts[i] for i in places]
        ids, mask = _padded(batch, loaded.device)
        with loaded.disable_adapter():
            base = _log_probs(loaded, ids, mask, batch)
        for name in names:
            loaded.set_adapter(name)
            tuned = _log_probs(loaded, ids, mask, batch)
            for i, context, p, q in zip(places, batch, base, tuned, strict=True):
                found[name][i] = _compare(context, p, q)
    return found


def _compare(context: Context, base: Tensor, tuned: Tensor) -> Drift:
    """`base`, `tuned`: log-probabilities (tokens, vocabulary)."""
    chosen = torch.tensor(context.answer_ids, device=base.device)[:, None]
    kl = (base.exp() * (base - tuned)).sum(-1).clamp(min=0.0).sum()
    nll_base, nll = -base.gather(1, chosen).sum(), -tuned.gather(1, chosen).sum()
    return Drift(len(context.answer_ids), float(kl), float(nll_base), float(nll))


def _log_probs(model: Any, ids: Tensor, mask: Tensor, batch: Sequence[Context]) -> list[Tensor]:
    """Of each context, (answer tokens, vocabulary)."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits  # (B, L, V)
    rows = []
    for row, context in zip(logits, batch, strict=True):
        start, n = len(context.prompt_ids), len(context.answer_ids)
        rows.append(row[start - 1 : start - 1 + n].float().log_softmax(-1))
    return rows


def _padded(batch: Sequence[Context], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask (B, L), padded on the right, where no token looks."""
    longest = max(context.length for context in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros(len(batch), longest, dtype=torch.long)
    for i, context in enumerate(batch):
        row = torch.tensor([*context.prompt_ids, *context.answer_ids])
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids.to(device), mask.to(device)


def _batches(places: Sequence[int], contexts: Sequence[Context]) -> list[list[int]]:
    """Contexts of about the same length together, by their places; the longest of a batch comes last."""
    batches: list[list[int]] = []
    for place in places:
        if not batches or contexts[place].length * (len(batches[-1]) + 1) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(place)
    return batches
