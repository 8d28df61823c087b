"""How sure the estimates of spread are: intervals and bounds from count vectors, in closed form.

Sits beside `stats.py`: pure numpy and scipy, nothing random, the cost grows with the number of different counts.
How often each covers the truth is measured by bench/report_intervals.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaincinv, ndtri

from synthgen.stats import (
    Counts,
    chao1,
    entropy_chao_wang_jost,
    positive,
    singles_and_doubles,
    unseen_entropy,
)

LEAST_COVERAGE = 0.9  # sample coverage under which entropy has a lower bound only
_STEPS = 50  # halvings of an end's bracket


def entropy_interval(counts: Counts, level: float = 0.95) -> tuple[float, float | None]:
    """Interval of the source's entropy around `entropy_chao_wang_jost`, in nats.

    The upper end is None where sample coverage is under 90 %: then too much is unseen, the estimate may be far too
    low, and only the lower end holds.

    The estimate's error is −(χ²ν − ν)/2n, ν = S − 1, from the shares squared, plus a part linear in them. Its
    variance comes from the delete-one jackknife (Efron & Stein 1981), which counts the first part twice. Both
    parts' variance and skewness shape a Pearson III curve, and each end is the entropy that would just not have
    given this estimate. For a nearly uniform source this is the noncentral χ² interval of its distance to
    uniform, where an interval of fixed width would fail: there the linear part depends on that very distance.
    """
    c = positive(counts)
    n = int(c.sum())
    estimate = entropy_chao_wang_jost(c)
    if c.size == 1:  # all equal: as much of another value as may have been missed
        missed = 1 - ((1 - level) / 2) ** (1 / n)
        return 0.0, _binary_entropy(missed) if n > 1 else None
    error = _error(c)
    low = estimate - error.quantile((1 + level) / 2)
    f1, f2 = singles_and_doubles(c)
    if 1 - f1 / n >= LEAST_COVERAGE:
        return max(0.0, low), estimate - error.quantile((1 - level) / 2)
    # With few pairs the jackknife is blind to their number: at most as many as a Poisson count allows.
    pairs = float(gammaincinv(f2 + 1, (1 + level) / 2))
    fewer_unseen = unseen_entropy(n, f1, pairs) - unseen_entropy(n, f1, f2)
    return max(0.0, min(low, estimate + fewer_unseen)), None


def coverage_interval(counts: Counts, level: float = 0.95) -> tuple[float, float]:
    """Interval of the source's mass on the values seen, around 1 − f1/n.

    A score interval on the variance f1(1 − f1/n) + 2·f2 of n times the unseen mass (Esty 1983).
    """
    c = positive(counts)
    n = float(c.sum())
    f1, f2 = singles_and_doubles(c)
    z = float(ndtri((1 + level) / 2))
    middle, half = f1 + z * z / 2, z * math.sqrt(f1 * (1 - f1 / n) + 2 * f2 + z * z / 4)
    return max(0.0, 1 - (middle + half) / n), min(1.0, 1 - (middle - half) / n)


def share_interval(n_hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of which `n_hits` of `n` draws were seen (Wilson 1927)."""
    z2 = float(ndtri((1 + level) / 2)) ** 2
    middle = (n_hits + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (n_hits * (n - n_hits) / n + z2 / 4)) / (n + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def fewest_values(counts: Counts, level: float = 0.95) -> int:
    """The least number of values that the source has: the lower end of Chao1's log-normal interval (Chao 1987)."""
    c = positive(counts)
    n = float(c.sum())
    f1, f2 = singles_and_doubles(c)
    unseen = chao1(c) - c.size
    if unseen <= 0:
        return int(c.size)
    k, pairs = (n - 1) / n, f2 + 1
    variance = k * f1 * (f1 - 1) / (2 * pairs) + k * k * f1 * (2 * f1 - 1) ** 2 / (4 * pairs**2)
    if f2:
        variance += k * k * f1**2 * f2 * (f1 - 1) ** 2 / (4 * pairs**4)
    else:
        variance -= k * k * f1**4 / (4 * chao1(c))
    spread = math.exp(float(ndtri((1 + level) / 2)) * math.sqrt(math.log1p(max(variance, 0.0) / unseen**2)))
    return int(c.size + unseen / spread)


@dataclass(frozen=True)
class _Error:
    """Estimate less truth, as the sum of a linear part and a χ² part; the first depends on the truth assumed."""

    n: int
    df: int  # of the χ² part
    linear: float  # variance of the linear part if the truth is the estimate; may be below 0
    lean: float  # third over second central moment of −ln p: 0 near uniform, 2 for a geometric source

    def quantile(self, share: float) -> float:
        """The error that a share of samples stays under, at the truth for which it is just this error."""
        sign = 1.0 if share > 0.5 else -1.0
        low, high = 0.0, 12 * math.sqrt(abs(self.linear) + self.df / self.n**2) + 60 * self.df / self.n
        for _ in range(_STEPS):
            error = (low + high) / 2
            if sign * self._at(sign * error, share) < error:
                high = error
            else:
                low = error
        return sign * (low + high) / 2

    def _at(self, error: float, share: float) -> float:
        """The quantile if the truth lies `error` below the estimate: there the linear part varies more."""
        linear = max(0.0, self.linear + (2 - self.lean) / self.n * error)
        variance = linear + self.df / (2 * self.n**2)
        third = linear * (self.lean - 3) / self.n - self.df / self.n**3
        return math.sqrt(variance) * _pearson3(share, third / variance**1.5)


def _error(c: npt.NDArray[np.int64]) -> _Error:
    n = int(c.sum())
    sizes, how_many = np.unique(c, return_counts=True)
    weights = sizes * how_many / n
    surprise = np.log(n / sizes)
    centred = surprise - (weights * surprise).sum()
    second = float((weights * centred**2).sum())
    lean = float((weights * centred**3).sum()) / second if second > 1e-12 else 0.0
    without = _without_one(sizes, how_many)
    jackknife = (n - 1) * float((weights * (without - (weights * without).sum()) ** 2).sum())
    df = c.size - 1
    return _Error(n, df, jackknife - df / n**2, min(2.0, max(-2.0, lean)))


def _without_one(sizes: npt.NDArray[np.int64], how_many: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The estimate without one draw of a value seen `sizes` times, for each size."""
    n = int((sizes * how_many).sum()) - 1
    terms = sizes * digamma(sizes)
    fewer = np.where(sizes > 1, (sizes - 1) * digamma(np.maximum(sizes - 1, 1)), 0.0)
    result: npt.NDArray[np.float64] = np.maximum(
        0.0, digamma(n) - ((how_many * terms).sum() - terms + fewer) / n
    )
    seen = dict(zip(sizes.tolist(), how_many.tolist(), strict=True))
    f1, f2 = seen.get(1, 0), seen.get(2, 0)
    result += unseen_entropy(n, f1, f2)
    changed = {1: (f1 - 1, f2), 2: (f1 + 1, f2 - 1), 3: (f1, f2 + 1)}  # f1 and f2 without that draw
    for i, size in enumerate(sizes[:3].tolist()):
        if size in changed:
            result[i] += unseen_entropy(n, *changed[size]) - unseen_entropy(n, f1, f2)
    return result


def _pearson3(share: float, skewness: float) -> float:
    """Quantile of a shifted gamma distribution with mean 0, variance 1 and this skewness."""
    if abs(skewness) < 1e-3:
        return float(ndtri(share))
    a = 4 / skewness**2
    if skewness > 0:
        return float((gammaincinv(a, share) - a) / math.sqrt(a))
    return float((a - gammaincinv(a, 1 - share)) / math.sqrt(a))


def _binary_entropy(p: float) -> float:
    return -p * math.log(p) - (1 - p) * math.log1p(-p)
