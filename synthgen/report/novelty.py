"""What stands in the tuples that the model was tuned on, and what is new.

A value that was seen in tuning is no fault where the field is closed; in an open field a high share says that
the model repeats its tuples instead of going on from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from synthgen.report.figures import FieldInfo, Novelty
from synthgen.report.tables import Tally, as_text, canonical_number, tally
from synthgen.report.texts import nearest
from synthgen.seen import Seen, fields_of

MAX_NEAREST = 500  # texts whose nearest tuned text is looked for
MAX_OTHERS = 20_000  # tuned texts that it is looked for among
_CHUNK = 100_000  # values written as text at a time


def novelty(column: Tally, info: FieldInfo, seen: Sequence[Seen], rng: np.random.Generator) -> Novelty | None:
    """Shares of records and of distinct values that were seen in tuning; None for a field not tuned."""
    if info.name not in fields_of(seen):
        return None
    known = _known(info, seen)
    found = _texts_of(column, info, known)
    n_found = sum(int(column.counts[i]) for at in found.values() for i in at)
    alike = _nearest(column, sorted(known), rng) if info.kind == "text" else (None, None)
    return Novelty(len(known), n_found / column.n, sum(map(len, found.values())) / column.coverage, *alike)


def seen_records(
    table: pl.LazyFrame, infos: Sequence[FieldInfo], n: int, seen: Sequence[Seen]
) -> float | None:
    """Share of records whose tuned fields, taken together, are a tuple of tuning; None if that is unknown."""
    kinds = {info.name: info for info in infos}
    usable = [part for part in seen if part.fields and set(part.fields) <= set(kinds)]
    if not usable:
        return None
    names = list(fields_of(usable))
    rows, marks = table.select(names), []
    columns = {name: tally(table, name) for name in names}
    for i, part in enumerate(usable):
        marks.append(f"_seen {i}")
        known = _typed(part, kinds, columns).with_columns(pl.lit(value=True).alias(marks[-1]))
        rows = rows.join(known.lazy(), on=list(part.fields), how="left", nulls_equal=True)
    hit = pl.any_horizontal(pl.col(mark).fill_null(value=False) for mark in marks)
    return float(rows.select(hit.sum()).collect(engine="streaming").item() / n)


def _known(info: FieldInfo, seen: Sequence[Seen]) -> frozenset[str]:
    """A field's distinct tuned values, spelled as the report spells them."""
    values = frozenset().union(*(part.values(info.name) for part in seen))
    return frozenset(canonical_number(v) for v in values) if info.kind == "number" else values


def _texts_of(column: Tally, info: FieldInfo, known: frozenset[str]) -> dict[str, list[int]]:
    """Where in the column each known text stands; texts that it lacks are left out."""
    found: dict[str, list[int]] = {}
    for start in range(0, column.coverage, _CHUNK):
        for i, text in enumerate(as_text(column.values.slice(start, _CHUNK)), start=start):
            spelled = canonical_number(text) if info.kind == "number" else text
            if spelled in known:
                found.setdefault(spelled, []).append(i)
    return found


def _typed(part: Seen, kinds: dict[str, FieldInfo], columns: dict[str, Tally]) -> pl.DataFrame:
    """Tuned tuples as the table's own values; those with a value that no record has are left out."""
    places = [_texts_of(columns[name], kinds[name], _known(kinds[name], [part])) for name in part.fields]
    spells = [canonical_number if kinds[name].kind == "number" else str for name in part.fields]
    rows = {tuple(spell(v) for spell, v in zip(spells, values, strict=True)) for values in part.rows}
    held = [row for row in rows if all(v in at for v, at in zip(row, places, strict=True))]
    return pl.DataFrame(
        {
            name: columns[name].values.gather([places[i][row[i]][0] for row in held])
            for i, name in enumerate(part.fields)
        }
    )


def _nearest(
    column: Tally, known: Sequence[str], rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """Mean likeness of distinct texts to the most alike tuned one, and of tuned texts to each other."""
    if not known:
        return None, None
    others = [known[i] for i in rng.permutation(len(known))[:MAX_OTHERS]]
    chosen = rng.permutation(column.coverage)[:MAX_NEAREST]
    texts = as_text(column.values.gather(np.sort(chosen).tolist()))
    among = nearest(others[:MAX_NEAREST], others, own=True) if len(others) > 1 else None
    return float(nearest(texts, others).mean()), None if among is None else float(among.mean())
