"""Valid record → the same record, or a Rejection because an earlier one says the same. For `unique` in a recipe.

Stands between validation and sink. What was accepted is known by its hashes in an SQLite file in the dataset's
work folder, so that memory stays the same for any number of records. Final shards and journals hold everything
that the file does: it is made anew at every start, and never has to survive anything.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError, SinkError
from synthgen.recipe import Recipe, UniqueSpec
from synthgen.schema import RecordSchema
from synthgen.validation import Read, Record, Rejection, validate

if TYPE_CHECKING:
    import polars as pl

    from synthgen.sink import Sink

CACHE_KIB = 262_144  # of the SQLite file's pages, in memory
EXACT, NEAR = "duplicate:", "near_duplicate:"  # how the reasons of these rejections begin
_PRAGMAS = (
    "journal_mode = OFF",
    "synchronous = OFF",
    "locking_mode = EXCLUSIVE",
    f"cache_size = -{CACHE_KIB}",
)
_KEYS = struct.Struct("<qq")


class Index(Protocol):
    """What is taken by one rule; a value belongs to the record id that claimed it first."""

    def claim(self, record_id: int, texts: Sequence[str]) -> int:
        """The id that the value belongs to: this one, if no other had it."""

    def release(self, record_id: int, texts: Sequence[str]) -> None:
        """Take a claim back."""

    def fill(self, rows: Iterable[tuple[int, Sequence[str]]]) -> None:
        """Claim for many ids whose values are known to differ."""

    def __len__(self) -> int:
        """Number of values taken."""


class ExactIndex:
    """Values by 128 bits of BLAKE2b: two different ones among 10⁹ look equal with a chance of 1.5e-21.

    The first 64 bits are the key. Where two values share them alone (2.7 % that it happens at all among 10⁹),
    the later one is let pass and not remembered.
    """

    def __init__(self, database: sqlite3.Connection, table: str) -> None:
        self._database, self._table = database, table
        database.execute(f"CREATE TABLE {table} (key INTEGER PRIMARY KEY, rest INTEGER, id INTEGER)")
        self._insert = f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?)"  # noqa: S608 — a name of our own
        self._select = f"SELECT rest, id FROM {table} WHERE key = ?"  # noqa: S608

    def claim(self, record_id: int, texts: Sequence[str]) -> int:
        """See `Index`."""
        key, rest = _hashes(texts)
        if self._database.execute(self._insert, (key, rest, record_id)).rowcount:
            return record_id
        known, owner = self._database.execute(self._select, (key,)).fetchone()
        return int(owner) if known == rest else record_id

    def release(self, record_id: int, texts: Sequence[str]) -> None:
        """See `Index`."""
        delete = f"DELETE FROM {self._table} WHERE key = ? AND id = ?"  # noqa: S608
        self._database.execute(delete, (_hashes(texts)[0], record_id))

    def fill(self, rows: Iterable[tuple[int, Sequence[str]]]) -> None:
        """See `Index`; in the order of the keys, so that pages are visited once."""
        self._database.executemany(self._insert, sorted((*_hashes(texts), id_) for id_, texts in rows))

    def __len__(self) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])  # noqa: S608


class Uniqueness:
    """The rules of one recipe, and what they have let pass so far; a context manager.

    Which of two equal records stays depends on which was finished first. What an earlier run accepted stays:
    `recollect` it before the first `admit`.
    """

    def __init__(self, rules: Sequence[UniqueSpec], schema: RecordSchema, out: Path | None = None) -> None:
        """Start with nothing known; without a dataset folder the hashes lie in a temporary file.

        Raises:
            SinkError: the file cannot be written.
        """
        self._schema = schema
        self._path = None if out is None or not rules else out / ".work" / "unique.sqlite"
        self._superseded: dict[int, int] = {}  # record id → last of its several attempts in a journal
        with self._writing():
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.unlink(missing_ok=True)
            self._database = sqlite3.connect(self._path or "", isolation_level=None)
            for pragma in _PRAGMAS:
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute("BEGIN")  # and no COMMIT: pages go to disk when the cache is full
            self._rules = [_Rule(spec, schema, self._database, f"rule_{i}") for i, spec in enumerate(rules)]

    def __enter__(self) -> Uniqueness:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def admit(self, record: Record, completion: Completion) -> Record | Rejection:
        """The record, or its rejection as a repeat, with the id of the record that was first.

        Raises:
            SinkError: the disk is full.
        """
        if record.attempt < self._superseded.get(record.id, 0):
            return self._rules[0].refuse(record, completion, None)  # or there would be no later attempt
        try:
            for i, rule in enumerate(self._rules):
                owner = rule.index.claim(record.id, rule.texts(record.values))
                if owner != record.id:
                    for kept in self._rules[:i]:
                        kept.index.release(record.id, kept.texts(record.values))
                    return rule.refuse(record, completion, owner)
        except sqlite3.Error as error:
            raise self._cannot_write(error) from error
        return record

    def recollect(
        self, sink: Sink, read: Read | None = None, keeps: Callable[[Record], bool] = lambda _: True
    ) -> None:
        """Take in all that earlier runs accepted, so that it stays: final shards first, then journals.

        `read` is what reads the answers of the run (see validation.py); `keeps` says of a journal's record whether
        other rules let it pass.
        """
        import polars as pl

        from synthgen.parquet import shard_name
        from synthgen.shard import Shard, journal_path

        if not self._rules:
            return
        to_do, columns = sink.shards_to_do(), sorted({name for rule in self._rules for name in rule.fields})
        for number in sorted(set(range(sink.plan.n_shards)) - set(to_do)):
            self.remember(pl.read_parquet(sink.out / shard_name(number), columns=["_id", *columns]))
        for number in to_do:
            shard = Shard(sink.plan.ids(number), journal_path(sink.out, number), self._schema)
            self.recall(shard.replay(), read, keeps)

    def remember(self, rows: pl.DataFrame) -> None:
        """Take in records that are final: the rules' columns, and `_id`."""
        with self._writing():
            for rule in self._rules:
                columns = rows.select("_id", *rule.fields).iter_rows()
                rule.index.fill((row[0], [text_for_equality(value) for value in row[1:]]) for row in columns)

    def recall(
        self,
        journal: Iterable[tuple[Completion, int, str]],
        read: Read | None = None,
        keeps: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Take in a shard that was not finished, as (completion, attempt, adapter).

        An attempt that another one followed was refused then, whatever became of the record it repeated.
        """
        entries = list(journal)
        last = {completion.id: attempt for completion, attempt, _ in entries}
        self._superseded |= {id_: attempt for id_, attempt in last.items() if attempt}
        for completion, attempt, adapter in entries:
            if attempt == last[completion.id]:
                outcome = validate(self._schema, completion, attempt, adapter, read)
                if isinstance(outcome, Record) and keeps(outcome):
                    self.admit(outcome, completion)

    def exhausted(self, reasons: Mapping[str, int]) -> str:
        """What to say of the rules that most rejections came from; empty if repeats were not the problem."""
        n_rejected = sum(reasons.values())
        guilty = [
            rule for rule in self._rules if reasons.get(rule.reason, 0) * 2 > n_rejected / len(self._rules)
        ]
        if sum(n for reason, n in reasons.items() if is_repeat(reason)) * 2 <= n_rejected or not guilty:
            return ""
        found = ", ".join(f"{rule.label} has {len(rule.index):,} different values so far" for rule in guilty)
        return f"{found}, and the model seems to have few others: tune it wider, raise max_attempts, or leave unique out"

    def close(self) -> None:
        """Forget everything and remove the file."""
        self._database.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: Exception) -> SinkError:
        return SinkError(
            f"{self._path or 'unique'}: cannot be written: {error}; "
            "make room, then run the same command again to go on"
        )


class _Rule:
    """One rule of the recipe with its index."""

    def __init__(
        self, spec: UniqueSpec, schema: RecordSchema, database: sqlite3.Connection, table: str
    ) -> None:
        self.spec = spec
        self.fields = tuple(spec.fields or schema.names)
        self.label = spec.label
        self.reason = (EXACT if spec.near is None else NEAR) + self.label
        self.index: Index
        if spec.near is None:
            self.index = ExactIndex(database, table)
        else:
            from synthgen.near import NearIndex

            self.index = NearIndex(database, table, spec.near)

    def texts(self, values: Mapping[str, object]) -> list[str]:
        return [text_for_equality(values[name]) for name in self.fields]

    def refuse(self, record: Record, completion: Completion, owner: int | None) -> Rejection:
        """The rejection; without an owner, of an attempt that an earlier run refused."""
        like = "repeats" if self.spec.near is None else f"is at least {self.spec.near:g} alike to"
        other = "an earlier record" if owner is None else f"record {owner}"
        detail = f"{self.label} {like} {other}"
        return Rejection(
            record.id,
            record.attempt,
            record.adapter,
            "unique",
            self.reason,
            detail,
            completion.text,
            record.n_tokens,
        )


def is_repeat(reason: str) -> bool:
    """Whether a rejection's reason says that the record itself was right, but not unique."""
    return reason.startswith((EXACT, NEAR))


def check_support(recipe: Recipe, n: int) -> None:
    """Refuse what cannot be: more unique records than there are values.

    Raises:
        RecipeError: naming the fields, how many values they have, and what to change.
    """
    schema = recipe.record_schema()
    problems = []
    for rule in recipe.unique:
        supports = {name: schema.field(name).support for name in rule.fields or schema.names}
        sizes = {name: len(support) for name, support in supports.items() if support is not None}
        most = math.prod(sizes.values())
        if rule.near is None and len(sizes) == len(supports) and most < n:
            product = " × ".join(f"{name} {size:,}" for name, size in sizes.items())
            problems.append(
                f"{recipe.path or 'recipe'}: unique: {rule.label} has {most:,} different values ({product}), but "
                f"{n:,} records are asked for; ask for {most:,} at most, name a further field, or leave unique out"
            )
    if problems:
        raise RecipeError(problems)


def text_for_equality(value: object) -> str:
    """One text per value, the same for a record in memory and for its row in Parquet."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return value
    if value is None:
        return "\x00"
    if isinstance(value, Enum):
        return text_for_equality(value.value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime) and value.tzinfo is not None:
        return str(value.astimezone(UTC).replace(tzinfo=None))
    return str(value)


def _hashes(texts: Sequence[str]) -> tuple[int, int]:
    """128 bits of the texts together, as two signed 64-bit numbers."""
    key, rest = _KEYS.unpack(hashlib.blake2b("\x1f".join(texts).encode(), digest_size=16).digest())
    return key, rest
