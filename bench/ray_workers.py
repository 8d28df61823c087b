"""A run on Ray whose worker is killed half way, beside the same run without Ray: are they the same dataset?

    python bench/ray_workers.py [--n 20000] [--workers 2]

Uses the fake engine, so it measures what the runners cost and no model. Writes bench/results/ray_workers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import polars as pl
import psutil
from stamp import stamp

from synthgen import Recipe
from synthgen.files import sha256
from synthgen.progress import SilentProgress
from synthgen.run import Run, run_recipe
from synthgen.runners import RayCluster

ROOT = Path(__file__).parent.parent
RECIPE = {
    "schema": "schemas/biography.py:Biography",
    "seed": 11,
    "generate": {"mix": {"base": 1.0}, "engine": "fake"},
    "export": {"rows_per_shard": 2000},
}


class Killer(SilentProgress):
    """Kills one worker of this process's Ray, at work on a shard, once a quarter of the records is there."""

    def __init__(self) -> None:
        self.n_killed = 0
        self.n_done_then = 0
        self.notes: list[str] = []

    def generating(self, done: int, total: int, *_: int) -> None:
        if self.n_killed == 0 and done >= total / 4:
            family = psutil.Process().children(recursive=True)
            titles = {process.pid: " ".join(process.cmdline()).strip() for process in family}
            at_work = [pid for pid, title in titles.items() if title.endswith("(ShardWorker)).submit")]
            if at_work:
                os.kill(at_work[0], signal.SIGKILL)
                self.n_killed, self.n_done_then = 1, done

    def note(self, text: str) -> None:
        self.notes.append(text)


def shards(run: Run) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(run.out.glob("part-*.parquet"))}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    recipe = Recipe.from_mapping(RECIPE, base=ROOT)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        here = run_recipe(recipe, asked.n, Path(folder, "local"))
        local_s, began = time.monotonic() - began, time.monotonic()
        killer = Killer()
        runner = RayCluster(workers=asked.workers)
        there = run_recipe(recipe, asked.n, Path(folder, "ray"), runner=runner, progress=killer)
        ray_s = time.monotonic() - began
        ids = there.to_polars()["_id"]
        result = {
            **stamp(),
            "n": asked.n,
            "workers": asked.workers,
            "workers_killed": killer.n_killed,
            "records_when_killed": killer.n_done_then,
            "shards_tried_again": sum("its worker died" in note for note in killer.notes),
            "rows": len(ids),
            "ids_are_0_to_n": bool((ids == pl.int_range(asked.n, eager=True)).all()),
            "shards": len(shards(there)),
            "shards_byte_for_byte_the_local_ones": shards(there) == shards(here),
            "base_sample_the_same": sha256(here.out / "base.parquet") == sha256(there.out / "base.parquet"),
            "rejected": [run.summary["n_rejected"] for run in (here, there)],
            "local_s": round(local_s, 1),
            "ray_s": round(ray_s, 1),
        }
    text = json.dumps(result, indent=2)
    print(text)
    (ROOT / "bench" / "results" / "ray_workers.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
