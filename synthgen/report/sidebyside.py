"""Several tables of the same record → one comparison: each field at the same number of records, table by table.

Sits beside `facts.py`: every table has its own Facts, and here are only the figures that depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from synthgen import stats
from synthgen.report.charts import charts_beside
from synthgen.report.facts import compute
from synthgen.report.figures import Chart, Facts, FieldFacts, FieldInfo, TargetFacts, written
from synthgen.report.tables import Tally, canonical_number, n_rows, tally


@dataclass(frozen=True)
class Cell:
    """One field of one table."""

    coverage: float  # at the common number of records
    entropy: float  # plug-in, nats, at the same number
    target: TargetFacts | None  # at the table's own size


@dataclass(frozen=True)
class Row:
    """One field, in every table; None where a table does not have it."""

    name: str
    label: str
    cells: tuple[Cell | None, ...]
    charts: tuple[Chart | None, ...]  # with the same bars


@dataclass(frozen=True)
class SideBySide:
    """Tables by name, and their fields at equal n; the first table's order of fields, worst first."""

    tables: dict[str, Facts]
    n: int  # records that coverage and entropy are computed at
    rows: tuple[Row, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The tables' names, as given."""
        return tuple(self.tables)

    @property
    def headline(self) -> str:
        """What is compared, and each table's worst field."""
        worst = [f"{name}: {_worst(facts)}" for name, facts in self.tables.items()]
        return f"{len(self.tables)} tables at {self.n:,} records each; worst field of {', '.join(worst)}"

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types: every table's own report, and the figures at equal n."""
        fields = {
            row.name: {
                name: None if cell is None else {"coverage": cell.coverage, "entropy": cell.entropy}
                for name, cell in zip(self.names, row.cells, strict=True)
            }
            for row in self.rows
        }
        return {
            "headline": self.headline,
            "n": self.n,
            "at_equal_n": fields,
            "tables": {name: facts.to_dict() for name, facts in self.tables.items()},
        }


def side_by_side(
    tables: Mapping[str, pl.LazyFrame],
    fields: Sequence[FieldInfo] | None = None,
    reference: Mapping[str, Mapping[str, float]] | None = None,
    reference_draws: Mapping[str, int] | None = None,
    seed: int = 0,
) -> SideBySide:
    """Measure each table, and all of them at the size of the smallest.

    Raises:
        RecipeError, SynthgenError: as `compute`, for any of the tables.
    """
    facts = {}
    for name, table in tables.items():
        columns = set(table.collect_schema())
        infos = None if fields is None else [info for info in fields if info.name in columns]
        declared = {field: values for field, values in (reference or {}).items() if field in columns}
        facts[name] = compute(
            table, fields=infos, reference=declared, reference_draws=reference_draws, seed=seed
        )
    n = min(n_rows(table) for table in tables.values())
    order = {entry.info.name: entry.info.label for f in facts.values() for entry in f.fields}
    rows = []
    for name, label in order.items():
        entries = [next((e for e in f.fields if e.info.name == name), None) for f in facts.values()]
        tallies = [
            None if entry is None else tally(table, name)
            for table, entry in zip(tables.values(), entries, strict=True)
        ]
        cells = [_cell(column, entry, n) for column, entry in zip(tallies, entries, strict=True)]
        info = next(entry.info for entry in entries if entry is not None)
        target = (reference or {}).get(name) if any(e and e.target for e in entries) else None
        charts = charts_beside(info, tallies, _spelled(target, info), n, np.random.default_rng([seed, 4]))
        rows.append(Row(name, label, tuple(cells), charts))
    return SideBySide(facts, n, tuple(rows))


def _cell(column: Tally | None, entry: FieldFacts | None, n: int) -> Cell | None:
    if column is None or entry is None:
        return None
    counts = column.spectrum()
    return Cell(stats.coverage_rarefied(counts, n), stats.entropy_rarefied(counts, n), entry.target)


def _spelled(declared: Mapping[str, float] | None, info: FieldInfo) -> Mapping[str, float] | None:
    """A declared distribution with its values spelled as the charts spell them."""
    if declared is None or info.kind != "number":
        return declared
    return {canonical_number(text): p for text, p in declared.items()}


def _worst(facts: Facts) -> str:
    worst = facts.fields[0]
    if worst.target is None:
        return f"{worst.info.label} (no target)"
    return f"{worst.info.label} (TV {written(worst.target.tv.value)})"
