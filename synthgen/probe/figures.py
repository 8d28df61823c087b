"""Draws and P_token → figures: alignment, variability, drift, dependence, distance of the result. numpy and scipy only.

Shapes: n steps, k values; `shares` is (n, k), every row a distribution; `draws` is (n,), indices of values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from synthgen.probe.tasks import Floats
from synthgen.probe.thresholds import FLOOR
from synthgen.stats import Floor, simulate_floors, tv

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
FloorState = Literal["closer than chance", "within noise", "off"]

TEMPERATURES = np.geomspace(0.25, 4.0, 49)  # 1 is among them
LEVEL = 0.95
N_SIMULATED = 1000  # results of an exact sampler behind each floor


@dataclass(frozen=True)
class Estimate:
    """A mean over groups (wordings, or prefixes) with its 95 % interval; no interval where there is only one group."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Result:
    """Mean TV of samples to the task, beside what an exact sampler's samples of the same sizes would show."""

    value: float
    n_draws: int  # in all samples together
    floor_mean: float
    floor_low: float  # 5 % of exact samplers stay at or below this
    floor_high: float  # 95 %

    @property
    def state(self) -> FloorState:
        """Whether noise alone explains it; closer than chance: the draws make up for each other."""
        if self.value < self.floor_low:
            return "closer than chance"
        return "within noise" if self.value <= self.floor_high else "off"


@dataclass(frozen=True)
class Runs:
    """Wald–Wolfowitz runs test, pooled over lists: z below 0 is too few runs (draws stick), above too many."""

    n_runs: int
    expected: float
    z: float
    p_value: float  # two-sided, normal approximation


@dataclass(frozen=True)
class Temperature:
    """The temperature at which tempered P_token would be best aligned, and how well."""

    value: float
    alignment: float


# ── one list ──────────────────────────────────────────────────────────────────────────────────────


def alignment(shares: Floats, target: Floats) -> float:
    """A: mean over the steps of TV(P_token, P_task)."""
    return float(np.abs(shares - target).sum(axis=1).mean() / 2)


def variability(shares: Floats) -> float:
    """V: mean over neighbouring steps of TV(P_token now, P_token before); 0 for a single step."""
    return float(np.abs(np.diff(shares, axis=0)).sum(axis=1).mean() / 2) if len(shares) > 1 else 0.0


def drift(shares: Floats) -> float:
    """TV between the mean P_token of the first half and of the second; 0 for a single step."""
    half = len(shares) // 2
    return tv(shares[:half].mean(axis=0), shares[half:].mean(axis=0)) if half else 0.0


def sharpness(shares: Floats, target: Floats) -> float:
    """Mean entropy of P_token over the task's: 0 for a point mass, 1 for the task's own spread."""
    return float(entropies(shares).mean() / entropies(target[None])[0])


def entropies(shares: Floats) -> Floats:
    """Entropy of each row, in nats, (n,)."""
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=1))


def repeats(draws: Ints) -> tuple[float, float]:
    """How many more neighbours are equal than in a random order of the same draws, and how many more could be.

    Of the n−1 pairs of neighbours Σ c(c−1)/n are equal on average over all orders, c being the values' counts.
    """
    n, counts = len(draws), np.bincount(draws)
    by_chance = float((counts * (counts - 1)).sum() / n)
    return float((draws[1:] == draws[:-1]).sum() - by_chance), n - 1 - by_chance


def autocorrelation(lists: Iterable[Ints]) -> float | None:
    """Lag-1 autocorrelation of values without an order, pooled over lists; None if every list holds one value only.

    1: every draw repeats the one before. 0: no more than by chance. Of two values it is the usual autocorrelation,
    corrected for its bias of about −1/n.
    """
    found = [repeats(draws) for draws in lists]
    possible = sum(most for _, most in found)
    return sum(more for more, _ in found) / possible if possible > 1e-9 else None


