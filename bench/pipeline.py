"""Everything but the model on one core: records a second, memory, and each part beside the plain way to do it.

    python bench/pipeline.py                          # whole jobs of 10³ to 10⁶ biographies, and the parts
    python bench/pipeline.py --against ../other-tree  # the same beside another checkout, in turns: before and after
    python bench/pipeline.py --profile                # where the time of one job goes

Jobs are real runs, each in a process of its own on one core: plan, seeds, requests, parsing, the user's Pydantic
model with its validators and derived fields, journal, counts, Parquet, checksums, then the report. The engine hands
out 4,096 ready biographies and costs next to nothing; `--rejects` is the share of attempts that it breaks. Speed is
records per processor second of the generation, which a busy neighbour does not change; memory is the process's peak.
"""

from __future__ import annotations

import argparse
import cProfile
import csv
import json
import os
import pstats
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import runs

if TYPE_CHECKING:
    from synthgen.engines.protocol import Completion, Request
    from synthgen.schema import RecordSchema

ROOT = Path(__file__).parents[1]
TRADES = ("Engineer", "Nurse", "Carpenter", "Teacher", "Translator", "Baker", "Geologist")
DEEDS = (
    "Built the first solar mill of the province.",
    "Wrote a history of the river and its towns that is read in schools.",
    "Led the team that mapped the northern glaciers.",
)
N_TEXTS = 4096


def texts() -> list[str]:
    """Ready answers: target tuples with a trade and a deed."""
    import numpy as np

    from synthgen.braces import join
    from synthgen.loading import load_object

    balanced = load_object("schemas/biography.py:balanced_tuples", ROOT)
    rows = balanced(np.random.default_rng(3), N_TEXTS)
    return [
        join([name, gender, born.isoformat(), place, TRADES[i % len(TRADES)], DEEDS[i % len(DEEDS)]])
        for i, (name, gender, born, place) in enumerate(rows)
    ]


class Instant:
    """An engine of ready texts: no random numbers, no tokens."""

    capacity = 256

    def __init__(self, rejects: float) -> None:
        from synthgen.engines.protocol import Completion, EngineInfo

        self.info = EngineInfo("instant", "1", "cpu", "record")
        self._texts, self._completion = texts(), Completion
        self._bad = int(rejects * 2**20)
        self._queue: list[Request] = []

    def submit(self, requests: Sequence[Request]) -> None:
        self._queue.extend(requests)

    def poll(self) -> list[Completion]:
        requests, self._queue = self._queue, []
        ready, answer, bad = self._texts, self._completion, self._bad
        return [
            answer(r.id, "{no" if r.seed & 0xFFFFF < bad else ready[r.id % N_TEXTS], "stop", 50)
            for r in requests
        ]

    def score(self, *_: object) -> list[list[float]]:
        return []

    def close(self) -> None:
        pass


