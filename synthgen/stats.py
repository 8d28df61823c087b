"""Estimators of spread and distance on count vectors: what the report is made of.

Pure numpy and scipy, no tables and no models. A count vector holds how often each distinct value was drawn;
zeros are dropped. n is its sum, S the number of distinct values, f1 and f2 how many were seen once and twice.
Entropy and KL are in nats. Nothing here draws a random number unless it is given a generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaln, xlogy

from synthgen.errors import SynthgenError

Counts: TypeAlias = Sequence[int] | npt.NDArray[np.int64]
Probabilities: TypeAlias = Sequence[float] | npt.NDArray[np.float64]

_CHUNK = 2_000_000  # simulated cells held at once: 16 MB as float64


# ── spread ────────────────────────────────────────────────────────────────────────────────────────


def entropy_plugin(counts: Counts) -> float:
    """Entropy of the observed shares, −Σ p̂ ln p̂, in nats; too small by about (S−1)/2n."""
    shares = (c := positive(counts)) / c.sum()
    return max(0.0, float(-xlogy(shares, shares).sum()))


def entropy_miller_madow(counts: Counts) -> float:
    """Plug-in entropy plus its first-order bias (S−1)/2n, in nats (Miller 1955)."""
    c = positive(counts)
    return entropy_plugin(c) + (c.size - 1) / (2 * float(c.sum()))


def entropy_chao_wang_jost(counts: Counts) -> float:
    """The least biased entropy of the source when values are missing from the sample, in nats.

    Chao, Wang & Jost 2013, eq. 8, with A = 2/((n−1)(f1−1)+2) where no value was seen twice. The series of the
    unseen part, Σ_{r≥n} (1−A)^{r−n+1}/r, is integrated instead of summed, as (1−A)^{1−n} overflows in the
    printed form. When every value was seen once the data bound the entropy from below only.
    """
    c = positive(counts)
    n = int(c.sum())
    size, how_many = np.unique(c, return_counts=True)
    seen = float((how_many * size / n * (digamma(n) - digamma(size))).sum())
    return max(0.0, seen) + unseen_entropy(n, *singles_and_doubles(c))


def unseen_entropy(n: int, f1: float, f2: float) -> float:
    """What `entropy_chao_wang_jost` adds for the values that n draws have not shown, in nats."""
    if f1 == 0:
        return 0.0
    a = 2 * f2 / ((n - 1) * f1 + 2 * f2) if f2 else 2 / ((n - 1) * (f1 - 1) + 2)
    return f1 / n * _unseen_tail(n, a)


def perplexity(entropy_nats: float) -> float:
    """exp H: how many equally likely values would have this entropy."""
    return math.exp(entropy_nats)


def good_turing_coverage(counts: Counts) -> float:
    """Share of the source's mass that lies on values already seen, 1 − f1/n (Good 1953)."""
    c = positive(counts)
    return 1.0 - singles_and_doubles(c)[0] / float(c.sum())


def chao1(counts: Counts) -> float:
    """Lower bound of the number of values in the source, S + (n−1)/n · f1(f1−1)/(2(f2+1)) (Chao 1984)."""
    c = positive(counts)
    n = float(c.sum())
    f1, f2 = singles_and_doubles(c)
    return c.size + (n - 1) / n * f1 * (f1 - 1) / (2 * (f2 + 1))


def coverage_rarefied(counts: Counts, m: int) -> float:
    """Expected distinct values among m of the n draws, Σ 1 − C(n−c, m)/C(n, m); exact.

    Raises ValueError unless 1 ≤ m ≤ n.
    """
    return coverage_curve(counts, [m])[0]


def coverage_curve(counts: Counts, sizes: Sequence[int]) -> list[float]:
    """`coverage_rarefied` at several sizes; raises ValueError unless each is from 1 to n."""
    c = positive(counts)
    values, how_many = np.unique(c, return_counts=True)
    curve = []
    for m in sizes:
        n = _check_size(c, m)
        rest = n - values
        missable = rest >= m  # a value too frequent to be missed counts as one
        r = rest[missable]
        log_missed = gammaln(r + 1) - gammaln(r - m + 1) + gammaln(n - m + 1) - gammaln(n + 1)
        curve.append(float(c.size - (how_many[missable] * np.exp(log_missed)).sum()))
    return curve


def entropy_rarefied(counts: Counts, m: int) -> float:
    """Expected plug-in entropy of m of the n draws, in nats; exact, by the hypergeometric law of each count.

    Raises ValueError unless 1 ≤ m ≤ n.
    """
    c = positive(counts)
    n = _check_size(c, m)
    if m == n:
        return entropy_plugin(c)
    sizes, multiplicity = np.unique(c, return_counts=True)
    log_all = _log_choose(n, np.array([m]))
    total = 0.0
    for size, how_many in zip(sizes.tolist(), multiplicity.tolist(), strict=True):
        drawn = _likely_draws(n, size, m)
        log_p = _log_choose(size, drawn) + _log_choose(n - size, m - drawn) - log_all
        total -= how_many * float((np.exp(log_p) * xlogy(drawn / m, drawn / m)).sum())
    return max(0.0, total)


