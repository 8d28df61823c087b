"""One shard while it is being filled: its journal, its rows, its counts. Between validation and sink.

Needs no sink: a worker may fill a shard alone, and hand its manifest entry to the sink of another process.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from pathlib import Path
from typing import BinaryIO

import polars as pl

from synthgen.engines.protocol import Completion
from synthgen.errors import SinkError
from synthgen.files import writing
from synthgen.parquet import (
    REJECT_SCHEMA,
    Columns,
    ShardEntry,
    rejects_frame,
    table_schema,
    write_shard,
)
from synthgen.schema import RecordSchema
from synthgen.validation import Record, Rejection

SYNC_EVERY_S = 2.0
BATCH = 2_000  # outcomes kept as Python values before they become a table; a biography takes 900 bytes or 130


def journal_path(out: Path, number: int) -> Path:
    """Where the journal of a shard of the dataset in `out` lies while the shard is not final."""
    return out / ".work" / f"shard-{number:05d}.journal"


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
        tally = self.by_adapter.get(outcome.adapter)
        if tally is None:
            tally = self.by_adapter[outcome.adapter] = Counter(attempted=0, accepted=0)
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
    """Rows and rejections in memory, every completion in the journal first.

    `replay` it once before anything else, so that a torn line of an earlier run is cut off.
    """

    def __init__(self, ids: range, journal: Path, schema: RecordSchema, adapter_column: bool = True) -> None:
        self.ids = ids
        self.counts = Counts()
        self.n_damaged = 0  # journal lines that could not be read back; their records are made again
        self._schema, self._adapter_column = schema, adapter_column
        self._has = bytearray(len(ids))  # by position: 1 once the id has its record
        self._records = Columns(schema, adapter_column)
        self._rejections: list[Rejection] = []
        self._rows: list[pl.DataFrame] = []
        self._rejects: list[pl.DataFrame] = []
        self._path = journal
        self._file: BinaryIO | None = None
        self._synced = time.monotonic()

    def replay(self) -> Iterator[tuple[Completion, int, str]]:
        """Completions that an earlier run journalled, as (completion, attempt, adapter), each to be added again.

        A torn last line is cut off; a damaged one is left out and counted in `n_damaged`, and so is an attempt
        that is there twice.

        Raises:
            SinkError: the journal cannot be read or mended.
        """
        with writing(self._path):
            if not self._path.exists():
                return
            _cut_torn_line(self._path)
            last = [-1] * len(self.ids)  # attempt, by position
            with self._path.open("rb") as file:
                for line in file:
                    entry = _read_line(line)
                    position = -1 if entry is None else entry[0].id - self.ids.start
                    if entry is None or not 0 <= position < len(last) or entry[1] <= last[position]:
                        self.n_damaged += 1
                        continue
                    last[position] = entry[1]
                    yield entry

    def journal(self, completion: Completion, attempt: int, adapter: str) -> None:
        """Append one completion; on disk for certain within `SYNC_EVERY_S` of further work, or at `sync`.

        Raises:
            OSError: the disk is full or the folder gone.
        """
        if self._file is None:
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._path.open("ab")
        self._file.write(_line(completion, attempt, adapter))
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            self.sync()

    def sync(self) -> None:
        """Put the journal on disk.

        Raises:
            SinkError: it cannot be written, or somebody removed it.
        """
        with writing(self._path):
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                if os.fstat(self._file.fileno()).st_nlink == 0:
                    raise SinkError(
                        f"{self._path}: was removed while the run was going on; "
                        "run the same command again to make what is missing"
                    )
        self._synced = time.monotonic()

    def add(self, outcome: Record | Rejection) -> None:
        """Keep an outcome whose completion is in the journal; an id gets one record."""
        if isinstance(outcome, Record):
            position = outcome.id - self.ids.start
            assert not self._has[position], f"record {outcome.id} came twice"
            self._has[position] = 1
            self._records.add(outcome)
        else:
            self._rejections.append(outcome)
        self.counts.add(outcome)
        if len(self._records) + len(self._rejections) >= BATCH:
            self._pack()

    def has(self, record_id: int) -> bool:
        """Whether the id has its record."""
        return bool(self._has[record_id - self.ids.start])

    @property
    def is_journalling(self) -> bool:
        """Whether the journal is open for writing."""
        return self._file is not None

    @property
    def is_full(self) -> bool:
        """Whether every id has its record."""
        return self.counts.accepted == len(self.ids)

    def write(self, out: Path, number: int, metadata: Mapping[str, str]) -> ShardEntry:
        """Write what there is as the shard's Parquet files; see `write_shard`. The journal stays.

        Raises:
            SinkError: it cannot be written.
        """
        self._pack()
        empty = table_schema(self._schema, self._adapter_column).to_frame()
        rows = pl.concat([empty, *self._rows]).sort("_id")
        rejects = pl.concat([REJECT_SCHEMA.to_frame(), *self._rejects])
        return write_shard(out, number, self.ids, rows, rejects, self.counts.to_json(), metadata)

    def close(self, forget: bool = False) -> None:
        """Close the journal; with `forget` also delete it: the shard is in the manifest.

        Raises:
            SinkError: its last lines cannot be written.
        """
        file, self._file = self._file, None
        with writing(self._path):
            if file is not None:
                try:
                    if not forget:
                        file.flush()
                        os.fsync(file.fileno())
                finally:
                    file.close()
            if forget:
                self._path.unlink(missing_ok=True)

    def _pack(self) -> None:
        """Turn the outcomes kept so far into tables."""
        if self._records:
            self._rows.append(self._records.take())
        if self._rejections:
            self._rejects.append(rejects_frame(self._rejections))
            self._rejections = []


def _line(c: Completion, attempt: int, adapter: str) -> bytes:
    """A journal line: checksum, space, JSON list, line feed."""
    text, name, detail = encode_basestring(c.text), encode_basestring(adapter), encode_basestring(c.detail)
    content = f'[{c.id},{attempt},{name},"{c.finish_reason}",{c.n_tokens},{text},{detail}]'
    data = content.encode("utf-8", "surrogatepass")
    return b"%08x %b\n" % (zlib.crc32(data), data)


def _read_line(line: bytes) -> tuple[Completion, int, str] | None:
    """A journal line read back; None if its checksum is wrong."""
    data = line[9:-1]
    if line[:9] != b"%08x " % zlib.crc32(data):
        return None
    record_id, attempt, adapter, finish, n_tokens, text, detail = json.loads(data)
    return Completion(record_id, text, finish, n_tokens, detail=detail), attempt, adapter


def _cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line feed, so that the next line begins on a line of its own."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65_536)
            file.seek(start)
            newline = file.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            file.truncate(position)
