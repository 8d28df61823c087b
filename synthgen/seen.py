"""Which target tuples a model was tuned on: kept beside an adapter's weights, and beside a dataset made with it.

Written by `tuning`, read for the report, which tells what was memorised from what is new. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ADAPTER_FILE = "targets.parquet"  # in an adapter's folder; its parts are prompt fingerprints

Values = tuple[str, ...]  # as texts on the wire, one per field


@dataclass(frozen=True)
class Seen:
    """The distinct tuples of some leading fields, and in how many steps each was a target."""

    fields: tuple[str, ...]
    rows: Mapping[Values, int]

    def values(self, field: str) -> frozenset[str]:
        """The distinct values of a field; none for a field that was not tuned."""
        if field not in self.fields:
            return frozenset()
        at = self.fields.index(field)
        return frozenset(row[at] for row in self.rows)


def write_seen(path: Path, parts: Mapping[str, Seen]) -> None:
    """Write the tuples of each part (a prompt, an adapter) as one Parquet file, atomically.

    Raises:
        OSError: it cannot be written; nothing was changed.
    """
    import polars as pl

    from synthgen.files import write_atomically

    rows = [(name, seen.fields, *row) for name, seen in parts.items() for row in seen.rows.items()]
    texts = pl.List(pl.String)
    frame = pl.DataFrame(
        {
            "part": pl.Series([row[0] for row in rows], dtype=pl.String),
            "fields": pl.Series([list(row[1]) for row in rows], dtype=texts),
            "values": pl.Series([list(row[2]) for row in rows], dtype=texts),
            "steps": pl.Series([row[3] for row in rows], dtype=pl.UInt32),
        }
    )
    write_atomically(path, lambda temporary: frame.write_parquet(temporary, compression="zstd"))


def read_seen(path: Path) -> dict[str, Seen]:
    """What `write_seen` wrote, by part; empty if the file is missing.

    Raises:
        RecipeError: it is something else.
    """
    if not path.exists():
        return {}
    import polars as pl

    from synthgen.errors import RecipeError

    try:
        rows = pl.read_parquet(path).select("part", "fields", "values", "steps").rows()
        found: dict[str, tuple[Values, dict[Values, int]]] = {}
        for part, fields, values, steps in rows:
            found.setdefault(part, (tuple(fields), {}))[1][tuple(values)] = steps
    except (pl.exceptions.PolarsError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise RecipeError(
            f"{path}: expected the target tuples that tuning writes ({first}); remove it, or tune again"
        ) from None
    return {part: Seen(fields, rows) for part, (fields, rows) in found.items()}


def fields_of(parts: Iterable[Seen]) -> tuple[str, ...]:
    """Every field that any of them holds."""
    return tuple(dict.fromkeys(name for seen in parts for name in seen.fields))
