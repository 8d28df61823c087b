"""Logits and one uniform number per row → one token per row, by the inverse of the cumulative distribution."""

from __future__ import annotations

import numpy as np
import torch

from synthgen.engines.protocol import Sampling


def draw(
    logits: torch.Tensor, uniforms: np.ndarray, sampling: Sampling, greedy: np.ndarray | None = None
) -> list[int]:
    """Tokens for logits (B, V) and uniforms (B,) in [0, 1); rows in `greedy` (B,) take the likeliest, as all do at temperature 0.

    top_k cuts first, then top_p what is left, as in vLLM. Token ids are in ascending order along the
    cumulative distribution, so equal uniforms give equal tokens whatever else is in the batch.
    """
    if sampling.temperature == 0 or (greedy is not None and greedy.all()):
        return _as_list(logits.argmax(-1))
    likeliest = _as_list(logits.argmax(-1)) if greedy is not None and greedy.any() else []
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        logits = _keep_nucleus(logits, sampling.top_p)
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)  # (B, V)
    targets = torch.from_numpy(uniforms).to(cumulative.device)[:, None] * cumulative[:, -1:]
    tokens = _as_list(torch.searchsorted(cumulative, targets, right=True)[:, 0])
    if greedy is None or not likeliest:
        return tokens
    return [top if g else token for token, top, g in zip(tokens, likeliest, greedy, strict=True)]


def _as_list(tokens: torch.Tensor) -> list[int]:
    values: list[int] = tokens.tolist()
    return values


def _keep_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest set of likeliest tokens whose probability reaches `top_p`; the others become -inf."""
    ordered, order = logits.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.scatter(-1, order, ordered.masked_fill(before >= top_p, -torch.inf))
