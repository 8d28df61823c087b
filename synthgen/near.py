"""Texts that are nearly alike: MinHash bands in SQLite propose, the exact Jaccard similarity decides.

For `unique` rules with `near`; unique.py imports it when a recipe has one.
"""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from datasketch import MinHash

from synthgen.stats import shingles

MOST_HASHES = 128
CAUGHT = 0.95  # of the pairs that are exactly as alike as the threshold says; of more alike ones, more
_HOLDERS, _CANDIDATES = 64, 64  # texts looked at per band, and compared in all


class NearIndex:
    """Texts with their bands; two are near-duplicates from a Jaccard similarity of their shingles on.

    A pair of similarity s is compared with the chance 1 − (1 − s^rows)^bands: at least `CAUGHT` at the
    threshold. What is compared is compared exactly, so nothing below the threshold is ever called alike.
    """

    def __init__(self, database: sqlite3.Connection, table: str, threshold: float) -> None:
        self._database, self._table, self._threshold = database, table, threshold
        self.n_bands, self.n_rows = bands(threshold)
        database.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, text TEXT)")
        database.execute(
            f"CREATE TABLE {table}_bands (key INTEGER, id INTEGER, PRIMARY KEY (key, id)) WITHOUT ROWID"
        )
        self._empty = MinHash(self.n_bands * self.n_rows, hashfunc=zlib.crc32)
        rng = np.random.default_rng(0)  # the same hashes in every run
        self._factors = rng.integers(2**64, size=(self.n_bands, self.n_rows), dtype=np.uint64) | np.uint64(1)

    def claim(self, record_id: int, texts: Sequence[str]) -> int:
        """See `unique.Index`; the id of an earlier text that is alike, or this one's."""
        text = " ".join(texts)
        known = self._database.execute(f"SELECT text FROM {self._table} WHERE id = ?", (record_id,))  # noqa: S608
        if known.fetchone() == (text,):
            return record_id
        found = shingles(text)
        keys = self._keys(found)
        if (owner := self._alike(record_id, found, keys)) is not None:
            return owner
        self._insert(record_id, text, keys)
        return record_id

    def release(self, record_id: int, texts: Sequence[str]) -> None:
        """See `unique.Index`."""
        self._database.execute(f"DELETE FROM {self._table} WHERE id = ?", (record_id,))  # noqa: S608
        delete = f"DELETE FROM {self._table}_bands WHERE key = ? AND id = ?"  # noqa: S608
        keys = self._keys(shingles(" ".join(texts)))
        self._database.executemany(delete, [(key, record_id) for key in keys])

    def fill(self, rows: Iterable[tuple[int, Sequence[str]]]) -> None:
        """See `unique.Index`."""
        for record_id, texts in rows:
            text = " ".join(texts)
            self._insert(record_id, text, self._keys(shingles(text)))

    def __len__(self) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])  # noqa: S608

    def _keys(self, found: set[str]) -> list[int]:
        """One signed 64-bit key per band."""
        minhash = self._empty.copy()
        minhash.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in found])
        rows = minhash.hashvalues.reshape(self.n_bands, self.n_rows).astype(np.uint64)
        keys: list[int] = (rows * self._factors).sum(axis=1, dtype=np.uint64).view(np.int64).tolist()
        return keys

    def _insert(self, record_id: int, text: str, keys: Sequence[int]) -> None:
        known = self._database.execute(
            f"INSERT OR IGNORE INTO {self._table} VALUES (?, ?)",  # noqa: S608
            (record_id, text),
        )
        if known.rowcount:
            insert = f"INSERT OR IGNORE INTO {self._table}_bands VALUES (?, ?)"  # noqa: S608
            self._database.executemany(insert, [(key, record_id) for key in keys])

    def _alike(self, record_id: int, found: set[str], keys: Sequence[int]) -> int | None:
        select = f"SELECT id FROM {self._table}_bands WHERE key = ? LIMIT {_HOLDERS}"  # noqa: S608
        shared = Counter[int]()
        for key in keys:
            shared.update(row[0] for row in self._database.execute(select, (key,)))
        del shared[record_id]
        text_of = f"SELECT text FROM {self._table} WHERE id = ?"  # noqa: S608
        for other, _ in shared.most_common(_CANDIDATES):
            text = self._database.execute(text_of, (other,)).fetchone()[0]
            if jaccard(found, shingles(text)) >= self._threshold:
                return other
        return None


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows) for a threshold: as many rows as `MOST_HASHES` allow with `CAUGHT` kept.

    Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, ch. 3.4.2.
    """
    best = (MOST_HASHES, 1)
    for n_rows in range(1, MOST_HASHES + 1):
        n_bands = math.ceil(math.log(1 - CAUGHT) / math.log(1 - threshold**n_rows))
        if n_bands * n_rows > MOST_HASHES:
            break
        best = (n_bands, n_rows)
    return best


def jaccard(a: set[str], b: set[str]) -> float:
    """Shared over all members, from 0 to 1; 0 for two empty sets."""
    n_shared = len(a & b)
    n_all = len(a) + len(b) - n_shared
    return n_shared / n_all if n_all else 0.0
