"""Time and peak memory of a report on 10 million rows.

    python bench/report_speed.py [rows]   # writes bench/results/report_speed.md

The file has 8 columns of every kind.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import stamp


def write(path: Path, n: int) -> None:
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


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        subprocess.run([sys.executable, __file__, "--write", str(path), str(n)], check=True)
        started = time.perf_counter()
        command = [sys.executable, "-m", "synthgen.cli", "report", str(path), "--quiet"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        elapsed = time.perf_counter() - started
    if status:
        sys.exit(f"report failed with status {status}")
    text = (
        f"`python bench/report_speed.py {n}`: {n:,} rows, 8 columns: {elapsed:.1f} s "
        f"({usage.ru_utime + usage.ru_stime:.1f} s of CPU), peak memory {usage.ru_maxrss / 2**20:.2f} GiB\n\n{stamp.line()}\n"
    )
    print(text)
    Path("bench/results").mkdir(exist_ok=True)
    Path("bench/results/report_speed.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if "--write" in sys.argv:
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
