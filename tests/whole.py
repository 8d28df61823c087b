"""What holds of every finished dataset, whatever happened on the way. For tests and bench/kill_storm.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from synthgen.files import sha256


def findings(out: Path, n: int) -> list[str]:
    """What is wrong with a dataset that should be finished and hold `n` records; [] if nothing is."""
    return list(_findings(out, n))


def _findings(out: Path, n: int) -> Iterator[str]:
    if not (out / "_SUCCESS").exists():
        yield "no _SUCCESS"
    if left := [str(p.relative_to(out)) for p in out.rglob("*") if p.name.endswith(".tmp")]:
        yield f"temporary files: {left}"
    if (out / ".work").exists():
        yield "journals are left"
    manifest = json.loads((out / "_manifest.json").read_text(encoding="utf-8"))
    entries = sorted(manifest["shards"].items(), key=lambda pair: int(pair[0]))
    files = [entry["file"] for _, entry in entries]
    if sorted(p.name for p in out.glob("part-*")) != sorted(files):
        yield "the shards on disk are not those of the manifest"
    with_rejects = sorted(entry["file"] for _, entry in entries if entry["rejects"])
    if sorted(p.name for p in (out / "rejects").glob("*")) != with_rejects:
        yield "the rejects on disk are not those of the manifest"
    ids: list[int] = []
    tries = Counter[tuple[int, int]]()
    for number, entry in entries:
        here, kept, n_rejects = _shard(out, entry)
        yield from (f"shard {number}: {finding}" for finding in here)
        ids += kept["_id"].to_list()
        tries.update(n_rejects)
    if lost := len(set(range(n)) - set(ids)):
        yield f"{lost} records lost"
    if doubled := len(ids) - len(set(ids)):
        yield f"{doubled} records doubled"
    if ids != sorted(ids) or len(ids) != n:
        yield f"{len(ids)} rows, expected {n} in the order of their ids"
    if twice := sum(count > 1 for count in tries.values()):
        yield f"{twice} rejected attempts are there twice"
    run = manifest["run"]
    if (run["n_accepted"], run["n_rejected"]) != (n, tries.total()):
        yield f"the summary says {run['n_accepted']} + {run['n_rejected']}, the files {n} + {tries.total()}"
    if run["n_attempted"] != run["n_accepted"] + run["n_rejected"]:
        yield "attempted is not accepted + rejected"
    if json.loads((out / "report.json").read_text(encoding="utf-8"))["n_records"] != n:
        yield "the report is of another number of records"


def _shard(out: Path, entry: dict[str, object]) -> tuple[list[str], pl.DataFrame, list[tuple[int, int]]]:
    """Findings, rows and rejected attempts of one shard."""
    found: list[str] = []
    path = out / str(entry["file"])
    if (path.stat().st_size, sha256(path)) != (entry["bytes"], entry["sha256"]):
        found.append("bytes or checksum differ")
    rows = pl.read_parquet(path)
    rejected: list[tuple[int, int]] = []
    if entry["rejects"]:
        rejects = pl.read_parquet(out / "rejects" / str(entry["file"]))
        rejected = list(rejects.select("_id", "_attempt").iter_rows())
    counts = entry["counts"]
    assert isinstance(counts, dict)
    if (entry["rows"], entry["missing"], entry["rejects"]) != (rows.height, 0, len(rejected)):
        found.append("rows, missing or rejects are not what the files hold")
    if (counts["accepted"], counts["attempted"]) != (rows.height, rows.height + len(rejected)):
        found.append("attempted is not accepted + rejects")
    if counts["attempted"] - counts["accepted"] != sum(counts["reasons"].values()):
        found.append("the reasons do not add up")
    return found, rows, rejected
