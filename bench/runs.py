"""The headline figures of the speed benches, run by run; and what these benches share: turns, sides, medians, tables.

    python bench/runs.py              # every kept headline figure, run by run
    python bench/runs.py pipeline     # of one bench

A result file holds a list of runs, the newest last: date, machine, versions and command (stamp.py), the headline
figures by name, and the rows of the tables.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import stamp

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SYNTHGEN = ("-m", "synthgen")  # of Python

Row = dict[str, object]


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes, garbage of earlier ones out of the way."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Ask each side for a figure, one after the other, `repeats` times: what disturbs the machine disturbs all."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found


class Side:
    """A side of a comparison in a process of its own, which starts once and then waits to be asked.

    The script is called with `--answer-to` and a file descriptor, and calls `answer` when it is ready.
    """

    def __init__(
        self, script: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        reading, writing = os.pipe()
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments, "--answer-to", str(writing)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            pass_fds=(writing,),
        )
        os.close(writing)
        self._answers = os.fdopen(reading)
        self._read()
        self.start_s = time.perf_counter() - started

    def __call__(self, n: int) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, float]:
        line = self._answers.readline()
        if not line:
            raise SystemExit("a side's process ended; its own message is above")
        found: dict[str, float] = json.loads(line)
        return found


def answer(work: Callable[[int], dict[str, float]], answer_to: int) -> None:
    """In a side's process: say that it is ready, then do what stdin asks, a number a line, a line of JSON back."""
    with os.fdopen(answer_to, "w") as answers:
        for found in itertools.chain([{}], (work(int(line)) for line in sys.stdin)):
            answers.write(json.dumps(found) + "\n")
            answers.flush()


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Median and range of the ratios of figures that were taken in the same turns."""
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    return {"median": rounded(median(ratios)), "least": rounded(min(ratios)), "most": rounded(max(ratios))}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": rounded(median(values)), "least": rounded(min(values)), "most": rounded(max(values))}


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def print_table(title: str, rows: Sequence[Row]) -> None:
    """One line per row, columns as in the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for i, column in enumerate(rows[0] if rows else ()):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in rows[0]))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table)
    console.print()


def keep(name: str, headline: Mapping[str, object], rows: Sequence[Row]) -> None:
    """Append a run to results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    runs.append({**stamp.stamp(), "headline": dict(headline), "rows": list(rows)})
    path.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, dict) and "median" in value:
        return f"{_cell(value['median'])} ({_cell(value['least'])}–{_cell(value['most'])})"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in RESULTS.glob("*.json"))
    for name in names:
        runs = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        if isinstance(runs, list) and runs and "headline" in runs[0]:
            print_table(
                name, [{"date": run["date"], **run["headline"], "machine": run["machine"]} for run in runs]
            )


if __name__ == "__main__":
    main()