def one(n: int, rejects: float, profile: bool) -> runs.Row:
    """A job in this process, which is kept to one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from synthgen import Recipe
    from synthgen.progress import SilentProgress

    seen: dict[
        str, tuple[float, float, int]
    ] = {}  # stage → processor seconds, seconds, peak KiB when it began

    class Listener(SilentProgress):
        def stage(self, name: str, detail: str = "") -> None:  # noqa: ARG002
            seen[name] = (time.process_time(), time.perf_counter(), _peak_kib())
            if profile:
                (profiler.enable if name == "generate" else profiler.disable)()

    profiler = cProfile.Profile()
    content = {"schema": "schemas/biography.py:Biography", "generate": {"mix": {"base": 1.0}}}
    recipe = Recipe.from_mapping(content, base=ROOT)
    engine = Instant(rejects)
    with tempfile.TemporaryDirectory() as out:
        recipe.run(n, out, engine=engine, progress=Listener())
    end = (time.process_time(), time.perf_counter(), _peak_kib())
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    begun, made = seen["generate"], seen["report"]
    return {
        "records": n,
        "records/s": n / (made[0] - begun[0]),
        "wall s": made[1] - begun[1],
        "report s": end[0] - made[0],
        "MiB before": begun[2] / 1024,
        "MiB generated": made[2] / 1024,
        "MiB in all": end[2] / 1024,
    }


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def job(tree: Path, n: int, rejects: float) -> runs.Row:
    """The same in a process of its own, with the code of a tree."""
    command = [sys.executable, __file__, "--one", str(n), "--rejects", str(rejects)]
    environment = {**os.environ, "PYTHONPATH": str(tree), "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    row: runs.Row = json.loads(done.stdout.splitlines()[-1])
    return row


def jobs(sizes: Sequence[int], rejects: float, repeats: int, against: Path | None) -> list[runs.Row]:
    """Records a second and memory by number of records; small jobs are repeated."""
    rows = []
    trees = {"": ROOT} | ({} if against is None else {"before": against})
    for n in sizes:
        found: dict[str, list[runs.Row]] = {name: [] for name in trees}
        for _ in range(repeats if n <= 100_000 else 1):
            for name, tree in trees.items():
                found[name].append(job(tree, n, rejects))
        here = found[""]
        row: runs.Row = {"records": n, "records/s": runs.spread([float(str(r["records/s"])) for r in here])}
        for key in ("wall s", "report s", "MiB before", "MiB generated", "MiB in all"):
            row[key] = runs.rounded(median(float(str(r[key])) for r in here))
        if against is not None:
            speeds = [[float(str(r["records/s"])) for r in found[name]] for name in ("before", "")]
            row["before"] = runs.spread(speeds[0])
            row["times faster"] = runs.ratio(speeds[1], speeds[0])
        rows.append(row)
    return rows


def parts(n: int, repeats: int) -> list[runs.Row]:
    """Each part alone and the plain way beside it, in turns on one core; microseconds a record."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import polars as pl

    from synthgen import braces
    from synthgen.engines.protocol import Completion, Request
    from synthgen.parquet import to_frame
    from synthgen.plan import Plan
    from synthgen.schema import RecordSchema, load_model
    from synthgen.validation import Record, validate

    model = load_model("schemas/biography.py:Biography", ROOT)
    schema = RecordSchema.from_model(model)
    ready = texts()
    answers = [ready[i % N_TEXTS] for i in range(n)]
    completions = [Completion(i, text, "stop", 50) for i, text in enumerate(answers)]
    strings = [braces.parse(text, 6) for text in answers]
    inputs = [dict(zip(schema.names, values, strict=True)) for values in strings if isinstance(values, tuple)]
    outcomes = [validate(schema, completion, 0, "base") for completion in completions]
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(records) == n
    values = [dict(record.values) for record in records]
    plan, naive = Plan(n, 1, (("base", 1.0),), 50_000), re.compile(r"\{([^{}]*)\}")
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def jsonl() -> None:
            with (place / "naive.jsonl").open("w", encoding="utf-8") as file:
                for row in values:
                    file.write(json.dumps(row, default=str, ensure_ascii=False) + "\n")

        def table() -> None:
            with (place / "naive.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, list(values[0]))
                writer.writeheader()
                writer.writerows(values)

        works: dict[str, dict[str, Callable[[], object]]] = {
            "ask": {
                "plan, seed, request": lambda: [
                    Request(i, (1, 2, 3), plan.adapter_of(i), plan.seed_of(i, 0)) for i in range(n)
                ]
            },
            "parse": {
                "ours": lambda: [braces.parse(text, 6) for text in answers],
                "re.findall": lambda: [naive.findall(text) for text in answers],
            },
            "validate": {
                "ours, text to record": lambda: [validate(schema, c, 0, "base") for c in completions],
                "Pydantic one by one, parsed text to dict": lambda: [
                    model.model_validate(row).model_dump() for row in inputs
                ],
                "Pydantic one by one, without derived": lambda: [model.model_validate(row) for row in inputs],
            },
            "write": {
                "ours: journal, counts, Parquet, checksum": lambda: _written(
                    place / str(next(numbers)), plan, schema, completions, records
                ),
                "columns alone": lambda: [to_frame(records[i : i + 2000], schema) for i in range(0, n, 2000)],
                "json.dumps, a line each": jsonl,
                "csv.DictWriter": table,
                "polars from dicts, one file": lambda: pl.DataFrame(values).write_parquet(
                    place / "naive.parquet"
                ),
            },
        }
        rows: list[runs.Row] = []
        for part, sides in works.items():
            times = runs.in_turns({name: (lambda w=w: _cpu_s(w)) for name, w in sides.items()}, repeats)
            own = next(iter(times))
            for name, seconds in times.items():
                row: runs.Row = {
                    "part": part,
                    "way": name,
                    "µs/record": runs.spread([s / n * 1e6 for s in seconds]),
                }
                rows.append({**row, "of ours": None if name == own else runs.ratio(seconds, times[own])})
    return rows


def _written(
    out: Path,
    plan: object,
    schema: RecordSchema,
    completions: Sequence[Completion],
    records: Sequence[object],
) -> None:
    from synthgen.sink import Sink

    with Sink(out, plan, schema, {}) as sink:  # type: ignore[arg-type]
        for completion, record in zip(completions, records, strict=True):
            sink.write(completion, record)  # type: ignore[arg-type]


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--rejects", type=float, default=0.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--no-parts", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one is not None:
        print(json.dumps(one(asked.one, asked.rejects, False)))
        return
    if asked.profile:
        one(100_000, asked.rejects, True)
        return
    rows = jobs(asked.sizes, asked.rejects, asked.repeats, asked.against)
    runs.print_table("whole jobs on one core; before: the other tree", rows)
    beside = [] if asked.no_parts else parts(40_000, asked.repeats)
    runs.print_table("parts alone", beside)
    headline = {f"{row['records']:,}": row["records/s"]["median"] for row in rows}  # type: ignore[index]
    runs.keep("pipeline", headline, [{**row, "rejects": asked.rejects} for row in rows] + beside)


if __name__ == "__main__":
    main()
