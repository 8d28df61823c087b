"""What the study's numbers say of the three published findings (arXiv 2505.12244). numpy only.

Means come with percentile bootstrap intervals; two kinds of targets are compared pair by pair, each with a random
target of its own entropy. A finding holds where its interval says so, and is open where that holds 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthgen.trie import Floats

N_RESAMPLES = 4000
LEVEL = 0.95
MIDDLE = (1 / 3, 2 / 3)  # of ln V: what counts as moderate entropy; below it is low, above it high

Verdict = Literal["holds", "holds in part", "does not hold", "open"]


@dataclass(frozen=True)
class Estimate:
    """A mean of `n` values, and its interval; nats."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Row:
    """One target and how near a prompt came. `pair` names the random target of the same entropy, by its row."""

    source: str
    entropy: float
    level: float | None
    soft: float
    hard: float
    plain: float  # KL of the empty message, where nothing is searched
    pair: int | None = None


@dataclass(frozen=True)
class Finding:
    """A published finding, with the differences that decide it: each is above 0 where it holds."""

    number: int
    text: str
    verdict: Verdict
    differences: dict[str, Estimate]


def estimate(values: Sequence[float] | Floats, seed: int = 0) -> Estimate:
    """The mean, with its bootstrap interval."""
    found = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = found[rng.integers(0, len(found), size=(N_RESAMPLES, len(found)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(found.mean()), float(low), float(high), len(found))


def difference(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of one group minus that of another, each resampled by itself."""
    rng = np.random.default_rng(seed)
    means = []
    for group in (np.asarray(above), np.asarray(below)):
        means.append(group[rng.integers(0, len(group), size=(N_RESAMPLES, len(group)))].mean(1))
    low, high = np.quantile(means[0] - means[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(np.mean(above) - np.mean(below)), float(low), float(high), len(above) + len(below))


def verdict_of(differences: Sequence[Estimate]) -> Verdict:
    """Holds if every interval is above 0, in part if one is; does not if one is below and none above."""
    n_above = sum(one.low > 0 for one in differences)
    if n_above:
        return "holds" if n_above == len(differences) else "holds in part"
    return "does not hold" if any(one.high < 0 for one in differences) else "open"


def findings(rows: Sequence[Row], largest: float, kind: Literal["soft", "hard"]) -> list[Finding]:
    """The three, for one kind of prompt; `largest`: ln V."""
    grid = [(row.entropy / largest, _kl(row, kind)) for row in rows if row.level is not None]
    low = [kl for part, kl in grid if part < MIDDLE[0]]
    middle = [kl for part, kl in grid if MIDDLE[0] <= part <= MIDDLE[1]]
    high = [kl for part, kl in grid if part > MIDDLE[1]]
    first = {
        "moderate − low entropy": difference(middle, low),
        "moderate − high entropy": difference(middle, high),
    }
    second = {"random − outliers, equal entropy": _paired(rows, "outliers", kind)}
    third = {
        "random − the model's own, equal entropy": _paired(rows, "own", kind),
        "random − another model's, equal entropy": _paired(rows, "other", kind),
    }
    texts = (
        "Very low and very high entropy are easier than moderate entropy.",
        "At equal entropy, targets with outlier tokens are easier.",
        "Targets that language models produce, even with another tokenizer, are easier than random ones.",
    )
    return [
        Finding(i, text, verdict_of(list(found.values())), found)
        for i, (text, found) in enumerate(zip(texts, (first, second, third), strict=True), 1)
    ]


def _paired(rows: Sequence[Row], source: str, kind: Literal["soft", "hard"]) -> Estimate:
    """Random minus `source`, pair by pair."""
    pairs = [(rows[row.pair], row) for row in rows if row.source == source and row.pair is not None]
    return estimate([_kl(random, kind) - _kl(row, kind) for random, row in pairs])


def _kl(row: Row, kind: Literal["soft", "hard"]) -> float:
    return row.soft if kind == "soft" else row.hard