def two_groups(target: Floats) -> Bools:
    """Cut the values, in their stated order, where the two parts' chances come closest to half each; (k,)."""
    cut = 1 + int(np.argmin(np.abs(np.cumsum(target)[:-1] - 0.5)))
    return np.asarray(np.arange(len(target)) < cut)


def runs_test(lists: Iterable[tuple[Ints, Bools]]) -> Runs | None:
    """The runs test on lists of draws, each with its values' groups; None where no list shows both groups.

    Of n1 and n2 draws: E = 1 + 2·n1·n2/n, Var = (E−1)(E−2)/(n−1) (Wald & Wolfowitz 1940).
    """
    found, expected, variance = 0, 0.0, 0.0
    for draws, groups in lists:
        sides = groups[draws]
        n, first = len(sides), int(sides.sum())
        if not 0 < first < n:
            continue
        mean = 1 + 2 * first * (n - first) / n
        found += 1 + int((sides[1:] != sides[:-1]).sum())
        expected += mean
        variance += (mean - 1) * (mean - 2) / (n - 1)
    if variance <= 0:
        return None
    z = (found - expected) / math.sqrt(variance)
    return Runs(found, expected, z, float(2 * ndtr(-abs(z))))


# ── several lists ─────────────────────────────────────────────────────────────────────────────────


def mean_over(values: Sequence[tuple[object, float]], low: float = 0.0, high: float = 1.0) -> Estimate:
    """Mean over the groups' own means, with Student's interval: of lists, another wording is what might change it.

    `values` are (group, figure), equally many of every group; the ends are kept within low and high.
    """
    groups: dict[object, list[float]] = {}
    for group, value in values:
        groups.setdefault(group, []).append(value)
    means = np.array([np.mean(group) for group in groups.values()])
    middle = float(means.mean())
    if len(means) < 2:
        return Estimate(middle)
    half = float(stdtrit(len(means) - 1, (1 + LEVEL) / 2) * means.std(ddof=1) / math.sqrt(len(means)))
    return Estimate(middle, max(low, middle - half), min(high, middle + half))


def result(samples: Sequence[tuple[Ints, Floats]], rng: np.random.Generator) -> Result | None:
    """Mean TV of samples, each (counts, target), to their targets; samples without a draw are left out, None if all are."""
    kept = [(counts, target) for counts, target in samples if counts.sum()]
    if not kept:
        return None
    found = [tv(counts / counts.sum(), target) for counts, target in kept]
    simulated = [
        simulate_floors(target, int(counts.sum()), rng, N_SIMULATED).tv.draws for counts, target in kept
    ]
    floor = Floor(np.mean(simulated, axis=0))
    n_draws = int(sum(counts.sum() for counts, _ in kept))
    return Result(
        float(np.mean(found)), n_draws, floor.mean, floor.quantile(FLOOR[0]), floor.quantile(FLOOR[1])
    )


def tempered(shares: Floats, temperature: float) -> Floats:
    """P_token at another temperature: P^(1/τ), renormalised; (n, k). Exact where each value is one token."""
    tempered: Floats = _tempered(shares, np.array([temperature]))[0]
    return tempered


def best_temperature(steps: Sequence[tuple[Floats, Floats]]) -> Temperature:
    """The temperature of least mean A, among `TEMPERATURES`, over lists of (shares, target).

    The prefixes stay those that were drawn at temperature 1.
    """
    gaps = [np.abs(_tempered(shares, TEMPERATURES) - target).sum(axis=-1) for shares, target in steps]
    found = np.mean([gap.mean(axis=-1) / 2 for gap in gaps], axis=0)  # (temperatures,)
    nearest_to_one = np.abs(np.log(TEMPERATURES))
    best = int(np.lexsort((nearest_to_one, found.round(6)))[0])
    return Temperature(float(TEMPERATURES[best]), float(found[best]))


def _tempered(shares: Floats, temperatures: Floats) -> Floats:
    """(n, k) at each temperature, (temperatures, n, k)."""
    logs = np.log(np.maximum(shares, 1e-300)) / temperatures[:, None, None]
    weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
