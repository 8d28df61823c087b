"""Rejected attempts → what they were: by adapter, by reason, and by the value that the model had written.

Rejection is a filter: where it takes one value more often than the others, the accepted records are biased, however
well the adapter was tuned. What a quota refuses is no fault, and counts as a sound attempt there. Reads the rejects'
Parquet in streams; the accepted side is counted by the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import binomtest, fisher_exact

from synthgen.quota import QUOTA, is_quota
from synthgen.report.reliability import AdapterAttempts, FieldRejects, RejectFacts, ValueRejects
from synthgen.report.tables import canonical_number, tally

MOST_VALUES = 250  # of a field that is looked at value by value
_GROUP = r"\{([^{}\n]*)\}"
_EDGES = " \t\"'`“”‘’«»„"


def reject_facts(
    data: pl.LazyFrame,
    rejects: Sequence[Path],
    attempts: Mapping[str, tuple[int, int]],
    positions: Mapping[str, int],
    declared: Mapping[str, Sequence[str]],
) -> RejectFacts | None:
    """Who was rejected, and whether that moved a declared field; None without a rejection.

    Args:
        data: the accepted records.
        rejects: Parquet files as the sink writes them.
        attempts: (attempted, accepted) by adapter.
        positions: place of each declared field in an answer, from 0.
        declared: values with a declared probability, as text on the wire, by field; derived fields and those with
            more than `MOST_VALUES` values are left out.
    """
    if not rejects:
        return None
    table = pl.scan_parquet(list(rejects))
    reasons = _count(table.select(pl.col("_adapter"), pl.col("reason")))
    is_full = pl.col("reason").str.starts_with(QUOTA)
    fields = [
        _by_value(data, table.filter(~is_full), table.filter(is_full), name, positions[name], values)
        for name, values in declared.items()
        if name in positions and len(values) <= MOST_VALUES
    ]
    n_by_attempt = {attempt: n for (attempt,), n in _count(table.select(pl.col("_attempt"))).items()}
    return RejectFacts(
        adapters=tuple(
            AdapterAttempts(
                name, attempted, accepted, {r: n for (a, r), n in sorted(reasons.items()) if a == name}
            )
            for name, (attempted, accepted) in attempts.items()
        ),
        fields=_holm(fields),
        n_refilled=n_by_attempt.get(0, 0),
        most_attempts=2 + max(n_by_attempt, default=-1),
        quota=_by_field(reasons),
    )


def _by_field(reasons: Mapping[tuple[Any, ...], int]) -> dict[str, int]:
    """How many answers each field's quota refused, over all adapters; the most first."""
    found: Counter[str] = Counter()
    for (_, reason), n in reasons.items():
        if is_quota(reason):
            found[reason.removeprefix(QUOTA)] += n
    return dict(found.most_common())


def _count(table: pl.LazyFrame) -> dict[tuple[Any, ...], int]:
    """How often each row occurs."""
    counted = table.group_by(pl.all()).agg(pl.len().alias("n")).collect(engine="streaming")
    return {tuple(row[:-1]): int(row[-1]) for row in counted.iter_rows()}


def _by_value(
    data: pl.LazyFrame,
    faulty: pl.LazyFrame,
    full: pl.LazyFrame,
    name: str,
    position: int,
    values: Sequence[str],
) -> FieldRejects:
    """Attempts and rejections of one field's values, as far as the rejected texts show one; `full` are sound."""
    accepted = {_spelled(text): 0 for text in values}
    for text, n in tally(data, name).by_text().items():
        accepted[_spelled(text)] = accepted.get(_spelled(text), 0) + n
    written = pl.col("text").str.extract_all(_GROUP).list.get(position, null_on_oob=True)
    rejected = dict.fromkeys(accepted, 0)
    n_unknown = 0
    shown = written.str.strip_chars("{}" + _EDGES).alias("value")
    for (text,), n in _count(full.select(shown)).items():
        key = None if text is None else _spelled(str(text))
        if key in accepted:
            accepted[key] += n
    for (text,), n in _count(faulty.select(shown)).items():
        key = None if text is None else _spelled(str(text))
        if key in rejected:
            rejected[key] += n
        else:
            n_unknown += n
    labels = {_spelled(text): text for text in values}
    total_accepted, total_rejected = sum(accepted.values()), sum(rejected.values())
    found = []
    for key, n_accepted in accepted.items():
        n_rejected = rejected[key]
        if n_accepted + n_rejected:
            others = [total_rejected - n_rejected, total_accepted - n_accepted]
            low, high = binomtest(n_rejected, n_accepted + n_rejected).proportion_ci(0.95, "wilson")
            found.append(
                ValueRejects(
                    labels.get(key, key),
                    n_accepted + n_rejected,
                    n_rejected,
                    (float(low), float(high)),
                    float(fisher_exact([[n_rejected, n_accepted], others])[1]),
                )
            )
    return FieldRejects(name, total_accepted + total_rejected, total_rejected, n_unknown, tuple(found))


def _spelled(text: str) -> str:
    """One spelling per value: case and the many ways to write a number put aside."""
    return canonical_number(text.casefold())


def _holm(fields: Sequence[FieldRejects]) -> tuple[FieldRejects, ...]:
    """The same with p-values adjusted for the number of all values tested (Holm 1979)."""
    p = np.array([value.p_value for entry in fields for value in entry.values])
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    rest = iter(adjusted.tolist())
    return tuple(
        FieldRejects(
            entry.field,
            entry.attempted,
            entry.rejected,
            entry.n_unknown,
            tuple(
                ValueRejects(v.value, v.attempted, v.rejected, v.interval, next(rest)) for v in entry.values
            ),
        )
        for entry in fields
    )
