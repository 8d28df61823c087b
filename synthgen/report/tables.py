"""Files and columns → counted values: the only part of the report that reads data.

Everything goes through Polars' lazy scans and its streaming engine, one column at a time: memory grows
with the number of distinct values of one column, not with the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from synthgen.errors import RecipeError, SynthgenError

NO_VALUE = "none"  # how a missing value is written, as on the wire
BASE_TABLE = "base.parquet"
_SUFFIXES = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "JSON lines", ".ndjson": "JSON lines"}


def load_table(paths: Path | str | Sequence[Path | str]) -> pl.LazyFrame:
    """Scan Parquet, CSV or JSONL files, or folders of them, as one table; nothing is read yet.

    In a folder, `rejects/`, `base.parquet` and names that begin with `_` or `.` are left out.

    Raises:
        RecipeError: a path does not exist, a folder holds no table, or the formats are mixed.
    """
    given = [Path(p) for p in ([paths] if isinstance(paths, Path | str) else paths)]
    files = [file for path in given for file in _files(path)]
    formats = {_SUFFIXES[file.suffix.lower()] for file in files}
    if len(formats) != 1:
        raise RecipeError(
            f"{given[0] if given else '.'}: expected tables of one format, found {sorted(formats)}"
        )
    match formats.pop():
        case "Parquet":
            return pl.scan_parquet(files, hive_partitioning=False)
        case "CSV":
            return pl.scan_csv(files, try_parse_dates=True)
        case _:
            return pl.scan_ndjson(files)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(f for f in path.rglob("*") if _is_table(f, path))
        if not found:
            raise RecipeError(
                f"{path}: no .parquet, .csv or .jsonl file in it; give a dataset folder or a file"
            )
        yield from found
    elif not path.exists():
        raise RecipeError(f"{path}: no such file or folder; give a dataset folder or a table file")
    elif path.suffix.lower() not in _SUFFIXES:
        raise RecipeError(
            f"{path}: expected .parquet, .csv, .jsonl or .ndjson, found {path.suffix or 'no suffix'!r}"
        )
    else:
        yield path


def _is_table(file: Path, folder: Path) -> bool:
    parts = file.relative_to(folder).parts
    hidden = any(part.startswith(("_", ".")) for part in parts) or "rejects" in parts[:-1]
    return file.is_file() and file.suffix.lower() in _SUFFIXES and not hidden and file.name != BASE_TABLE


@dataclass(frozen=True)
class Tally:
    """The distinct values of a column and how often each occurs; missing values count as one value."""

    values: pl.Series  # as stored
    counts: npt.NDArray[np.int64]  # aligned with `values`
    n_missing: int

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def coverage(self) -> int:
        """Number of distinct values."""
        return self.counts.size

    def spectrum(self) -> npt.NDArray[np.int64]:
        """The counts alone, largest first: the same for any order of rows."""
        return np.sort(self.counts)[::-1]

    def top(self, k: int) -> list[tuple[str, int]]:
        """The k most frequent values as text, ties in the order of their text."""
        if not self.counts.size:
            return []
        cut = int(np.partition(self.counts, -min(k, self.counts.size))[-min(k, self.counts.size)])
        above, tied = np.flatnonzero(self.counts > cut), np.flatnonzero(self.counts == cut)
        first = [
            (text, int(c))
            for text, c in zip(as_text(self.values.gather(above)), self.counts[above], strict=True)
        ]
        ties = sorted(as_text(self.values.gather(tied)))[: k - len(first)]
        return sorted(first, key=lambda pair: (-pair[1], pair[0])) + [(text, cut) for text in ties]

    def by_text(self) -> dict[str, int]:
        """Every value's text and count."""
        result: dict[str, int] = {}
        for text, count in zip(as_text(self.values), self.counts.tolist(), strict=True):
            result[text] = result.get(text, 0) + count
        return result


def tally(table: pl.LazyFrame, column: str) -> Tally:
    """Count the values of one column, streaming."""
    frame = table.group_by(pl.col(column).alias("value")).agg(pl.len().alias("n")).collect(engine="streaming")
    values = frame["value"]
    missing = frame.filter(pl.col("value").is_null())["n"].sum()
    return Tally(values, frame["n"].cast(pl.Int64).to_numpy(), int(missing))


def as_text(values: pl.Series) -> list[str]:
    """Values as the wire format and the reports write them: yes/no, ISO dates, plain decimals, `none`."""
    dtype = values.dtype
    if dtype == pl.Boolean:
        texts: list[str | None] = [None if v is None else "yes" if v else "no" for v in values.to_list()]
    elif dtype == pl.Datetime:
        texts = values.dt.strftime("%Y-%m-%d %H:%M:%S").str.strip_suffix(":00").to_list()
    elif dtype.is_float():
        texts = [None if v is None else _plain(v) for v in values.to_list()]
    else:
        texts = values.cast(pl.String).to_list()
    return [NO_VALUE if text is None else text for text in texts]


def _plain(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else repr(number)


def canonical_number(text: str) -> str:
    """One spelling per number, so that 7, 7.0 and 7.00 are equal; text that is no number stays as it is."""
    try:
        return format(Decimal(text).normalize(), "f")
    except InvalidOperation:
        return text


def n_rows(table: pl.LazyFrame) -> int:
    """Number of rows.

    Raises:
        SynthgenError: there is none, so that there is nothing to report.
    """
    n = int(table.select(pl.len()).collect(engine="streaming").item())
    if n == 0:
        raise SynthgenError("the table has no rows; expected at least one record to report on")
    return n


def sample_rows(
    table: pl.LazyFrame, columns: Sequence[str], n: int, m: int, rng: np.random.Generator
) -> Mapping[str, list[str]]:
    """The texts of m of n rows, the same for each column, drawn without replacement; gaps are left out."""
    if not columns:
        return {}
    rows = sample_frame(table.select(pl.col(c).cast(pl.String) for c in columns), columns, n, m, rng)
    return {c: rows[c].drop_nulls().to_list() for c in columns}


def sample_frame(
    table: pl.LazyFrame, columns: Sequence[str], n: int, m: int, rng: np.random.Generator
) -> pl.DataFrame:
    """m of n rows, drawn without replacement, in the order of `_id` where the table has it, else of the rows."""
    wanted = [*columns, *(["_id"] if "_id" in table.collect_schema() and "_id" not in columns else [])]
    rows = table.select(wanted).with_row_index("_row")
    if m < n:
        chosen = pl.Series("_row", np.sort(rng.choice(n, size=m, replace=False)).astype(np.uint32))
        rows = rows.filter(pl.col("_row").is_in(chosen.implode()))
    return rows.collect(engine="streaming").sort("_id" if "_id" in wanted else "_row").select(columns)


def text_lengths(table: pl.LazyFrame, columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Mean length of each string column in characters and in whitespace-separated words; 0 if empty."""
    if not columns:
        return {}
    row = table.select(
        *(pl.col(c).cast(pl.String).str.len_chars().mean().alias(f"chars {c}") for c in columns),
        *(pl.col(c).cast(pl.String).str.count_matches(r"\S+").mean().alias(f"words {c}") for c in columns),
    ).collect(engine="streaming")
    return {c: (float(row[f"chars {c}"][0] or 0.0), float(row[f"words {c}"][0] or 0.0)) for c in columns}
