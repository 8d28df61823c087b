"""Hard-target fine-tuning, the baseline beside the exact loss: plain cross-entropy on sampled answers.

Every sequence is the prompt and one answer drawn from the targets; sequences are padded on the right, and the loss of
a step is the mean over all its answer tokens, prompt and padding left out. So do SFT trainers: TRL's SFTTrainer
(completion-only loss) on Transformers' Trainer, which sums the loss and divides by the tokens of the whole step.
Adapter, optimiser and schedule are those of `tuning`, which calls this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """Sequences of one prompt, padded on the right. B sequences of at most L tokens, P of them the prompt's."""

    ids: Tensor  # (B, L)
    mask: Tensor  # (B, L) 1 where there is a token
    n_prompt: int

    @property
    def n_tokens(self) -> int:
        """Tokens evaluated, padding included."""
        return self.ids.numel()


def padded(prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], device: torch.device) -> PaddedBatch:
    """Prompt and answer of each sequence; padding repeats the prompt's first token, and is masked."""
    longest = max(map(len, answers))
    rows = [[*prompt_ids, *ids, *[prompt_ids[0]] * (longest - len(ids))] for ids in answers]
    mask = [[1] * (len(prompt_ids) + len(ids)) + [0] * (longest - len(ids)) for ids in answers]
    return PaddedBatch(torch.tensor(rows, device=device), torch.tensor(mask, device=device), len(prompt_ids))


def batches(
    prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], device: torch.device, batch_tokens: int
) -> Iterator[PaddedBatch]:
    """All answers in batches of at most `batch_tokens` tokens (or one sequence), like lengths together."""
    left = sorted(answers, key=len, reverse=True)
    while left:
        n = max(1, batch_tokens // (len(prompt_ids) + len(left[0])))
        yield padded(prompt_ids, left[:n], device)
        left = left[n:]


def answer_nll(model: Any, batch: PaddedBatch) -> Tensor:
    """(B,) −log pθ(answer | prompt) of each sequence, in nats, summed over its tokens in float32."""
    targets = batch.ids[:, batch.n_prompt :]  # (B, L − P)
    out = model(
        input_ids=batch.ids,
        attention_mask=batch.mask,
        use_cache=False,
        logits_to_keep=targets.shape[1] + 1,
    )
    log_probs = out.logits[:, :-1].float().log_softmax(-1)  # (B, L − P, V)
    chosen = log_probs.gather(-1, targets[..., None])[..., 0]
    nll: Tensor = -(chosen * batch.mask[:, batch.n_prompt :]).sum(1)
    return nll
