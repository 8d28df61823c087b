"""Next-token distributions to aim at: random ones of a given entropy, and the same with outlier tokens. numpy only.

After "distribution prompting" (arXiv 2505.12244); how its outlier targets were made could not be verified, so ours
are our own: a few random tokens hold half of the mass between them, in equal parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthgen.trie import Floats

Source = Literal["random", "outliers", "own", "other"]

N_OUTLIERS = 4
OUTLIER_MASS = 0.5
TOLERANCE = 1e-4  # nats by which an entropy may be missed
_STEPS = 10_000
_LONGEST = 5.0  # of a step, in logits


@dataclass(frozen=True, eq=False)
class Target:
    """A distribution over the vocabulary, (V,), and where it comes from."""

    source: Source
    entropy: float  # nats
    probabilities: Floats
    level: float | None = None  # of the grid of entropies; None: not on it


def entropy_of(probabilities: Floats) -> float:
    """In nats."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def random_distribution(entropy: float, size: int, rng: np.random.Generator) -> Floats:
    """(size,) softmax of random normal logits, moved by gradient descent until the entropy is as asked.

    Raises ValueError for an entropy outside (0, ln size).
    """
    if not 0 < entropy < math.log(size):
        raise ValueError(
            f"entropy {entropy:g}: expected one above 0 and below ln {size} = {math.log(size):.4g}"
        )
    logits = rng.normal(size=size)
    for _ in range(_STEPS):
        log_p = logits - _log_sum_exp(logits)
        p = np.exp(log_p)
        h = float(-(p * log_p).sum())
        missing = entropy - h
        if abs(missing) <= TOLERANCE:
            return np.asarray(p)
        slope = -p * (log_p + h)  # dH/dz
        step = missing * slope / max(float(slope @ slope), 1e-300)
        length = float(np.abs(step).max())
        logits = logits + step * min(1.0, _LONGEST / length)
    raise ValueError(f"entropy {entropy:g}: not reached in {_STEPS} steps")


def outlier_entropies(size: int) -> tuple[float, float]:
    """The least and the largest entropy that a target with outliers can have."""
    rest = 1 - OUTLIER_MASS
    held = entropy_of(np.array([OUTLIER_MASS, rest])) + OUTLIER_MASS * math.log(N_OUTLIERS)
    return held, held + rest * math.log(size - N_OUTLIERS)


def outlier_distribution(entropy: float, size: int, rng: np.random.Generator) -> Floats:
    """(size,) of the entropy asked for, in which `N_OUTLIERS` tokens hold `OUTLIER_MASS`.

    Raises ValueError outside `outlier_entropies`.
    """
    least, _ = outlier_entropies(size)
    rest = random_distribution((entropy - least) / (1 - OUTLIER_MASS), size - N_OUTLIERS, rng)
    outliers = rng.choice(size, N_OUTLIERS, replace=False)
    p = np.full(size, OUTLIER_MASS / N_OUTLIERS)
    p[np.setdiff1d(np.arange(size), outliers)] = (1 - OUTLIER_MASS) * rest
    return p


def grid(size: int, n_levels: int) -> list[float]:
    """Entropies from near 0 to near ln size, evenly, the ends left out."""
    return [math.log(size) * (i + 0.5) / n_levels for i in range(n_levels)]


def spread(entropies: Floats, n: int, rng: np.random.Generator) -> list[int]:
    """Positions of `n` of some entropies, as evenly spread over their range as there are."""
    order = rng.permutation(len(entropies))
    marks = np.linspace(float(entropies.min()), float(entropies.max()), n)
    chosen: list[int] = []
    for mark in marks:
        free = [i for i in order if i not in chosen]
        if free:
            chosen.append(int(min(free, key=lambda i: abs(float(entropies[i]) - mark))))
    return chosen


def _log_sum_exp(logits: Floats) -> float:
    top = float(logits.max())
    return top + math.log(float(np.exp(logits - top).sum()))
