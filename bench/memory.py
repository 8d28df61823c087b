"""Peak memory and speed of everything but the model, by number of records.

    python bench/memory.py

Each size is a process of its own: a real run of biographies, generation and report, with an engine that hands out
ready texts. `--distinct` makes the name and the free text different in every record, which is the worst case of
the report. Speed is the run's own records/s, and records per processor second of the generation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stamp import stamp

if TYPE_CHECKING:
    from synthgen.engines.protocol import Completion, Request

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench" / "results" / "memory.json"
GENDERS = ("Female", "Male", "Non-binary")
PLACES = ("Paris, France", "Lagos, Nigeria", "Lima, Peru", "Pune, India", "Oslo, Norway")


def peak_mib() -> float:
    """The most memory this process ever held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


class Instant:
    """The engine that costs next to nothing: no random numbers, no tokens, only texts.

    The fake engine that ships draws and counts tokens, which takes longer than all the rest together.
    """

    capacity = 256

    def __init__(self, distinct: bool) -> None:
        from synthgen.engines.protocol import EngineInfo

        self.info = EngineInfo("instant", "1", "cpu", "record")
        self._distinct = distinct
        self._queue: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests."""
        self._queue.extend(requests)

    def poll(self) -> list[Completion]:
        """Answer all of them."""
        from synthgen.engines.protocol import Completion

        requests, self._queue = self._queue, []
        return [Completion(request.id, self._text(request.id), "stop", 50) for request in requests]

    def score(self, *_: object) -> list[list[float]]:
        """Nobody asks."""
        return []

    def close(self) -> None:
        """Nothing to free."""

    def _text(self, i: int) -> str:
        k = i if self._distinct else i % 997
        return (
            f"{{Evelyn Number{k:x}}}\n{{{GENDERS[i % 3]}}}\n{{{1935 + i % 70}-03-12}}\n{{{PLACES[i % 5]}}}\n"
            f"{{Engineer}}\n{{Her work on case {k} of the city archive was printed and read by many.}}"
        )


def one(n: int, distinct: bool, rows_per_shard: int) -> dict[str, object]:
    """Run once in this process and say what it took."""
    from synthgen import Recipe
    from synthgen.progress import SilentProgress

    seen: dict[str, tuple[float, float]] = {}  # stage → peak memory and processor seconds when it began

    class Listener(SilentProgress):
        def stage(self, name: str, detail: str = "") -> None:  # noqa: ARG002
            seen[name] = (peak_mib(), time.process_time())

    recipe = Recipe.from_mapping(
        {
            "schema": "schemas/biography.py:Biography",
            "generate": {"mix": {"base": 1.0}},
            "export": {"rows_per_shard": rows_per_shard},
        },
        base=ROOT,
    )
    with tempfile.TemporaryDirectory() as out:
        run = recipe.run(n, out, engine=Instant(distinct), progress=Listener())
    (start_mib, start_s), (report_mib, report_s) = seen["generate"], seen["report"]
    return {
        "n": n,
        "start_mib": round(start_mib, 1),
        "generated_mib": round(report_mib, 1),
        "peak_mib": round(peak_mib(), 1),
        "records_per_s": run.summary["records_per_s"],
        "records_per_cpu_s": round(n / (report_s - start_s), 1),
        "report_cpu_s": round(time.process_time() - report_s, 2),
    }


def main() -> None:
    """Run every size in a process of its own and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--distinct", action="store_true", help="every record has its own name and text")
    parser.add_argument("--rows-per-shard", type=int, default=50_000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(one(given.one, given.distinct, given.rows_per_shard)))
        return
    rows = []
    print("records      start MiB  generated MiB  peak MiB  records/s  records/CPU s  report CPU s")
    for n in given.sizes:
        command = [sys.executable, __file__, "--one", str(n), "--rows-per-shard", str(given.rows_per_shard)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command + ["--distinct"] * given.distinct, env=environment, check=True, stdout=subprocess.PIPE
        )
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{n:<12,} {row['start_mib']:9.0f}  {row['generated_mib']:13.0f}  {row['peak_mib']:8.0f}  "
            f"{row['records_per_s']:9,.0f}  {row['records_per_cpu_s']:13,.0f}  {row['report_cpu_s']:12.1f}",
            flush=True,
        )
    peaks = [row["peak_mib"] for row in rows]
    spread = max(peaks) / min(peaks) - 1
    print(f"largest peak over smallest: +{spread:.1%}")
    content = {
        **stamp(),
        "distinct": given.distinct,
        "rows_per_shard": given.rows_per_shard,
        "runs": rows,
        "spread": round(spread, 4),
    }
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
