"""Entropy and coverage of a sample, and how sure they are: within a seed, and over seeds.

What is published are plug-in entropy and distinct values of 1,000 answers, so that is what is estimated here, at equal
n: with fewer draws both are smaller for the same source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from synthgen.stats import Counts, coverage_rarefied, entropy_plugin, entropy_rarefied, positive

LEVEL = 0.95
_Z = 1.959963984540054


@dataclass(frozen=True)
class Measured:
    """One seed's figure and its standard error within the seed."""

    value: float
    error: float


@dataclass(frozen=True)
class Estimate:
    """The mean over seeds with 95 % half-widths: over seeds (None with one seed), and within a seed."""

    value: float
    half: float | None
    within: float
    n_seeds: int

    @property
    def low(self) -> float:
        """The interval's lower end: over seeds where there are several."""
        return self.value - (self.within if self.half is None else self.half)

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.value + (self.within if self.half is None else self.half)

    def text(self, digits: int = 2) -> str:
        """`2.29 ± 0.01`; `–` where the figure is a ratio to nothing."""
        if math.isinf(self.value):
            return "–"
        half = self.within if self.half is None else self.half
        return f"{self.value:,.{digits}f} ± {half:,.{digits}f}"

    def to_json(self) -> dict[str, float | int | None]:
        """Value, both half-widths and the number of seeds."""
        return {
            "value": None if math.isinf(self.value) else self.value,
            "half_seeds": self.half,
            "half_within": self.within,
            "seeds": self.n_seeds,
        }


def over_seeds(measured: Sequence[Measured]) -> Estimate:
    """Student's interval of the seeds' mean; `within` is what one seed's own draws leave open, on average.

    Raises ValueError without a seed.
    """
    if not measured:
        raise ValueError("no seed was measured; expected at least one")
    values = np.array([one.value for one in measured])
    n = len(values)
    if not np.isfinite(values).all():  # a ratio to nothing
        return Estimate(math.inf, None, 0.0, n)
    half = None
    if n > 1:
        half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / math.sqrt(n))
    within = _Z * math.sqrt(float(np.mean([one.error**2 for one in measured])))
    return Estimate(float(values.mean()), half, within, n)


def entropy(counts: Counts, at: int | None = None) -> Measured:
    """Plug-in entropy in nats, of `at` of the draws if that is fewer; its error by the delete-one jackknife."""
    c = positive(counts)
    value = entropy_plugin(c) if at is None or at >= c.sum() else entropy_rarefied(c, at)
    return Measured(value, _entropy_error(c))


def coverage(counts: Counts, at: int | None = None) -> Measured:
    """Distinct values, of `at` of the draws if that is fewer; its error by the delete-one jackknife.

    Leaving one draw out loses a value where it was seen once: variance f1 · (1 − f1/n) · (n − 1)/n. By Efron and
    Stein (1981) that is on average no less than the truth.
    """
    c = positive(counts)
    n = int(c.sum())
    value = float(c.size) if at is None or at >= n else coverage_rarefied(c, at)
    f1 = int((c == 1).sum())
    return Measured(value, math.sqrt(f1 * (1 - f1 / n) * (n - 1) / n))


def mean(parts: Sequence[Measured]) -> Measured:
    """Of several prompts of one task, asked independently."""
    error = math.sqrt(sum(part.error**2 for part in parts)) / len(parts)
    return Measured(sum(part.value for part in parts) / len(parts), error)


def ratio(above: Measured, below: Measured) -> Measured:
    """One figure over another, errors by the delta method; infinite above nothing."""
    if not below.value:
        return Measured(math.inf if above.value else 1.0, 0.0)
    value = above.value / below.value
    relative = math.hypot(above.error / above.value if above.value else 0.0, below.error / below.value)
    return Measured(value, value * relative)


def difference(one: Measured, other: Measured) -> Measured:
    """One figure less another."""
    return Measured(one.value - other.value, math.hypot(one.error, other.error))


def share(hits: int, n: int) -> Measured:
    """A share of draws."""
    p = hits / n if n else 0.0
    return Measured(p, math.sqrt(p * (1 - p) / n) if n else 0.0)


def pooled(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """All seeds' counts together, most frequent first."""
    total: dict[str, int] = {}
    for one in counts:
        for value, n in one.items():
            total[value] = total.get(value, 0) + n
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _entropy_error(c: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """Standard error of the plug-in entropy: the spread of the n entropies that leave one draw out."""
    n = int(c.sum())
    if n < 2 or c.size == 1:
        return 0.0
    sizes, how_many = np.unique(c, return_counts=True)
    terms = float((how_many * sizes * np.log(sizes)).sum())
    fewer = np.where(sizes > 1, (sizes - 1) * np.log(np.maximum(sizes - 1, 1)), 0.0)
    without = math.log(n - 1) - (terms - sizes * np.log(sizes) + fewer) / (
        n - 1
    )  # without one draw of that size
    weights = sizes * how_many / n
    centre = float((weights * without).sum())
    return math.sqrt((n - 1) * float((weights * (without - centre) ** 2).sum()))
