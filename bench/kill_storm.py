"""SIGKILL at random moments of real runs, again and again, and then a count of what is lost or doubled.

    python bench/kill_storm.py --kills 200

Every run is a real `synthgen recipe` in a process of its own, killed at a moment drawn uniformly over the processor
time of an undisturbed run (every second pair of kills: over what follows its start-up): start-up, generation with its many shard commits, report. Every second kill hits the engine's
processes too, the others only the parent. The same command goes on until the dataset is finished; then it is
checked and the next one begins. About one attempt in ten is rejected, so that rejects are counted too.

    python bench/kill_storm.py --engine vllm --kills 10 --n 500

After the last resume of a dataset: n rows with the ids 0 to n − 1 once each, checksums, counts and rejects that
add up, no temporary files; every shard that was final at a kill is the same byte for byte, every completion that
was in a journal is the record or the rejection that it was; and with the fake engine the data equal those of
the undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from stamp import stamp

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthgen.engines.protocol import Completion
from synthgen.files import sha256
from synthgen.parquet import is_intact, to_frame
from synthgen.schema import RecordSchema, load_model
from synthgen.shard import Shard
from synthgen.validation import Record, validate
from tests.whole import findings

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "kill_storm.json"
SCHEMA = '''"""A die that may not show its highest number."""

from pydantic import BaseModel, Field, field_validator


class Die(BaseModel):
    """One roll."""

    value: int = Field(title="Number", ge=1, le=10)

    @field_validator("value")
    @classmethod
    def _not_ten(cls, value: int) -> int:
        if value == 10:
            raise ValueError("not ten")
        return value
'''
RECIPE = """schema: die.py:Die
seed: 11
generate: {{mix: {{base: 1.0}}, max_attempts: 50}}
export: {{rows_per_shard: {rows_per_shard}}}
"""


@dataclass
class Dataset:
    """What has to be there at the end, whatever happens on the way."""

    out: Path
    shards: dict[str, str] = field(default_factory=dict)  # file → digest, of shards that were final at a kill
    completions: dict[tuple[int, int], Completion] = field(default_factory=dict)  # from journals
    adapters: dict[tuple[int, int], str] = field(default_factory=dict)
    n_kills: int = 0


@dataclass
class Storm:
    """How to run, and what was counted."""

    folder: Path
    engine: str
    n: int
    schema: RecordSchema
    start_s: float = 0.0  # processor time of an undisturbed run until it writes its first file
    life_s: float = 0.0  # and until its end
    undisturbed: pl.DataFrame | None = None
    phases: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        """The command, out of reach of this terminal's Ctrl-C."""
        command = [sys.executable, "-m", "synthgen.cli", "recipe", str(self.folder / "die.yaml")]
        command += ["--n", str(self.n), "--out", str(out), "--engine", self.engine, "--quiet", "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def descendants(pid: int) -> list[int]:
    """Children and theirs; an engine's process stands in a session of its own."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [one for child in map(int, children) for one in (child, *descendants(child))]


def cpu_s(pid: int) -> float:
    """Processor time of a process and its living descendants."""
    ticks = 0
    for one in (pid, *descendants(pid)):
        with suppress(OSError, IndexError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def kill(process: subprocess.Popen[bytes], way: str) -> bool:
    """Kill the parent alone, or all of the family; whether the rest was gone within a minute by itself."""
    rest = descendants(process.pid)
    process.kill()
    if way == "family":
        for pid in rest:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while alive := [pid for pid in rest if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


def traces(out: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file: equal before and after a run that did nothing."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(p.relative_to(out)): (p.stat().st_size, p.stat().st_mtime_ns) for p in paths}


def phase(out: Path, before: dict[str, tuple[int, int]], n_shards: int) -> str:
    """What the run was doing when it was killed, from what it left."""
    names = set(traces(out))
    if traces(out) == before:
        return "start-up"
    half = {name for name in names if name.endswith(".tmp")}
    if any("part-" in name for name in half):
        return "inside a shard's commit"
    if "._manifest.json.tmp" in half:
        return "inside the manifest"
    if half:
        return "inside another file"
    if "_manifest.json" not in names:
        return "start-up"
    entries = json.loads((out / "_manifest.json").read_text(encoding="utf-8"))["shards"]
    if {name for name in names if name.startswith("part-")} - {e["file"] for e in entries.values()}:
        return "between a shard and the manifest"
    if any(f".work/shard-{int(number):05d}.journal" in names for number in entries):
        return "between the manifest and the journal's removal"
    if "_SUCCESS" in names:
        return "after success"
    if len(entries) == n_shards:
        return "report"
    return "generating" if "base.parquet" in names else "sample of the untuned model"


def remember(dataset: Dataset, storm: Storm) -> None:
    """Note what is durable at this moment, and that nothing is missing that was so at an earlier kill."""
    manifest = dataset.out / "_manifest.json"
    entries = json.loads(manifest.read_text(encoding="utf-8"))["shards"].values() if manifest.exists() else ()
    final: set[int] = set()
    for entry in entries:
        if entry["missing"] == 0:
            final.update(range(entry["first_id"], entry["first_id"] + entry["rows"]))
            if not is_intact(dataset.out, entry):
                storm.problems.append(f"{dataset.out.name}: {entry['file']} is not what the manifest says")
            dataset.shards.setdefault(entry["file"], entry["sha256"])
    known = set(dataset.completions)
    for journal in (dataset.out / ".work").glob("shard-*.journal"):
        copy = shutil.copy(journal, storm.folder / "journal")  # reading one cuts its torn end off
        shard = Shard(range(storm.n), Path(copy), storm.schema)
        for completion, attempt, adapter in shard.replay():
            known.discard((completion.id, attempt))
            dataset.completions.setdefault((completion.id, attempt), completion)
            dataset.adapters[completion.id, attempt] = adapter
        if shard.n_damaged:
            storm.problems.append(f"{dataset.out.name}: {journal.name}: {shard.n_damaged} damaged lines")
    if gone := [key for key in known if key[0] not in final]:
        storm.problems.append(f"{dataset.out.name}: {len(gone)} completions were in a journal and are lost")
    if gone_shards := set(dataset.shards) - {entry["file"] for entry in entries if entry["missing"] == 0}:
        storm.problems.append(f"{dataset.out.name}: {sorted(gone_shards)} were final and are not")


def check(dataset: Dataset, storm: Storm) -> list[str]:
    """What is wrong with a finished dataset, and with what had been durable before."""
    found = findings(dataset.out, storm.n)
    for name, digest in dataset.shards.items():
        if sha256(dataset.out / name) != digest:
            found.append(f"{name} was final and has changed")
    rows = pl.read_parquet(dataset.out / "part-*.parquet")
    if storm.undisturbed is not None and not rows.equals(storm.undisturbed):
        found.append("the data are not those of the undisturbed run")
    rejects = [pl.read_parquet(path) for path in sorted((dataset.out / "rejects").glob("*.parquet"))]
    texts = {
        (i, k): text for frame in rejects for i, k, text in frame.select("_id", "_attempt", "text").rows()
    }
    records = []
    for (i, attempt), completion in sorted(dataset.completions.items()):
        outcome = validate(storm.schema, completion, attempt, dataset.adapters[i, attempt])
        if isinstance(outcome, Record):
            records.append(outcome)
        elif texts.get((i, attempt)) != outcome.text:
            found.append(f"journalled rejection {i}/{attempt} is not in the rejects")
    journalled = to_frame(records, storm.schema)
    if not rows.filter(pl.col("_id").is_in(journalled["_id"].implode())).equals(journalled):
        found.append("a journalled record is not in the data as it was")
    return found


def watch(process: subprocess.Popen[bytes], until_s: float = math.inf, file: Path | None = None) -> float:
    """Wait until the run ends, has used so much processor time, or has a file; returns what it has used."""
    used_s = 0.0
    while process.poll() is None and used_s < until_s and not (file and file.exists()):
        used_s = max(used_s, cpu_s(process.pid))
        time.sleep(0.003)
    return used_s


def weather(storm: Storm, n_kills: int, rows_per_shard: int, rng: np.random.Generator) -> list[Dataset]:
    """Kill and resume until the number of kills is reached, then let the last dataset finish."""
    datasets: list[Dataset] = []
    n_shards = -(-storm.n // rows_per_shard)
    while sum(dataset.n_kills for dataset in datasets) < n_kills:
        dataset = Dataset(storm.folder / f"storm-{len(datasets):03d}")
        datasets.append(dataset)
        while True:
            n_done = sum(d.n_kills for d in datasets)
            way = "family" if n_done % 2 == 0 else "parent"
            before = traces(dataset.out)
            process = storm.start(dataset.out)
            earliest_s = storm.start_s if n_done % 4 >= 2 else 0.0
            watch(process, rng.uniform(earliest_s, storm.life_s) if n_done < n_kills else math.inf)
            if process.poll() is None and not kill(process, way):
                storm.problems.append(f"{dataset.out.name}: children outlived their parent by a minute")
            if process.returncode != -signal.SIGKILL:
                break
            dataset.n_kills += 1
            where = phase(dataset.out, before, n_shards)
            storm.phases[where] += 1
            storm.ways[way] += 1
            remember(dataset, storm)
        if process.returncode:
            log = storm.folder / "log.txt"
            storm.problems.append(f"{dataset.out.name}: exit code {process.returncode}; see {log}")
            return datasets
        found = check(dataset, storm)
        storm.problems += [f"{dataset.out.name}: {finding}" for finding in found]
        print(
            f"{dataset.out.name}: {dataset.n_kills:3} kills, then {'; '.join(found) or 'whole'}", flush=True
        )
        if not found:
            shutil.rmtree(dataset.out)
    return datasets


def main() -> None:
    """Measure an undisturbed run, let the storm loose, write what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", default="fake", choices=["fake", "transformers", "vllm"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--rows-per-shard", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kill-storm-"))
    (folder / "die.py").write_text(SCHEMA)
    (folder / "die.yaml").write_text(RECIPE.format(rows_per_shard=given.rows_per_shard))
    schema = RecordSchema.from_model(load_model("die.py:Die", folder))
    storm = Storm(folder, given.engine, given.n, schema)
    undisturbed = Dataset(folder / "undisturbed")
    began = time.monotonic()
    process = storm.start(undisturbed.out)
    storm.start_s = watch(process, file=undisturbed.out / "_manifest.json")
    storm.life_s = watch(process)
    storm.problems += check(undisturbed, storm)
    if given.engine == "fake":  # whose answers do not depend on what else is in the batch
        storm.undisturbed = pl.read_parquet(undisturbed.out / "part-*.parquet")
    print(
        f"an undisturbed run takes {storm.life_s:.1f} s of processor time, {storm.start_s:.1f} s to start; {folder}",
        flush=True,
    )
    datasets = weather(storm, given.kills, given.rows_per_shard, np.random.default_rng(given.seed))
    n_kills = sum(storm.phases.values())
    for where, count in storm.phases.most_common():
        print(f"{count:5}  {where}")
    print(f"{n_kills:5}  kills over {len(datasets)} datasets; {len(storm.problems)} problems")
    for problem in storm.problems:
        print(f"       {problem}")
    content = {
        **stamp(),
        "engine": given.engine,
        "n": given.n,
        "rows_per_shard": given.rows_per_shard,
        "start_cpu_s": round(storm.start_s, 1),
        "life_cpu_s": round(storm.life_s, 1),
        "seconds": round(time.monotonic() - began),
        "kills": n_kills,
        "datasets": len(datasets),
        "kills_by_phase": dict(storm.phases.most_common()),
        "kills_by_way": dict(storm.ways),
        "final_shards_held": sum(len(d.shards) for d in datasets),
        "journalled_completions_held": sum(len(d.completions) for d in datasets),
        "problems": storm.problems,
    }
    given.result.parent.mkdir(parents=True, exist_ok=True)
    given.result.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if storm.problems:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
