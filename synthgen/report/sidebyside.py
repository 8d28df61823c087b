"""Several tables of the same record → one comparison: each field at the same number of records, table by table.

Sits beside `facts.py`: every table has its own Facts, and here are only the figures that depend on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from synthgen import stats
from synthgen.report.facts import compute
from synthgen.report.figures import Facts, FieldInfo, TargetFacts, written
from synthgen.report.tables import n_rows, tally


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
        cells = [_cell(tables[t], f, name, n) for t, f in facts.items()]
        rows.append(Row(name, label, tuple(cells)))
    return SideBySide(facts, n, tuple(rows))


def _cell(table: pl.LazyFrame, facts: Facts, name: str, n: int) -> Cell | None:
    found = next((entry for entry in facts.fields if entry.info.name == name), None)
    if found is None:
        return None
    counts = tally(table, name).spectrum()
    return Cell(stats.coverage_rarefied(counts, n), stats.entropy_rarefied(counts, n), found.target)


def _worst(facts: Facts) -> str:
    worst = facts.fields[0]
    if worst.target is None:
        return f"{worst.info.label} (no target)"
    return f"{worst.info.label} (TV {written(worst.target.tv.value)})"
