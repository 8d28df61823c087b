"""Estimators on two-way tables: how much one categorical column tells of another.

Pure numpy and scipy, like `stats.py`. A table holds how often each pair of values was seen; empty rows and
columns are dropped. Mutual information is in nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import chi2, gamma, random_table

Table: TypeAlias = npt.NDArray[np.int64]  # (rows, columns)

_N_TABLES = 200  # simulated where the χ² law is not to be trusted
_EXPECTED = 20.0  # smallest expected count at which it is; 2n·MI needs more than the usual 5


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


def independence(table: Table, rng: np.random.Generator) -> Independence:
    """Test a table for independence by its mutual information.

    2n·MI follows χ² with (R−1)(C−1) degrees of freedom where all expected counts reach 20; elsewhere 200 random
    tables with the same margins give its mean and variance, and a gamma curve through both its tail.
    """
    t = _dense(table)
    n, (r, c) = int(t.sum()), t.shape
    found = mutual_information(t)
    if min(r, c) < 2:
        return Independence(found, 0.0, 1.0, is_simulated=False)
    rows, columns = t.sum(axis=1), t.sum(axis=0)
    if rows.min() * columns.min() / n >= _EXPECTED:
        df = (r - 1) * (c - 1)
        return Independence(found, df / (2 * n), float(chi2.sf(2 * n * found, df)), is_simulated=False)
    drawn = random_table(rows, columns).rvs(_N_TABLES, random_state=rng)
    null = _information(np.asarray(drawn))
    mean, variance = float(null.mean()), float(null.var(ddof=1))
    if variance <= 1e-18:  # the margins leave no choice
        return Independence(found, min(mean, found), 1.0, is_simulated=True)
    p_value = float(gamma.sf(found, mean**2 / variance, scale=variance / mean))
    return Independence(found, mean, p_value, is_simulated=True)


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
