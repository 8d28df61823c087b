"""A report on 10 million rows beside Polars scans of the same columns: seconds and peak memory.

    python bench/report_speed.py                       # three turns of report, read and count
    python bench/report_speed.py --rows 200000

The table has 8 columns of every kind, 7 of them reported. `read` collects these 7; `count` groups by each in turn and
counts, which any table of coverage needs. Every side is a process of its own, timed from its start to its end, after
one turn on a small table, which puts imports and bytecode on disk. `scan s` leaves out Python's start and the import
of Polars, and `of scan alone` sets the report's whole process beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import runs

SMALL = 1000
SCANS = {
    "read": "table.select(columns).collect(engine='streaming')",
    "count": "[table.group_by(name).len().collect(engine='streaming') for name in columns]",
}
SCAN = """import sys, time, polars as pl
started = time.perf_counter()
table = pl.scan_parquet(sys.argv[1])
columns = [name for name in table.collect_schema() if not name.startswith("_")]
{}
print(time.perf_counter() - started)"""


def write(path: Path, n: int) -> None:
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(6)
    zipf = 1 / np.arange(1, 20_001)
    pl.DataFrame(
        {
            "_id": np.arange(n),
            "gender": pl.Series(rng.choice(3, n).astype(str)).cast(pl.Categorical).cast(pl.String),
            "first_name": pl.Series(rng.choice(20_000, n, p=zipf / zipf.sum())).cast(pl.String),
            "country": pl.Series(rng.integers(0, 190, n)).cast(pl.String),
            "birth_year": rng.integers(1925, 2006, n),
            "born": pl.Series(rng.integers(-16_000, 13_000, n)).cast(pl.Int32).cast(pl.Date),
            "score": rng.integers(0, 1000, n) / 10,
            "name": pl.Series(rng.integers(0, n // 2, n)).cast(pl.String) + " Carter",
        }
    ).write_parquet(path)


def process(side: str, path: Path) -> dict[str, float]:
    """One side from the start of its process to its end: seconds, processor seconds, peak memory."""
    scans = ["-c", SCAN.format(SCANS[side]), str(path)] if side in SCANS else []
    command = [sys.executable, *(scans or [*runs.SYNTHGEN, "report", str(path), "--quiet"])]
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{side} failed with status {child.returncode}; its own message is above")
    found = {"s": seconds, "CPU s": usage.ru_utime + usage.ru_stime, "GiB": usage.ru_maxrss / 2**20}
    return {**found, "scan s": float(said)} if scans else found


def compared(path: Path, n: int, repeats: int) -> list[runs.Row]:
    """All sides in turns, and how many times longer the report takes than each scan."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in ("report", *SCANS)}
    for _ in range(repeats):
        for side, many in found.items():
            many.append(process(side, path))
    report_s = [one["s"] for one in found["report"]]
    rows: list[runs.Row] = []
    for side, many in found.items():
        row: runs.Row = {"side": side, "rows": n}
        for key in ("s", "CPU s", "GiB", "scan s"):
            row[key] = runs.spread([one[key] for one in many]) if key in many[0] else None
        for name, key in (("report takes", "s"), ("of scan alone", "scan s")):
            row[name] = runs.ratio(report_s, [one[key] for one in many]) if side in SCANS else None
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write(asked.write, asked.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        small, path = Path(folder) / "small.parquet", Path(folder) / "table.parquet"
        for table, n in (
            (small, SMALL),
            (path, asked.rows),
        ):  # elsewhere: a child's peak is at least its parent's
            subprocess.run([sys.executable, __file__, "--write", str(table), "--rows", str(n)], check=True)
        compared(small, SMALL, 1)
        rows = compared(path, asked.rows, asked.repeats)
    runs.print_table(f"{asked.rows:,} rows, 7 columns", rows)
    headline = {f"report / {row['side']}": row["report takes"]["median"] for row in rows[1:]}  # type: ignore[index]
    own = {"report s": rows[0]["s"]["median"], "report GiB": rows[0]["GiB"]["median"]}  # type: ignore[index]
    runs.keep("report_speed", {**headline, **own}, rows)


if __name__ == "__main__":
    main()
