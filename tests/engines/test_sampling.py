"""What `draw` keeps of a distribution, against the definitions written out token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthgen.engines import choose
from synthgen.engines.protocol import Sampling
from synthgen.engines.sampling import draw
from synthgen.errors import EngineError

N = 20_000  # uniforms on a grid: shares are off by 1/N at most
SIZE = 40
SETTINGS = [
    Sampling(min_p=0.1),
    Sampling(min_p=0.5, temperature=1.7),
    Sampling(typical_p=0.2),
    Sampling(typical_p=0.9, temperature=0.6),
    Sampling(min_p=0.02, top_k=20, top_p=0.9, typical_p=0.7, temperature=1.3),
]


def softmax(logits: list[float]) -> list[float]:
    masses = [math.exp(logit - max(logits)) for logit in logits]
    return [mass / math.fsum(masses) for mass in masses]


def renormalised(shares: list[float], kept: set[int]) -> list[float]:
    total = math.fsum(shares[i] for i in kept)
    return [share / total if i in kept else 0.0 for i, share in enumerate(shares)]


def smallest(shares: list[float], order: list[int], mass: float) -> set[int]:
    """The first tokens of an order whose mass together reaches `mass`."""
    kept: set[int] = set()
    for i in order:
        if math.fsum(shares[j] for j in kept) >= mass:
            break
        kept.add(i)
    return kept


def by_definition(logits: list[float], sampling: Sampling) -> list[float]:
    """Min-p (Nguyen et al. 2024), top-k, nucleus, locally typical (Meister et al. 2023), one after the other."""
    shares = softmax([logit / sampling.temperature for logit in logits])
    most = max(shares)
    shares = renormalised(shares, {i for i, p in enumerate(shares) if p >= sampling.min_p * most})
    likeliest = sorted(range(len(shares)), key=lambda i: -shares[i])
    if sampling.top_k:
        shares = renormalised(shares, set(likeliest[: sampling.top_k]))
    if sampling.top_p < 1:
        shares = renormalised(shares, smallest(shares, likeliest, sampling.top_p))
    if sampling.typical_p < 1:
        there = [i for i, p in enumerate(shares) if p > 0]
        entropy = -math.fsum(shares[i] * math.log(shares[i]) for i in there)
        typical = sorted(there, key=lambda i: abs(-math.log(shares[i]) - entropy))
        shares = renormalised(shares, smallest(shares, typical, sampling.typical_p))
    return shares


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
@pytest.mark.parametrize("spread", [0.3, 2.0, 6.0])
def test_draw_keeps_what_the_definitions_keep(sampling: Sampling, spread: float) -> None:
    logits = np.random.default_rng(int(10 * spread)).normal(scale=spread, size=SIZE)
    rows = torch.tensor(logits, dtype=torch.float64).expand(N, -1)
    drawn = draw(rows, (np.arange(N) + 0.5) / N, sampling)
    shares = np.bincount(drawn, minlength=SIZE) / N
    expected = by_definition(logits.tolist(), sampling)
    assert any(share == 0 for share in expected) or spread < 1  # something is cut
    np.testing.assert_allclose(shares, expected, atol=1.5 / N)


def test_the_typical_token_need_not_be_the_likeliest() -> None:
    logits = torch.log(torch.tensor([[0.4, 0.2, 0.2, 0.2]]))  # entropy 1.33 nats; surprisals 0.92 and 1.61
    assert draw(logits, np.array([0.3]), Sampling(typical_p=0.05)) == [1]


def test_what_is_off_changes_nothing() -> None:
    logits = torch.tensor(np.random.default_rng(0).normal(size=(64, SIZE)))
    uniforms = np.random.default_rng(1).random(64)
    assert draw(logits, uniforms, Sampling(min_p=0.0, typical_p=1.0)) == draw(logits, uniforms, Sampling())


def test_typical_sampling_is_no_task_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthgen.engines.find_spec", lambda name: object())
    assert (choose("auto"), choose("auto", typical=True)) == ("vllm", "transformers")
    with pytest.raises(EngineError, match=r"engine 'vllm': has no typical_p; .* `engine: transformers`"):
        choose("vllm", typical=True)