def rarefied_sample(counts: Counts, m: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Counts of m draws taken from the n without replacement, largest first; zeros dropped."""
    c = positive(counts)
    _check_size(c, m)
    drawn = rng.multivariate_hypergeometric(c, m, method="marginals")
    return np.sort(drawn[drawn > 0])[::-1].astype(np.int64)


def check_entropy(entropy_nats: float, coverage: float, where: str) -> None:
    """Raise SynthgenError, naming `where`, if a plug-in entropy is negative or above ln coverage."""
    bound = math.log(coverage) if coverage >= 1 else 0.0
    if not -1e-9 <= entropy_nats <= bound + 1e-9 * max(1.0, bound):
        raise SynthgenError(
            f"{where}: entropy {entropy_nats:.4f} nats cannot be with coverage {coverage:g}, whose bounds "
            f"are 0 and ln {coverage:g} = {bound:.4f}; the two figures do not belong together"
        )


# ── distance between two distributions over the same values ───────────────────────────────────────


def tv(p: Probabilities, q: Probabilities) -> float:
    """Total variation ½ Σ |p−q|, from 0 to 1: the share of records that would have to change."""
    a, b = _pair(p, q)
    return float(np.abs(a - b).sum() / 2)


def kl(p: Probabilities, q: Probabilities) -> float:
    """Σ p ln(p/q) in nats; infinite where p has mass and q has none."""
    a, b = _pair(p, q)
    return float(_kl_rows(a[None, :], b)[0])


def js(p: Probabilities, q: Probabilities) -> float:
    """Jensen–Shannon divergence in nats, from 0 to ln 2."""
    a, b = _pair(p, q)
    return float(_js_rows(a[None, :], b)[0])


def wasserstein(values: Probabilities, p: Probabilities, q: Probabilities) -> float:
    """Wasserstein-1 distance in the unit of `values` between two distributions over ordered values."""
    a, b = _pair(p, q)
    v = np.asarray(values, dtype=np.float64)
    order = np.argsort(v, kind="stable")
    gap = np.abs(np.cumsum((a - b)[order]))[:-1]  # between the two distribution functions
    return float((gap * np.diff(v[order])).sum())


@dataclass(frozen=True)
class Floor:
    """The same distance between the target and n draws from the target itself: what noise alone gives."""

    draws: npt.NDArray[np.float64]  # one simulated distance each

    @property
    def mean(self) -> float:
        """Mean of the simulated distances."""
        return float(self.draws.mean())

    def quantile(self, share: float) -> float:
        """A distance that one more draw stays at or below with at least this chance, up to 1 − 1/simulations.

        The ⌈share · (simulations + 1)⌉-th smallest, as the draw to come is one of simulations + 1 alike.
        """
        rank = min(self.draws.size, math.ceil(share * (self.draws.size + 1) - 1e-9))
        return float(np.partition(self.draws, rank - 1)[rank - 1])

    def p_value(self, value: float) -> float:
        """Parametric bootstrap: (1 + simulations that reach the value) / (1 + simulations)."""
        return float((1 + (self.draws >= value - 1e-12).sum()) / (1 + self.draws.size))


@dataclass(frozen=True)
class Floors:
    """The floor of each distance, simulated together."""

    tv: Floor
    js: Floor
    kl: Floor


def simulate_floors(
    target: Probabilities,
    n: int,
    rng: np.random.Generator,
    n_sims: int = 1000,
    n_reference: int | None = None,
) -> Floors:
    """Draw n values from the target `n_sims` times and measure each draw's distance to it.

    Simulated because the textbook floors, (k−1)/2n and the like, are wrong when k is near n. If the target is
    itself an estimate from `n_reference` draws, TV and JS are measured between two samples, so that the
    estimate's own noise counts too. Memory stays below 100 MB for any k.
    """
    p = np.asarray(target, dtype=np.float64)
    p = p[p > 0] / p.sum()
    rows = max(1, _CHUNK // p.size)
    distances: list[npt.NDArray[np.float64]] = []
    for start in range(0, n_sims, rows):
        size = min(rows, n_sims - start)
        drawn = rng.multinomial(n, p, size=size) / n  # (size, k)
        other = p if n_reference is None else rng.multinomial(n_reference, p, size=size) / n_reference
        distances.append(
            np.stack([np.abs(drawn - other).sum(axis=1) / 2, _js_rows(drawn, other), _kl_rows(drawn, p)])
        )
    by_metric = np.concatenate(distances, axis=1)
    return Floors(*(Floor(row) for row in by_metric))


def simulate_wasserstein(
    values: Probabilities,
    target: Probabilities,
    n: int,
    rng: np.random.Generator,
    n_sims: int = 1000,
    n_reference: int | None = None,
) -> Floor:
    """The floor of `wasserstein`, as `simulate_floors` does it; `values` and `target` are aligned."""
    v, p = np.asarray(values, dtype=np.float64), np.asarray(target, dtype=np.float64)
    order = np.argsort(v, kind="stable")
    gaps, p = np.diff(v[order]), p[order] / p.sum()
    rows = max(1, _CHUNK // p.size)
    distances: list[npt.NDArray[np.float64]] = []
    for start in range(0, n_sims, rows):
        size = min(rows, n_sims - start)
        drawn = rng.multinomial(n, p, size=size) / n
        other = p if n_reference is None else rng.multinomial(n_reference, p, size=size) / n_reference
        distances.append(np.abs(np.cumsum(drawn - other, axis=1)[:, :-1]) @ gaps)
    return Floor(np.concatenate(distances))


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Distinct n-grams of whitespace tokens over all n-grams, 0 without any; compare at equal n."""
    grams: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        tokens = text.split()
        found = list(zip(*(tokens[i:] for i in range(n)), strict=False))
        grams.update(found)
        total += len(found)
    return len(grams) / total if total else 0.0


def distinct_1(texts: Iterable[str]) -> float:
    """Distinct whitespace tokens over all tokens."""
    return distinct_n(texts, 1)


def shingles(text: str, size: int = 5) -> set[str]:
    """All stretches of `size` characters, case and runs of white space levelled; at least one."""
    flat = " ".join(text.split()).casefold()
    return {flat[i : i + size] for i in range(max(1, len(flat) - size + 1))}


# ── inner parts ───────────────────────────────────────────────────────────────────────────────────


def positive(counts: Counts) -> npt.NDArray[np.int64]:
    """The counts above 0; ValueError if there is none, or one is below 0."""
    c = np.asarray(counts, dtype=np.int64)
    if c.ndim != 1 or (c < 0).any():
        raise ValueError("counts must be a flat vector of whole numbers, none below 0")
    c = c[c > 0]
    if not c.size:
        raise ValueError("counts add up to 0; an estimate needs at least one draw")
    return c


def _check_size(c: npt.NDArray[np.int64], m: int) -> int:
    n = int(c.sum())
    if not 1 <= m <= n:
        raise ValueError(f"cannot take {m} of {n} draws; expected 1 to {n}")
    return n


def singles_and_doubles(c: npt.NDArray[np.int64]) -> tuple[int, int]:
    """f1 and f2: how many values were seen once and twice."""
    return int((c == 1).sum()), int((c == 2).sum())


def _unseen_tail(n: int, a: float) -> float:
    """Σ_{r≥n} (1−a)^{r−n+1}/r = ∫ (1−a) e^{−u} / (n (1 − (1−a) e^{−u/n})) du over u > 0.

    With u = e^x the integrand is analytic and dies off at both ends, where the trapezoid rule is exact to
    rounding at this step.
    """
    if a >= 1:
        return 0.0
    q, step = 1 - a, 0.1
    x = np.arange(min(math.log(n * a), 0.0) - 40.0, 4.5, step)  # falls off like u below u = n·a
    u = np.exp(x)
    return float((q * np.exp(-u) * u / (n * (a - q * np.expm1(-u / n)))).sum() * step)


def _log_choose(n: int, k: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    result: npt.NDArray[np.float64] = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return result


def _likely_draws(n: int, size: int, m: int) -> npt.NDArray[np.int64]:
    """How many of `size` may be among m of n: what lies within 12 standard deviations of the mean."""
    mean = size * m / n
    spread = 12 * math.sqrt(mean * (1 - size / n)) + 20
    low, high = max(1, m - (n - size), math.floor(mean - spread)), min(size, m, math.ceil(mean + spread))
    return np.arange(low, high + 1, dtype=np.int64)


def _pair(p: Probabilities, q: Probabilities) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    a, b = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(
            f"expected two distributions over the same values; found shapes {a.shape} and {b.shape}"
        )
    return a, b


def _kl_rows(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """KL of each row of p (rows, k) from q (k,) or (rows, k)."""
    with np.errstate(divide="ignore"):
        result: npt.NDArray[np.float64] = (xlogy(p, p) - xlogy(p, q)).sum(axis=1)
    return np.maximum(result, 0.0)


def _js_rows(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    middle = (p + q) / 2
    parts = xlogy(p, p) / 2 + xlogy(q, q) / 2 - xlogy(middle, middle)
    result: npt.NDArray[np.float64] = np.maximum(parts.sum(axis=1), 0.0)
    return result
