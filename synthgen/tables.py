"""A file of targets → columns and weights: CSV, Parquet or JSON lines, read by column names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from synthgen.errors import RecipeError
from synthgen.loading import describe_error
from synthgen.schema import RecordSchema

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read_table(path: Path) -> dict[str, list[object]]:
    """Columns of a table file; a CSV's values stay text, to be read by the schema's types."""
    import polars as pl

    kind = SUFFIXES[path.suffix]
    try:
        if kind == "csv":
            frame = pl.read_csv(path, infer_schema=False)
        else:
            frame = pl.read_parquet(path) if kind == "parquet" else pl.read_ndjson(path)
    except Exception as error:  # polars has many error types; all of them mean the file
        raise RecipeError(f"{path}: cannot be read as {kind}: {describe_error(error)[:200]}") from error
    if not frame.height:
        raise RecipeError(f"{path}: found no rows")
    return {name: frame[name].to_list() for name in frame.columns}


def table_fields(path: Path, schema: RecordSchema, columns: list[str]) -> tuple[str, ...]:
    """The schema's leading fields that are columns; a later field or near miss without them is an error."""
    names: list[str] = []
    for name in schema.names:
        if name not in columns:
            break
        names.append(name)
    rest = schema.names[len(names) :]
    for column in columns:
        close = get_close_matches(column, rest[:1], n=1, cutoff=0.8)
        if close or column in rest:
            raise RecipeError(
                f"{path}: found column {column!r} but none for {rest[0]!r}, which comes first in "
                f"{schema.name}; targets cover the leading fields: name them in `fields`, or add the column"
            )
    if not names:
        raise RecipeError(
            f"{path}: found no column {schema.names[0]!r}; the columns are {', '.join(columns)}"
        )
    return tuple(names)


def read_weights(path: Path, raw: Sequence[object]) -> list[float]:
    """The weight column as numbers from 0 up; RecipeError names the row that is not."""
    weights = []
    for number, value in enumerate(raw, 1):
        try:
            weight = float(str(value))
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            raise RecipeError(
                f"{path}: tuple {number}: found the weight {value!r}; expected a number from 0 up"
            )
        weights.append(weight)
    return weights
