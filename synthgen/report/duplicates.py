"""How many records repeat another: exact for millions of rows, from a sample of the values beyond."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

MOST_ROWS = 5_000_000  # whose hashes are held at once, 8 bytes each


def duplicate_rate(table: pl.LazyFrame, columns: Sequence[str], n: int) -> float | None:
    """Share of the n records that are equal to an earlier one in all `columns`; None without a column.

    That is 1 − distinct/n, on 64-bit hashes of the rows. Beyond `MOST_ROWS` one value in k is looked at, with all
    of its repeats (the values whose hash is divisible by k), so that memory stays the same for any n.
    """
    if not columns:
        return None
    k = -(-n // MOST_ROWS)
    hashes = table.select(pl.struct(pl.col(name) for name in columns).hash().alias("hash"))
    counted = (
        hashes.filter(pl.col("hash") % k == 0)
        .select(pl.len().alias("n"), pl.col("hash").n_unique().alias("distinct"))
        .collect(engine="streaming")
    )
    seen, distinct = int(counted["n"][0]), int(counted["distinct"][0])
    return 1 - distinct / seen if seen else 0.0
