"""Records and rejections → Parquet, with the types the schema declares. Between validation and sink.

A shard is written by whoever has its rows: the sink of this process, or a worker that has no sink.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import polars as pl

from synthgen.files import sha256, write_atomically, writing
from synthgen.schema import FieldSpec, RecordSchema
from synthgen.validation import Record, Rejection

ROW_GROUP = 122_880
_TEXT = {str, type(None)}  # what a column of strings takes as it is

REJECT_SCHEMA = pl.Schema(
    {
        "_id": pl.Int64(),
        "_attempt": pl.Int32(),
        "_adapter": pl.String(),
        "stage": pl.String(),
        "reason": pl.String(),
        "detail": pl.String(),
        "text": pl.String(),
    }
)


class ShardEntry(TypedDict):
    """What the manifest says of one shard."""

    file: str
    rows: int
    missing: int  # records of the plan that the shard lacks; 0: final
    bytes: int
    sha256: str
    first_id: int
    rejects: int  # rows of the file of the same name in rejects/; 0: there is none
    counts: dict[str, object]  # as `Counts.to_json` writes them


def shard_name(number: int) -> str:
    """The file of a shard; the number of shards is no part of it, so a dataset can grow."""
    return f"part-{number:05d}.parquet"


def write_shard(
    out: Path,
    number: int,
    ids: range,
    rows: pl.DataFrame,
    rejects: pl.DataFrame,
    counts: Mapping[str, object],
    metadata: Mapping[str, str],
) -> ShardEntry:
    """Write one shard and its rejects into `out`, each atomically, and return its entry for the manifest.

    Needs no sink and takes no lock: a worker of a run that holds the folder's lock may call it.

    Args:
        ids: the record ids that the plan gives the shard.
        rows: records as `to_frame` makes them, in id order; fewer than `ids` makes an unfinished shard.
        rejects: as `rejects_frame` makes them; may be empty.
        counts: `Counts.to_json()` of the shard's attempts.
        metadata: `file_metadata(…)`, stored in the Parquet file.

    Raises:
        SinkError: it cannot be written; nothing was changed, or only the rejects.
    """
    name = shard_name(number)
    path, rejects_path = out / name, out / "rejects" / name
    with writing(out):
        if rejects.height:
            rejects_path.parent.mkdir(exist_ok=True)
            write_table(rejects, rejects_path)
        else:
            rejects_path.unlink(missing_ok=True)  # of an earlier shard of this number
        write_table(rows, path, metadata)
        return ShardEntry(
            file=name,
            rows=rows.height,
            missing=len(ids) - rows.height,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            first_id=ids.start,
            rejects=rejects.height,
            counts=dict(counts),
        )


def write_table(table: pl.DataFrame, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table as Parquet, atomically.

    Raises:
        OSError: it cannot be written; nothing was changed.
    """

    def write(temporary: Path) -> None:
        table.write_parquet(
            temporary, compression="zstd", row_group_size=ROW_GROUP, metadata=dict(metadata or {})
        )

    try:
        write_atomically(path, write)
    except pl.exceptions.PolarsError as error:
        number = re.search(
            r"\(os error (\d+)\)", str(error)
        )  # Polars hides a full disk in an error of its own
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def is_intact(out: Path, entry: ShardEntry) -> bool:
    """Whether a shard's file is there, byte for byte as it was written."""
    path = out / entry["file"]
    try:
        return path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]
    except OSError:
        return False


def file_metadata(schema: RecordSchema, identity: Mapping[str, object]) -> dict[str, str]:
    """What every shard says about itself: the fingerprints of its making, and its fields' labels."""
    fields = {
        spec.name: {
            "label": spec.label,
            "description": spec.description,
            "derived": spec in schema.derived,
        }
        for spec in (*schema.fields, *schema.derived)
    }
    return {"synthgen.identity": json.dumps(dict(identity)), "synthgen.fields": json.dumps(fields)}


def column_type(spec: FieldSpec) -> pl.DataType:
    """The column type a field has in every shard, whatever its values turn out to be."""
    match spec.kind:
        case "int":
            return pl.Int64()
        case "float":
            return pl.Float64()
        case "bool":
            return pl.Boolean()
        case "date":
            return pl.Date()
        case "datetime":
            return pl.Datetime("us")
        case "decimal":
            return pl.Decimal(38, 9 if spec.decimal_places is None else spec.decimal_places)
        case "literal" | "enum" if spec.support and all(
            type(v) is int for v in spec.support if v is not None
        ):
            return pl.Int64()
        case _:
            return pl.String()


def table_schema(schema: RecordSchema, adapter_column: bool) -> pl.Schema:
    """Column names and types of a dataset, from the declaration alone."""
    columns: dict[str, pl.DataType] = {"_id": pl.Int64()}
    columns |= {spec.name: column_type(spec) for spec in (*schema.fields, *schema.derived)}
    if adapter_column:
        columns["_adapter"] = pl.String()
    return pl.Schema(columns)


class Columns:
    """Records on their way into a table: their values in lists, one per column, and no record kept as an object."""

    def __init__(self, schema: RecordSchema, adapter_column: bool = True) -> None:
        self._specs, self._types = (*schema.fields, *schema.derived), table_schema(schema, adapter_column)
        self._has_adapter = adapter_column
        self._clear()

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, record: Record) -> None:
        """Take a record's values."""
        self._ids.append(record.id)
        if self._has_adapter:
            self._adapters.append(record.adapter)
        values = record.values
        for name, column in self._values:
            column.append(values[name])

    def take(self) -> pl.DataFrame:
        """The records so far as a table with the declared types, in their order; they are forgotten here."""
        data: dict[str, list[object]] = {"_id": self._ids}
        for spec, (name, values) in zip(self._specs, self._values, strict=True):
            if spec.kind == "enum":
                values = [getattr(value, "value", value) for value in values]
            if self._types[name] == pl.String() and not set(map(type, values)) <= _TEXT:
                values = [v if type(v) is str or v is None else str(v) for v in values]
            data[name] = values
        if self._has_adapter:
            data["_adapter"] = self._adapters
        self._clear()
        return pl.DataFrame(data, schema=self._types, strict=False)

    def _clear(self) -> None:
        self._ids: list[object] = []
        self._adapters: list[object] = []
        self._values: list[tuple[str, list[object]]] = [(spec.name, []) for spec in self._specs]


def to_frame(records: Iterable[Record], schema: RecordSchema, adapter_column: bool = True) -> pl.DataFrame:
    """Records as a table with the declared types, in the order given."""
    columns = Columns(schema, adapter_column)
    for record in records:
        columns.add(record)
    return columns.take()


def rejects_frame(rejections: Sequence[Rejection]) -> pl.DataFrame:
    """Rejections as a table: raw text, reason and attempt, nothing thrown away."""
    rows = [(r.id, r.attempt, r.adapter, r.stage, r.reason, r.detail, r.text) for r in rejections]
    return pl.DataFrame(rows, schema=REJECT_SCHEMA, orient="row")
