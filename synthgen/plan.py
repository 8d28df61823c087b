"""Record id → (shard, adapter, seed), decided before anything runs.

A plan is arithmetic, not a list: it costs the same for ten records and for ten billion, gives the same answer
on every machine, and a longer plan begins with the shorter one.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

BASE = "base"  # the name of the untuned model in a mix
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Plan:
    """Who makes which record.

    `mix` holds (adapter name, share) in the recipe's order, shares adding up to 1. Along the ids the adapters
    follow a golden-ratio sequence, so that every stretch of records holds its shares to within a few records.
    """

    n: int
    seed: int
    mix: tuple[tuple[str, float], ...]
    rows_per_shard: int

    @property
    def n_shards(self) -> int:
        """Number of shards; at least one."""
        return max(1, -(-self.n // self.rows_per_shard))

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any record's shard, adapter or seed would."""
        text = json.dumps([self.n, self.seed, self.mix, self.rows_per_shard])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def shard_of(self, record_id: int) -> int:
        """The shard a record belongs to."""
        return record_id // self.rows_per_shard

    def ids(self, shard: int) -> range:
        """The record ids of a shard, in file order."""
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.n))

    def adapter_of(self, record_id: int) -> str:
        """The adapter that makes a record, also when it is tried again."""
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
