"""Pairs of columns and their declared joint distribution → the distance of each, beside what noise alone gives.

Works on a random sample of rows (200,000 at most) and on few values per column: in a table of many cells noise
would hide everything. The groups follow from the target alone, so the data cannot choose them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from synthgen import stats
from synthgen.report.comparison import beside, n_simulations, place_of
from synthgen.report.figures import FieldInfo, PairTarget, PairTargets
from synthgen.report.joint import MAX_FIELDS, N_ROWS
from synthgen.report.tables import as_text, canonical_number, sample_frame
from synthgen.together import Together

MOST_GROUPS = 12  # fields of up to so many values keep them
_FIFTHS, _MOST = "in fifths of the target", "the nine most frequent of the target and the rest"

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Grouping:
    """A field's values → few groups; a value outside the target has the last one."""

    of: Mapping[str, int]
    n: int  # groups, the one outside included
    how: str  # empty: one group per value

    def codes(self, texts: Sequence[str], info: FieldInfo) -> Codes:
        spelled = _spelled(texts, info)
        return np.fromiter((self.of.get(t, self.n - 1) for t in spelled), dtype=np.int64, count=len(texts))


def pair_targets(
    table: pl.LazyFrame,
    base: pl.DataFrame | None,
    infos: Sequence[FieldInfo],
    n: int,
    together: Together | None,
    rng: np.random.Generator,
) -> PairTargets | None:
    """The distance of each pair of fields to its declared joint distribution; None where none is declared."""
    known = set(together.fields) if together else set()
    fields = [info for info in infos if info.name in known and info.kind != "text"][:MAX_FIELDS]
    if together is None or len(fields) < 2:
        return None
    m, names = min(n, N_ROWS), [info.name for info in fields]
    rows = sample_frame(table, names, n, m, rng)
    has_base = base is not None and base.height and set(names) <= set(base.columns)
    old_rows = base.select(names) if base is not None and has_base else None
    groups = {info.name: _grouping(together.of([info.name]), info) for info in fields}
    new = {info.name: groups[info.name].codes(as_text(rows[info.name]), info) for info in fields}
    old = None
    if old_rows is not None:
        old = {info.name: groups[info.name].codes(as_text(old_rows[info.name]), info) for info in fields}
    n_tests = len(fields) * (len(fields) - 1) // 2
    found = []
    for a, b in combinations(fields, 2):
        x, y = groups[a.name], groups[b.name]
        target = _declared(together, a, b, x, y)
        shares = _shares(new[a.name], new[b.name], x, y)
        floor = stats.simulate_floors(target, m, rng, n_simulations(target.size, n_tests), together.draws).tv
        tv = stats.tv(shares, target)
        before = None if old is None else stats.tv(_shares(old[a.name], old[b.name], x, y), target)
        k = int((target > 0).sum())
        found.append(PairTarget(a.name, b.name, k, beside(tv, floor, n_tests), before, floor.p_value(tv)))
    return PairTargets(
        n=m,
        n_reference=together.draws,
        fields=tuple(names),
        grouped={name: grouping.how for name, grouping in groups.items() if grouping.how},
        pairs=tuple(sorted(found, key=lambda pair: -pair.tv.excess)),
    )


def _grouping(shares: Mapping[tuple[str, ...], float], info: FieldInfo) -> _Grouping:
    marginal: dict[str, float] = {}
    for (text,), share in shares.items():
        spelled = _spelled([text], info)[0]
        marginal[spelled] = marginal.get(spelled, 0.0) + share
    if len(marginal) <= MOST_GROUPS:
        return _Grouping({text: i for i, text in enumerate(marginal)}, len(marginal) + 1, "")
    if info.kind in ("number", "date"):
        try:
            ordered = sorted(marginal, key=place_of)
        except ValueError:  # a value without a place on the scale
            ordered = []
        if ordered:
            mass = np.array([marginal[text] for text in ordered])
            middle = (np.cumsum(mass) - mass / 2) / mass.sum()
            fifths = np.minimum(4, (5 * middle).astype(int)).tolist()
            return _Grouping(dict(zip(ordered, fifths, strict=True)), 6, _FIFTHS)
    most = sorted(marginal, key=lambda text: (-marginal[text], text))[:9]
    of = dict.fromkeys(marginal, 9) | {text: i for i, text in enumerate(most)}
    return _Grouping(of, 11, _MOST)


def _declared(
    together: Together, a: FieldInfo, b: FieldInfo, x: _Grouping, y: _Grouping
) -> npt.NDArray[np.float64]:
    cells = np.zeros((x.n, y.n))
    for (u, v), share in together.of((a.name, b.name)).items():
        cells[x.of[_spelled([u], a)[0]], y.of[_spelled([v], b)[0]]] += share
    declared: npt.NDArray[np.float64] = cells.ravel() / cells.sum()
    return declared


def _shares(u: Codes, v: Codes, x: _Grouping, y: _Grouping) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.bincount(u * y.n + v, minlength=x.n * y.n) / len(u)
    return shares


def _spelled(texts: Sequence[str], info: FieldInfo) -> Sequence[str]:
    return [canonical_number(text) for text in texts] if info.kind == "number" else texts
