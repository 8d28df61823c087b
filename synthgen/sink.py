"""Records and rejections → a dataset folder: Parquet shards, rejects, manifest, `_SUCCESS`.

What is finished is final: a shard is written under a temporary name, synced and renamed. What is not finished
is not lost: every completion is first appended to the shard's journal (`.work/`), synced every few seconds,
and replayed when the same command runs again. `_SUCCESS` comes last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import polars as pl

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError, SinkError
from synthgen.plan import Plan
from synthgen.schema import FieldSpec, RecordSchema
from synthgen.validation import Record, Rejection

MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
ROW_GROUP = 122_880
SYNC_EVERY_S = 2.0

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


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` on a temporary name beside `path`, sync the file, rename it, sync the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write pretty JSON atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    write_atomically(path, lambda temporary: void(temporary.write_text(text + "\n", encoding="utf-8")))


def void(_: object) -> None:
    """Drop a value."""


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


def to_frame(records: list[Record], schema: RecordSchema, adapter_column: bool = True) -> pl.DataFrame:
    """Records as a table with the declared types, in the order given."""
    columns = table_schema(schema, adapter_column)
    data: dict[str, list[object]] = {"_id": [record.id for record in records]}
    for spec in (*schema.fields, *schema.derived):
        values = [record.values[spec.name] for record in records]
        if spec.kind == "enum":
            values = [getattr(value, "value", value) for value in values]
        if columns[spec.name] == pl.String():
            values = [None if value is None else str(value) for value in values]
        data[spec.name] = values
    if adapter_column:
        data["_adapter"] = [record.adapter for record in records]
    return pl.DataFrame(data, schema=columns, strict=False)


@dataclass(slots=True)
class Counts:
    """What happened to every attempt: attempted = accepted + rejected, always."""

    attempted: int = 0
    accepted: int = 0
    tokens: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # rejections by reason
    by_adapter: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        """Attempts that gave no record."""
        return self.attempted - self.accepted

    def add(self, outcome: Record | Rejection) -> None:
        """Count one attempt."""
        self.attempted += 1
        self.tokens += outcome.n_tokens
        tally = self.by_adapter.setdefault(outcome.adapter, Counter())
        tally["attempted"] += 1
        if isinstance(outcome, Record):
            self.accepted += 1
            tally["accepted"] += 1
        else:
            self.reasons[outcome.reason] += 1

    def to_json(self) -> dict[str, object]:
        """For the manifest; `merge` reads it back."""
        return {
            "attempted": self.attempted,
            "accepted": self.accepted,
            "tokens": self.tokens,
            "reasons": dict(self.reasons),
            "by_adapter": {name: dict(tally) for name, tally in self.by_adapter.items()},
        }

    def merge(self, other: Mapping[str, object]) -> None:
        """Add counts that `to_json` wrote."""
        self.attempted += int(str(other["attempted"]))
        self.accepted += int(str(other["accepted"]))
        self.tokens += int(str(other["tokens"]))
        reasons, by_adapter = other["reasons"], other["by_adapter"]
        assert isinstance(reasons, dict) and isinstance(by_adapter, dict)
        self.reasons.update(reasons)
        for name, tally in by_adapter.items():
            self.by_adapter.setdefault(name, Counter()).update(tally)


class Shard:
    """One shard being filled: rows and rejections in memory, every completion in the journal first."""

    def __init__(self, ids: range, journal: Path) -> None:
        self.ids = ids
        self.records: dict[int, Record] = {}
        self.rejections: list[Rejection] = []
        self.counts = Counts()
        self._journal = journal
        self._file: IO[bytes] | None = None
        self._synced = time.monotonic()

    def replay(self) -> Iterator[tuple[Completion, int, str]]:
        """Completions that an earlier run journalled, as (completion, attempt, adapter); a torn last line is cut."""
        if not self._journal.exists():
            return
        good = 0
        with self._journal.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    record_id, attempt, adapter, finish, n_tokens, text, detail = json.loads(line)
                except ValueError:
                    break
                good += len(line)
                yield Completion(record_id, text, finish, n_tokens, detail=detail), attempt, adapter
        os.truncate(self._journal, good)

    def journal(self, completion: Completion, attempt: int, adapter: str) -> None:
        """Append one completion; on disk for certain within `SYNC_EVERY_S` of further work, or at `sync`."""
        if self._file is None:
            self._journal.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._journal.open("ab")
        c = completion
        line = [c.id, attempt, adapter, c.finish_reason, c.n_tokens, c.text, c.detail]
        self._file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Put the journal on disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def add(self, outcome: Record | Rejection) -> None:
        """Keep an outcome whose completion is in the journal."""
        self.counts.add(outcome)
        if isinstance(outcome, Record):
            self.records[outcome.id] = outcome
        else:
            self.rejections.append(outcome)

    @property
    def is_full(self) -> bool:
        """Whether every id has its record."""
        return len(self.records) == len(self.ids)

    def close(self, forget: bool) -> None:
        """Close the journal; with `forget` also delete it: the shard is in Parquet now."""
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None
        if forget:
            self._journal.unlink(missing_ok=True)


class Sink:
    """A dataset folder that belongs to one plan; a context manager that holds the folder's lock."""

    def __init__(
        self,
        out: Path,
        plan: Plan,
        schema: RecordSchema,
        identity: Mapping[str, object],
        *,
        adapter_column: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Open or create the folder.

        Args:
            identity: fingerprints (recipe, schema, model, adapters …) that must be equal for a run to go on.

        Raises:
            RecipeError: the folder holds a dataset of another identity, or other people's files.
            SinkError: it cannot be written, or another run holds it.
        """
        self.out, self.plan, self.schema, self.adapter_column = out, plan, schema, adapter_column
        self.identity = {**identity, "plan": plan.fingerprint, "n": plan.n}
        self._lock = _lock(out)
        try:
            if overwrite:
                _clear(out)
            self.manifest = self._load_or_create()
        except BaseException:
            self._lock.close()
            raise
        self.counts = Counts()
        self._open: dict[int, Shard] = {}
        self._done: set[int] = set()
        for number, entry in self.manifest["shards"].items():
            if entry["missing"] == 0 and self._is_intact(entry):
                self._done.add(int(number))
                self.counts.merge(entry["counts"])
        if not self.is_complete:
            (out / SUCCESS).unlink(missing_ok=True)  # of a dataset that was damaged since

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_complete(self) -> bool:
        """Whether every shard is written and the run was declared a success."""
        return (self.out / SUCCESS).exists() and len(self._done) == self.plan.n_shards

    @property
    def n_missing(self) -> int:
        """Records of the plan that are not in the dataset or its journals yet."""
        return self.plan.n - self.counts.accepted

    def shards_to_do(self) -> list[int]:
        """Numbers of the shards that are not final yet."""
        return [number for number in range(self.plan.n_shards) if number not in self._done]

    def shard(self, number: int) -> Shard:
        """The open shard of that number; `replay` it first when the run begins."""
        if number not in self._open:
            journal = self.out / ".work" / f"shard-{number:05d}.jsonl"
            self._open[number] = Shard(self.plan.ids(number), journal)
        return self._open[number]

    def write(self, completion: Completion, outcome: Record | Rejection, *, journal: bool = True) -> None:
        """Take one outcome; a shard that is full is committed at once.

        Raises:
            SinkError: the disk is full or the folder not writable; what was synced stays.
        """
        number = self.plan.shard_of(outcome.id)
        shard = self.shard(number)
        try:
            if journal:
                shard.journal(completion, outcome.attempt, outcome.adapter)
            shard.add(outcome)
            self.counts.add(outcome)
            if shard.is_full:
                self._commit(number)
        except OSError as error:
            raise _cannot_write(self.out, error) from error

    def sync(self) -> None:
        """Put every journal on disk."""
        for shard in self._open.values():
            shard.sync()

    def write_unfinished(self) -> None:
        """Write the shards that lack records too, marked as such; their journals stay, so a later run goes on."""
        for number in sorted(self._open):
            self._commit(number)

    def succeed(self, summary: Mapping[str, object]) -> None:
        """Write the run's summary into the manifest, then `_SUCCESS`; nothing may follow."""
        self.update({"run": dict(summary)})
        write_atomically(self.out / SUCCESS, lambda path: void(path.write_text("")))
        shutil.rmtree(self.out / ".work", ignore_errors=True)

    def update(self, parts: Mapping[str, object]) -> None:
        """Add entries to the manifest and write it."""
        self.manifest |= parts
        write_json(self.out / MANIFEST, self.manifest)

    def close(self) -> None:
        """Sync and close all journals and give the lock back."""
        for shard in self._open.values():
            with suppress(OSError):
                shard.close(forget=False)
        self._open.clear()
        self._lock.close()

    def _part(self, number: int) -> str:
        return f"part-{number:05d}-of-{self.plan.n_shards:05d}.parquet"

    def _commit(self, number: int) -> None:
        shard = self._open[number]
        name = self._part(number)
        records = [shard.records[i] for i in shard.ids if i in shard.records]
        frame = to_frame(records, self.schema, self.adapter_column)
        write_atomically(self.out / name, lambda path: self._write_parquet(frame, path))
        if shard.rejections:
            rejects = self.out / "rejects" / name
            rejects.parent.mkdir(exist_ok=True)
            table = rejects_frame(shard.rejections)
            write_atomically(rejects, lambda path: table.write_parquet(path, compression="zstd"))
        path = self.out / name
        self.manifest["shards"][str(number)] = {
            "file": name,
            "rows": frame.height,
            "missing": len(shard.ids) - frame.height,
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
            "first_id": shard.ids.start,
            "counts": shard.counts.to_json(),
        }
        write_json(self.out / MANIFEST, self.manifest)
        shard.close(forget=shard.is_full)
        if shard.is_full:
            self._done.add(number)
            del self._open[number]

    def _write_parquet(self, frame: pl.DataFrame, path: Path) -> None:
        fields = {
            spec.name: {
                "label": spec.label,
                "description": spec.description,
                "derived": spec in self.schema.derived,
            }
            for spec in (*self.schema.fields, *self.schema.derived)
        }
        metadata = {"synthgen.identity": json.dumps(self.identity), "synthgen.fields": json.dumps(fields)}
        frame.write_parquet(path, compression="zstd", row_group_size=ROW_GROUP, metadata=metadata)

    def _load_or_create(self) -> dict[str, Any]:
        path = self.out / MANIFEST
        if path.exists():
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(k for k, v in self.identity.items() if manifest["identity"].get(k) != v)
            if differing:
                found = ", ".join(
                    f"{k} {manifest['identity'].get(k)!r} → {self.identity[k]!r}" for k in differing
                )
                raise RecipeError(
                    f"{self.out}: holds a dataset made otherwise ({found}); "
                    "choose another --out, or pass --overwrite to replace it"
                )
            return manifest
        if any(self.out.glob("*.parquet")):
            raise RecipeError(
                f"{self.out}: holds Parquet files that are not synthgen's; choose an empty folder"
            )
        manifest = {
            "identity": self.identity,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "shards": {},
        }
        write_json(path, manifest)
        return manifest

    def _is_intact(self, entry: Mapping[str, object]) -> bool:
        path = self.out / str(entry["file"])
        return path.exists() and path.stat().st_size == entry["bytes"] and sha256(path) == entry["sha256"]


def rejects_frame(rejections: list[Rejection]) -> pl.DataFrame:
    """Rejections as a table: raw text, reason and attempt, nothing thrown away."""
    rows = [(r.id, r.attempt, r.adapter, r.stage, r.reason, r.detail, r.text) for r in rejections]
    return pl.DataFrame(rows, schema=REJECT_SCHEMA, orient="row")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(out: Path) -> IO[str]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise _cannot_write(out, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise SinkError(
            f"{out}: another synthgen run is writing here; wait for it or choose another --out"
        ) from None
    return lock


def _clear(out: Path) -> None:
    """Remove what an earlier run of ours wrote; refuse a folder that is not ours."""
    if not (out / MANIFEST).exists():
        if any(p.name != ".lock" for p in out.iterdir()):
            raise RecipeError(
                f"{out}: --overwrite replaces a synthgen dataset, and this folder holds none; choose another"
            )
        return
    for name in (
        SUCCESS,
        MANIFEST,
        "report.json",
        "report.html",
        "README.md",
        "base.parquet",
        "_target.json",
    ):
        (out / name).unlink(missing_ok=True)
    for part in out.glob("part-*-of-*.parquet"):
        part.unlink()
    for folder in ("rejects", ".work"):
        shutil.rmtree(out / folder, ignore_errors=True)


def _cannot_write(out: Path, error: OSError) -> SinkError:
    return SinkError(
        f"{out}: cannot write: {error.strerror or error}; make room or mend the permissions, "
        "then run the same command again to go on"
    )
