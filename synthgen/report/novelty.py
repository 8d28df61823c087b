"""What stands in the tuples that the model was tuned on, and what is new.

A value that was seen in tuning is no fault where the field is closed; in an open field a high share says that
the model repeats its tuples instead of going on from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from synthgen.report.figures import FieldInfo, Novelty
from synthgen.report.tables import Tally, as_text, canonical_number
from synthgen.report.texts import nearest_similarity

MAX_NEAREST = 500  # texts of either side whose similarity is computed


@dataclass(frozen=True)
class Seen:
    """Tuples of the tuned fields, as texts on the wire; `rows` may hold duplicates."""

    fields: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def values(self, field: str) -> frozenset[str] | None:
        """The distinct values of a tuned field; None for other fields."""
        if field not in self.fields:
            return None
        at = self.fields.index(field)
        return frozenset(row[at] for row in self.rows)


def novelty(column: Tally, info: FieldInfo, seen: Seen | None) -> Novelty | None:
    """Shares of records and of distinct values that were seen in tuning; None for a field not tuned."""
    known = seen.values(info.name) if seen else None
    if known is None:
        return None
    spell = canonical_number if info.kind == "number" else str
    known = frozenset(spell(value) for value in known)
    counts = column.by_text()
    found = [count for value, count in counts.items() if spell(value) in known]
    nearest = None
    if info.kind == "text":
        nearest = nearest_similarity(sorted(counts)[:MAX_NEAREST], sorted(known)[:MAX_NEAREST])
    return Novelty(len(known), sum(found) / column.n, len(found) / len(counts), nearest)


def seen_records(table: pl.LazyFrame, infos: Sequence[FieldInfo], n: int, seen: Seen | None) -> float | None:
    """Share of records whose tuned fields, taken together, are a tuple of tuning."""
    kinds = {info.name: info.kind for info in infos}
    if seen is None or not seen.fields or not set(seen.fields) <= set(kinds):
        return None
    spells = [canonical_number if kinds[name] == "number" else str for name in seen.fields]
    known = {tuple(s(v) for s, v in zip(spells, row, strict=True)) for row in seen.rows}
    groups = table.group_by(list(seen.fields)).agg(pl.len().alias("_n")).collect(engine="streaming")
    columns = [[s(v) for v in as_text(groups[name])] for s, name in zip(spells, seen.fields, strict=True)]
    rows = zip(zip(*columns, strict=True), groups["_n"].to_list(), strict=True)
    return float(sum(count for row, count in rows if row in known) / n)
