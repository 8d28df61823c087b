"""Logits and one uniform number per row → one token per row, by the inverse of the cumulative distribution."""

from __future__ import annotations

import math

import numpy as np
import torch

from synthgen.engines.protocol import Sampling


def draw(
    logits: torch.Tensor, uniforms: np.ndarray, sampling: Sampling, greedy: np.ndarray | None = None
) -> list[int]:
    """Tokens for logits (B, V) and uniforms (B,) in [0, 1); rows in `greedy` (B,) take the likeliest, as all do at temperature 0.

    After the temperature min_p cuts, then top_k, then top_p what is left, as in vLLM, and typical_p last. Token ids
    are in ascending order along the cumulative distribution, so equal uniforms give equal tokens whatever else is in
    the batch.
    """
    if sampling.temperature == 0 or (greedy is not None and greedy.all()):
        return _as_list(logits.argmax(-1))
    likeliest = _as_list(logits.argmax(-1)) if greedy is not None and greedy.any() else []
    logits = logits / sampling.temperature
    if sampling.min_p > 0:
        logits = _keep_likely(logits, sampling.min_p)
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        logits = _keep_nucleus(logits, sampling.top_p)
    if sampling.typical_p < 1:
        logits = _keep_typical(logits, sampling.typical_p)
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)  # (B, V)
    targets = torch.from_numpy(uniforms).to(cumulative.device)[:, None] * cumulative[:, -1:]
    tokens = _as_list(torch.searchsorted(cumulative, targets, right=True)[:, 0])
    if greedy is None or not likeliest:
        return tokens
    return [top if g else token for token, top, g in zip(tokens, likeliest, greedy, strict=True)]


def _as_list(tokens: torch.Tensor) -> list[int]:
    values: list[int] = tokens.tolist()
    return values


def _keep_likely(logits: torch.Tensor, min_p: float) -> torch.Tensor:
    """The tokens at least `min_p` times as probable as the likeliest (Nguyen et al. 2024, arXiv 2407.01082)."""
    least = logits.amax(-1, keepdim=True) + math.log(min_p)
    return logits.masked_fill(logits < least, -torch.inf)


def _keep_typical(logits: torch.Tensor, typical_p: float) -> torch.Tensor:
    """The smallest set of tokens of mass `typical_p` whose surprisal is nearest to the entropy.

    Locally typical sampling, Meister et al. 2023 (arXiv 2202.00666).
    """
    logs = logits.log_softmax(-1)
    masses = logs.exp()
    entropy = -torch.where(masses > 0, masses * logs, 0.0).sum(-1, keepdim=True)  # (B, 1)
    order = (-logs - entropy).abs().sort(dim=-1, stable=True).indices
    ordered = masses.gather(-1, order)
    before = ordered.cumsum(-1) - ordered
    kept = logits.gather(-1, order).masked_fill(before >= typical_p, -torch.inf)
    return logits.scatter(-1, order, kept)


def _keep_nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest set of likeliest tokens whose probability reaches `top_p`; the others become -inf."""
    ordered, order = logits.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    return logits.scatter(-1, order, ordered.masked_fill(before >= top_p, -torch.inf))
