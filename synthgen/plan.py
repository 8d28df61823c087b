"""Record id → (shard, adapter, seed), decided before anything runs.

A plan is arithmetic, not a list: it costs the same for ten records and for ten billion, gives the same answer
on every machine, and a longer plan begins with the shorter one.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from itertools import pairwise

BASE = "base"  # the name of the untuned model in a mix
N_BEFORE = 1000  # samples of the untuned model that the report compares with
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Plan:
    """Who makes which record.

    `mix` holds (adapter name, share) in the recipe's order, shares adding up to 1. Along the ids the adapters
    follow a golden-ratio sequence, so that every stretch of records holds its shares to within a few records.
    `starts` holds the first id of every segment: a shard never crosses the border between two, so that a
    dataset grows by new shards and its old ones stay as they are. Adapters and seeds depend on the id alone.
    """

    n: int
    seed: int
    mix: tuple[tuple[str, float], ...]
    rows_per_shard: int
    starts: tuple[int, ...] = (0,)
    _first: tuple[int, ...] = field(init=False, repr=False, compare=False)  # first shard of every segment

    def __post_init__(self) -> None:
        first = [0]
        for start, end in pairwise(self.starts):
            first.append(first[-1] - (start - end) // self.rows_per_shard)
        object.__setattr__(self, "_first", tuple(first))

    @property
    def n_shards(self) -> int:
        """Number of shards; at least one."""
        return self._first[-1] + max(1, -(-(self.n - self.starts[-1]) // self.rows_per_shard))

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when a record's adapter or seed would, or the size of a shard.

        How many records there are, and in how many segments, is left out: that may grow.
        """
        text = json.dumps([self.seed, self.mix, self.rows_per_shard])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def extended(self, n: int) -> Plan:
        """The plan of `n` records whose first ones are this plan's, in the same shards.

        Raises:
            ValueError: `n` is not larger.
        """
        if n <= self.n:
            raise ValueError(f"a plan of {self.n} records cannot be extended to {n}")
        return replace(self, n=n, starts=(*self.starts, self.n))

    def shard_of(self, record_id: int) -> int:
        """The shard a record belongs to."""
        segment = bisect_right(self.starts, record_id) - 1
        return self._first[segment] + (record_id - self.starts[segment]) // self.rows_per_shard

    def ids(self, shard: int) -> range:
        """The record ids of a shard, in file order."""
        segment = bisect_right(self._first, shard) - 1
        start = self.starts[segment] + (shard - self._first[segment]) * self.rows_per_shard
        end = (*self.starts, self.n)[segment + 1]
        return range(start, min(start + self.rows_per_shard, end))

    def adapter_of(self, record_id: int) -> str:
        """The adapter that makes a record, also when it is tried again."""
        if len(self.mix) == 1:
            return self.mix[0][0]
        position = math.modf(self.seed * 0.7548776662466927 + record_id * _GOLDEN)[0]
        for name, share in self.mix:
            if position < share:
                return name
            position -= share
        return self.mix[-1][0]

    def seed_of(self, record_id: int, attempt: int) -> int:
        """The seed of one attempt, 0 ≤ seed < 2**63; attempts count from 0."""
        text = f"{self.seed}/{record_id}/{attempt}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
