"""What each field's picture shows: at most 120 bars, chosen so that before and after can be compared fairly.

Few or ordered values are shown one bar each, in their own order. Where values are too many to name, the
picture shows ranks: how much of the data the most common value has, the second, and so on, for the same
number of records before and after (with more records, flat tails would look flatter than they are).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synthgen.intervals import share_interval
from synthgen.report.figures import Bar, Chart, FieldInfo
from synthgen.report.tables import NO_VALUE, Tally, as_text, canonical_number
from synthgen.stats import rarefied_sample

MAX_BARS = 120
MAX_NAMED = 24  # values without an order of their own
RANKS = 40


def chart(
    info: FieldInfo,
    after: Tally,
    before: Tally | None,
    target: Mapping[str, float] | None,
    rng: np.random.Generator,
) -> Chart | None:
    """The picture's data; None for free text, where values do not repeat."""
    if info.kind == "text":
        return None
    is_ordered = info.kind in ("number", "date")
    limit = MAX_BARS if is_ordered else MAX_NAMED
    sizes = [after.coverage, len(target or {}), before.coverage if before else 0]
    if max(sizes) <= limit:
        bars = _values(is_ordered, after, before, target)
        if len(bars) <= limit:
            return Chart("values", bars)
    return _ranks(after, before, target, rng)


def _values(
    is_ordered: bool, after: Tally, before: Tally | None, target: Mapping[str, float] | None
) -> tuple[Bar, ...]:
    new, old = _shares(after), _shares(before) if before else {}
    labels = _labels(is_ordered, [new, old], target)
    return tuple(
        Bar(
            v,
            old.get(v, 0.0) if before else None,
            new.get(v, 0.0),
            target.get(v, 0.0) if target else None,
            share_interval(round(old.get(v, 0.0) * before.n), before.n) if before else None,
            share_interval(round(new.get(v, 0.0) * after.n), after.n),
        )
        for v in labels
    )


def _labels(
    is_ordered: bool, tables: Sequence[Mapping[str, float]], target: Mapping[str, float] | None
) -> list[str]:
    """Every value in order: of the scale, of the target, or most frequent in the first table first."""
    found = {label for shares in tables for label in shares}
    if is_ordered:
        return sorted({*found, *(target or {})}, key=_scale)
    return [*(target or {}), *sorted(found - set(target or {}), key=lambda v: (-tables[0].get(v, 0.0), v))]


def charts_beside(
    info: FieldInfo,
    columns: Sequence[Tally | None],
    target: Mapping[str, float] | None,
    n: int,
    rng: np.random.Generator,
) -> tuple[Chart | None, ...]:
    """One picture per table, all with the same bars: values in one order, or ranks of n records each."""
    present = [column for column in columns if column is not None]
    if info.kind == "text" or not present:
        return tuple(None for _ in columns)
    is_ordered = info.kind in ("number", "date")
    limit = MAX_BARS if is_ordered else MAX_NAMED
    if max([len(target or {}), *(column.coverage for column in present)]) <= limit:
        labels = _labels(is_ordered, [_shares(column) for column in present], target)
        if len(labels) <= limit:
            return tuple(None if c is None else _named(labels, c, target) for c in columns)
    n_ranks = min(RANKS, max(column.coverage for column in present))
    return tuple(None if c is None else _ranked(c, target, n, n_ranks, rng) for c in columns)


def _named(labels: Sequence[str], column: Tally, target: Mapping[str, float] | None) -> Chart:
    shares = _shares(column)
    bars = (
        Bar(
            v,
            None,
            shares.get(v, 0.0),
            target.get(v, 0.0) if target else None,
            after_interval=share_interval(round(shares.get(v, 0.0) * column.n), column.n),
        )
        for v in labels
    )
    return Chart("values", tuple(bars))


def _ranked(
    column: Tally, target: Mapping[str, float] | None, n: int, n_ranks: int, rng: np.random.Generator
) -> Chart:
    shares = (rarefied_sample(column.spectrum(), n, rng) / n)[:n_ranks].tolist()
    shares += [0.0] * (n_ranks - len(shares))
    wanted: list[float | None] = sorted((target or {}).values(), reverse=True)[:n_ranks]  # type: ignore[assignment]
    wanted += [None] * (n_ranks - len(wanted))
    bars = (Bar(f"rank {i + 1}", None, shares[i], wanted[i]) for i in range(n_ranks))
    return Chart("ranks", tuple(bars), n)


def _ranks(
    after: Tally, before: Tally | None, target: Mapping[str, float] | None, rng: np.random.Generator
) -> Chart:
    m = min(after.n, before.n) if before else after.n
    new = rarefied_sample(after.spectrum(), m, rng) / m
    old = rarefied_sample(before.spectrum(), m, rng) / m if before else None
    wanted = sorted(target.values(), reverse=True) if target else None

    def at(shares: object, rank: int) -> float:
        assert isinstance(shares, np.ndarray | list)
        return float(shares[rank]) if rank < len(shares) else 0.0

    bars = tuple(
        Bar(
            f"rank {rank + 1}",
            None if old is None else at(old, rank),
            at(new, rank),
            None if wanted is None or rank >= len(wanted) else wanted[rank],
        )
        for rank in range(min(RANKS, max(after.coverage, before.coverage if before else 0)))
    )
    return Chart("ranks", bars, m)


def _shares(column: Tally) -> dict[str, float]:
    texts = as_text(column.values)
    if column.values.dtype.is_numeric():
        texts = [canonical_number(t) for t in texts]
    shares: dict[str, float] = {}
    for text, count in zip(texts, column.counts.tolist(), strict=True):
        shares[text] = shares.get(text, 0.0) + count / column.n
    return dict(sorted(shares.items()))


def _scale(label: str) -> tuple[int, float, str]:
    """Numbers by size, other text (ISO dates) by itself, missing values last."""
    try:
        return (0, float(label), label)
    except ValueError:
        return (2 if label == NO_VALUE else 1, 0.0, label)
