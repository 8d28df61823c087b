"""What starting costs: `import synthgen`, `--help` and `check` beside Python's own start, and the first record.

    python bench/start.py              # medians of nine starts each, in turns
    python bench/start.py --first      # also the time until nano's first record is on the screen, by engine
    python bench/start.py --imports    # and which imports of `check` cost the most

Goals, in milliseconds over Python's own start: import 150, --help 150, check 700; first record 15 s. Times are seconds
of waiting, from the start of a fresh interpreter to its end, so a busy neighbour counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from statistics import median

import runs

CASES: dict[str, tuple[tuple[str, ...], float | None]] = {  # arguments of Python, goal in seconds
    "python -c pass": (("-c", "pass"), None),
    "import synthgen": (("-c", "import synthgen"), 0.150),
    "synthgen --help": ((*runs.SYNTHGEN, "--help"), 0.150),
    "synthgen check recipes/bios.yaml": ((*runs.SYNTHGEN, "check", "recipes/bios.yaml"), 0.700),
}
FIRST_GOAL_S = 15.0


def start(arguments: tuple[str, ...]) -> str:
    """Run Python in the tree's root; what it wrote to stderr."""
    environment = {**os.environ, "PYTHONPATH": str(runs.ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=runs.ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stderr


def starts(repeats: int) -> list[runs.Row]:
    """Every case in turns, after one start each that is not counted: it writes bytecode and fills the disk's cache."""
    for arguments, _ in CASES.values():
        start(arguments)
    sides = {
        name: (lambda a=arguments: runs.timed(lambda: start(a))) for name, (arguments, _) in CASES.items()
    }
    times = runs.in_turns(sides, repeats)
    python = median(times["python -c pass"])
    rows: list[runs.Row] = []
    for name, (_, goal) in CASES.items():
        ms = runs.spread([1000 * seconds for seconds in times[name]])
        over = median(times[name]) - python
        row: runs.Row = {"start": name, "ms": ms, "over Python's own": round(1000 * over)}
        row["goal ms"] = None if goal is None else round(goal * 1000)
        rows.append({**row, "met": None if goal is None else over <= goal})
    return rows


def first_records(repeats: int) -> list[runs.Row]:
    """From a fresh process to the first record of nano, untuned."""
    rows: list[runs.Row] = []
    for engine in ("vllm", "transformers"):
        asked = f"preview recipes/die.yaml --n 1 --base --engine {engine} --quiet"
        arguments = (*runs.SYNTHGEN, *asked.split())
        seconds = [runs.timed(lambda a=arguments: start(a)) for _ in range(repeats)]
        met = median(seconds) <= FIRST_GOAL_S
        rows.append(
            {"first record by": engine, "s": runs.spread(seconds), "goal s": FIRST_GOAL_S, "met": met}
        )
    return rows


def slowest_imports(most: int = 20) -> list[runs.Row]:
    """Modules of `check` by the time of their own, from Python's own measure."""
    lines = start(("-X", "importtime", *runs.SYNTHGEN, "check", "recipes/bios.yaml")).splitlines()
    parts = [
        line.removeprefix("import time:").split("|") for line in lines if line.startswith("import time:")
    ]
    found = [(int(own), int(whole), name) for own, whole, name in parts if own.strip().isdigit()]
    tops = [(whole, own, name.strip()) for own, whole, name in found]
    return [
        {"module": name, "ms with what it imports": whole / 1000, "own ms": own / 1000}
        for whole, own, name in sorted(tops, reverse=True)[:most]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--first", action="store_true")
    parser.add_argument("--imports", action="store_true")
    asked = parser.parse_args()
    rows = starts(asked.repeats)
    runs.print_table("starting", rows)
    headline: dict[str, object] = {str(row["start"]): row["ms"]["median"] for row in rows}  # type: ignore[index]
    if asked.first:
        first = first_records(3)
        runs.print_table("first record, untuned nano", first)
        headline |= {f"first record, {row['first record by']}, s": row["s"]["median"] for row in first}  # type: ignore[index]
        rows += first
    if asked.imports:
        runs.print_table("imports of check", slowest_imports())
    runs.keep("start", headline, rows)


if __name__ == "__main__":
    main()
