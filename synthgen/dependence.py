"""Estimators on two-way tables: how much one categorical column tells of another.

Pure numpy and scipy, like `stats.py`. A table holds how often each pair of values was seen; empty rows and
columns are dropped. Mutual information is in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import chi2, gamma, random_table

Table: TypeAlias = npt.NDArray[np.int64]  # (rows, columns)

_N_TABLES = 200  # simulated where the χ² law is not to be trusted
_EXPECTED = 20.0  # smallest expected count at which it is; 2n·MI needs more than the usual 5
_SURE = 1e-6  # a p-value so small is not looked at more closely
_NEAR = 10.0  # times the level: p-values up to here are
_ENOUGH = 5  # random tables with as much information, after which no more are drawn


@dataclass(frozen=True)
class Independence:
    """A table's mutual information beside what tables with the same margins show without any dependence."""

    mutual_information: float
    null_mean: float
    p_value: float
    is_simulated: bool

    @property
    def corrected(self) -> float:
        """Mutual information less its mean under independence, not below 0."""
        return max(0.0, self.mutual_information - self.null_mean)


def crosstab(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Table:
    """Count the pairs of two aligned columns of codes 0, 1, …; empty rows and columns are dropped."""
    width = int(b.max()) + 1
    table = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width)
    return _dense(table)


def mutual_information(table: Table) -> float:
    """Plug-in Σ p̂ij ln(p̂ij / p̂i p̂j), in nats; too large by about (R−1)(C−1)/2n."""
    return float(_information(_dense(table)[None])[0])


def cramers_v(table: Table) -> float:
    """Bias-corrected Cramér's V (Bergsma 2013, eq. 9): 0 without dependence, 1 where one fixes the other."""
    t = _dense(table)
    n, (r, c) = float(t.sum()), t.shape
    if min(r, c) < 2 or n < 2:
        return 0.0
    expected = np.outer(t.sum(axis=1), t.sum(axis=0)) / n
    phi2 = float(((t - expected) ** 2 / expected).sum()) / n
    phi2 = max(0.0, phi2 - (r - 1) * (c - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    smaller = min(rows, columns) - 1
    return min(1.0, float(np.sqrt(phi2 / smaller))) if smaller > 0 else 0.0


def independence(table: Table, rng: np.random.Generator, level: float = 0.05) -> Independence:
    """Test a table for independence by its mutual information.

    2n·MI follows χ² with (R−1)(C−1) degrees of freedom where all expected counts reach 20; elsewhere 200 random
    tables with the same margins give its mean and variance, and a gamma curve through both its tail. Curves are
    least exact far out, where a family of many tests needs them: a p-value within a factor of 10 of `level`, at
    which it will be judged, is replaced by an exact one, from up to 5/level random tables.
    """
    t = _dense(table)
    n, (r, c) = int(t.sum()), t.shape
    found = mutual_information(t)
    if min(r, c) < 2:
        return Independence(found, 0.0, 1.0, is_simulated=False)
    rows, columns = t.sum(axis=1), t.sum(axis=0)
    is_simulated = bool(rows.min() * columns.min() / n < _EXPECTED)
    if is_simulated:
        null = _information(_random_tables(rows, columns, _N_TABLES, rng))
        mean, variance = float(null.mean()), float(null.var(ddof=1))
        if variance <= 1e-18:  # the margins leave no choice
            return Independence(found, min(mean, found), 1.0, is_simulated)
        p_value = float(gamma.sf(found, mean**2 / variance, scale=variance / mean))
    else:
        df = (r - 1) * (c - 1)
        mean, p_value = df / (2 * n), float(chi2.sf(2 * n * found, df))
    if _SURE < p_value < min(0.5, _NEAR * level):
        is_simulated, p_value = True, _exact_p_value(found, rows, columns, level, rng)
    return Independence(found, mean, p_value, is_simulated)


def _exact_p_value(
    found: float,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    level: float,
    rng: np.random.Generator,
) -> float:
    """How often random tables with the same margins have as much information, by Besag & Clifford 1991.

    Ends at the fifth such table, or at 5/level tables: then the share counts the table at hand as one of them.
    """
    most, reached, drawn = math.ceil(_ENOUGH / level), 0, 0
    while drawn < most:
        n_tables = min(_N_TABLES, most - drawn)
        hits = _information(_random_tables(rows, columns, n_tables, rng)) >= found - 1e-12
        if reached + hits.sum() >= _ENOUGH:
            last = int(np.flatnonzero(hits)[_ENOUGH - reached - 1])
            return _ENOUGH / (drawn + last + 1)
        reached += int(hits.sum())
        drawn += n_tables
    return (reached + 1) / (most + 1)


def _random_tables(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], n: int, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(n, rows, columns), each with these margins."""
    return np.asarray(random_table(rows, columns).rvs(n, random_state=rng), dtype=np.float64)


def _information(tables: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mutual information of each of (tables, rows, columns)."""
    t = np.asarray(tables, dtype=np.float64)
    n = float(t[0].sum())
    parts = xlogy(t, t).sum(axis=(1, 2)) + xlogy(n, n)
    for axis in (1, 2):
        margin = t.sum(axis=axis)
        parts -= xlogy(margin, margin).sum(axis=1)
    result: npt.NDArray[np.float64] = np.maximum(parts / n, 0.0)
    return result


def _dense(table: Table) -> Table:
    t = np.asarray(table, dtype=np.int64)
    if t.ndim != 2 or (t < 0).any() or not t.any():
        raise ValueError("expected a two-way table of counts with at least one draw")
    return t[t.any(axis=1)][:, t.any(axis=0)]
