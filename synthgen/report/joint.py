"""Columns → dependence between them, and drift along the record order.

Works on a random sample of rows (200,000 at most), so that neither time nor memory grows with the table, and
on few values per column: ordered columns are cut into tenths, of many unordered values the 20 most frequent
are kept and the rest is one value. Free text is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from synthgen.dependence import cramers_v, crosstab, independence
from synthgen.report.figures import FAMILY_LEVEL, Dependence, FieldInfo, Joint
from synthgen.report.tables import as_text, sample_frame

MAX_LEVELS = 50
MAX_FIELDS = 14  # 91 pairs
BLOCKS = 10
N_ROWS = 200_000
_TENTHS, _MOST = "in tenths of the records", "the 20 most frequent values and the rest"

Codes = npt.NDArray[np.int64]


def joint(table: pl.LazyFrame, infos: Sequence[FieldInfo], n: int, rng: np.random.Generator) -> Joint | None:
    """Dependence of every pair of fields, and of every field on the record order; None without fields.

    The record order is that of `_id` where there is one, else of the rows.
    """
    fields = [info for info in infos if info.kind != "text"][:MAX_FIELDS]
    m = min(n, N_ROWS)
    rows = sample_frame(table, [info.name for info in fields], n, m, rng)
    codes: dict[str, Codes] = {}
    grouped: dict[str, str] = {}
    for info in fields:
        levels, how = _levels(rows[info.name], info)
        if levels.max() > 0:
            codes[info.name] = levels
            if how:
                grouped[info.name] = how
    if not codes:
        return None
    pairs = list(combinations(codes, 2))
    blocks = np.arange(m) * BLOCKS // m
    return Joint(
        n=m,
        fields=tuple(codes),
        grouped=grouped,
        pairs=tuple(_dependence(a, b, codes[a], codes[b], len(pairs), rng) for a, b in pairs),
        drift=tuple(_drift(name, values, blocks, len(codes), rng) for name, values in codes.items())
        if m >= BLOCKS * 10
        else (),
    )


def _dependence(a: str, b: str, x: Codes, y: Codes, n_tests: int, rng: np.random.Generator) -> Dependence:
    table = crosstab(x, y)
    test = independence(table, rng, FAMILY_LEVEL / n_tests)
    return Dependence(
        a,
        b,
        mutual_information=test.mutual_information,
        corrected=test.corrected,
        cramers_v=cramers_v(table),
        p_value=test.p_value,
        is_simulated=test.is_simulated,
        n_tests=n_tests,
    )


def _drift(name: str, values: Codes, blocks: Codes, n_tests: int, rng: np.random.Generator) -> Dependence:
    from dataclasses import replace

    table = crosstab(blocks, values)
    whole = table.sum(axis=0) / table.sum()
    distances = np.abs(table / table.sum(axis=1, keepdims=True) - whole).sum(axis=1) / 2
    worst = int(distances.argmax())
    found = _dependence(name, "", blocks, values, n_tests, rng)
    return replace(found, worst_block=worst + 1, worst_tv=float(distances[worst]))


def _levels(column: pl.Series, info: FieldInfo) -> tuple[Codes, str]:
    """Few values as codes 0, 1, …, and how they were made few (empty: one code per value)."""
    if info.kind in ("number", "date") and column.n_unique() > MAX_LEVELS and _is_ordered(column.dtype):
        places = column.to_physical().cast(pl.Float64).to_numpy()
        edges = np.unique(np.nanquantile(places, np.arange(1, 10) / 10))
        tenths = np.searchsorted(edges, places, side="right")
        return np.where(np.isnan(places), len(edges) + 1, tenths).astype(np.int64), _TENTHS
    texts = np.array(as_text(column), dtype=object)
    values, codes, counts = np.unique(texts.astype(str), return_inverse=True, return_counts=True)
    if len(values) <= MAX_LEVELS:
        return codes.astype(np.int64), ""
    most = np.argsort(-counts, kind="stable")[:20]
    few = np.full(len(values), 20, dtype=np.int64)
    few[most] = np.arange(20)
    return few[codes], _MOST


def _is_ordered(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype.is_temporal()
