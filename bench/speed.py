"""Every speed bench, one after another, and one page of goals and figures from what they keep: results/speed.md.

    python bench/speed.py                          # all of them: hours; --trl VENV/bin/python is passed on
    python bench/speed.py --only start seeds       # some of them
    python bench/speed.py --page                   # the page again, nothing is run

A bench that fails is named on the page and does not stop the others; how each of them ended is kept in speed.json.
A goal takes the newest kept run that holds its figure; a figure that nobody kept is not measured, and never met.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import runs

Run = dict[str, Any]  # as runs.keep writes it
Rows = Sequence[Mapping[str, Any]]
Figures = dict[str, Any]  # name → a number, or its median, least and most


@dataclass(frozen=True)
class Bench:
    """A command; the key that tells its runs from others in the same file; what its tables show."""

    name: str
    command: str
    key: str
    shows: str

    @property
    def file(self) -> str:
        """Name of its result file, without the suffix."""
        return Path(self.command.split()[0]).stem


@dataclass(frozen=True)
class Goal:
    """Figures to reach, each of them; without a bound they are stated only."""

    what: str
    against: str
    bench: str
    figures: Callable[[Rows], Figures]
    unit: str = ""
    least: float = -inf
    most: float = inf
    missed: str = ""  # where it is not met: what holds the rest, and the next idea

    @property
    def bound(self) -> str:
        """The goal as text."""
        bounds = [("≥", self.least), ("≤", self.most)]
        return " and ".join(f"{sign} {n:,g}{self.unit}" for sign, n in bounds if isfinite(n)) or "stated"

    def verdict(self, figures: Figures) -> str:
        """Whether it is met; the medians decide."""
        if not figures or self.bound == "stated":
            return "—" if figures else "not measured"
        medians = [v["median"] if isinstance(v, dict) else v for v in figures.values()]
        turns = [n for v in figures.values() if isinstance(v, dict) for n in v.values()]
        if not all(self.least <= n <= self.most for n in medians):
            return "no"
        return "yes" if all(self.least <= n <= self.most for n in turns) else "yes, by the median"


def each(key: str, by: str = "", names: Sequence[str] = (), **same: object) -> Callable[[Rows], Figures]:
    """The figure of every row that is like `same`, named by the row's `by`; none unless all `names` are there."""

    def figures(rows: Rows) -> Figures:
        alike = [row for row in rows if row.get(key) is not None and same.items() <= row.items()]
        found = {text(row.get(by)): row[key] for row in alike}
        return found if set(names) <= set(found) else {}

    return figures


def over_python(start: str) -> Callable[[Rows], Figures]:
    """Milliseconds over the median of Python's own start."""

    def figures(rows: Rows) -> Figures:
        ms = each("ms", "start")(rows)
        if not {start, "python -c pass"} <= set(ms):
            return {}
        return {"": {k: runs.rounded(v - ms["python -c pass"]["median"]) for k, v in ms[start].items()}}

    return figures


def growth(rows: Rows) -> Figures:
    """Peak memory of the largest job over that of the smallest."""
    jobs = sorted((row for row in rows if "MiB in all" in row), key=lambda row: row["records"])
    if not set(SIZES) <= {text(row["records"]) for row in jobs}:
        return {}
    names = {"MiB generated": "until generated", "MiB in all": "with the report"}
    return {name: runs.rounded(jobs[-1][key] / jobs[0][key]) for key, name in names.items()}


def times_less(task: str) -> Callable[[Rows], Figures]:
    """SFT's time over ours; where no run of SFT had got there when it was stopped, that is said."""

    def figures(rows: Rows) -> Figures:
        of = [row for row in rows if row.get("SFT by") == "TRL" and row["task"] == task]
        return {
            "" if row["SFT reached it"] else "at least, SFT had not got there": row["times less"]
            for row in of
        }

    return figures


def kl_reached(rows: Rows) -> Figures:
    """Our exact KL as a share of the KL to reach."""
    of = {row["task"]: (row["our KL"], row["KL to reach"]) for row in rows if row.get("SFT by") == "TRL"}
    return {task: {k: runs.rounded(v / goal) for k, v in kl.items()} for task, (kl, goal) in of.items()}


def best_first(rows: Rows) -> Figures:
    """Every setting's ratio, the best first, where the usual ways are among them."""
    found = each("of ours", "way", ("ours", "vLLM's defaults"))(rows)
    return dict(sorted(found.items(), key=lambda item: -item[1]["median"]))


STEP = {"model": "nano", "dtype": "fp32"}
SIZES = ("1,000", "10,000", "100,000", "1,000,000")
PUBLISHED, PYTHON = "the published algorithm", "Python's own start"
BENCHES = (
    Bench("step", "bench/tuning_step.py", "prompts", "Seconds and memory of one step, ours and the published algorithm's, and their shares of what the machine can do at most; the ratios are of the same turns."),
    Bench("scaling", "bench/tuning_step.py --scaling", "targets", "Our step as one of number of targets, prompt length and rank changes and the others stay; nodes are the distinct prefixes that the step runs through."),
    Bench("pace", "bench/tuning_step.py --pace", "pack", "Our step over sizes of packs and batches: larger ones take memory to save time, until they no longer do."),
    Bench("profile", "bench/tuning_step.py --profile", "operation", "Milliseconds of a step by operation, as torch's profiler sees them: the published algorithm's, ours with PEFT's layers and AdamW, ours. An operation's own time, without what it calls; the profiler's own cost is in it."),
    Bench("sft", "bench/tuning_sft.py", "task", "Seconds of training until the same exact KL; SFT has the best of several rates and schedules, and the last table has what each of them did."),
    Bench("job", "bench/generation.py", "of bare", "Requests a second of whole jobs after the engine's start, and of a bare vLLM loop over as many; the floor is what the machine's arithmetic and memory would allow."),
    Bench("adapters", "bench/generation.py --sides base one three merged", "of base", "Requests a second with adapters in the mix, beside the same engine without LoRA; all answers have one length."),
    Bench("settings", "bench/settings.py", "way", "vLLM's settings changed one at a time, each beside synthgen's own in the same turns; ours beside itself is what chance alone does."),
    Bench("seeds", "bench/seeds.py", "seeds", "The same requests with a seed each and with one seed for the engine: the ratio is the price of records that do not depend on their neighbours."),
    Bench("pipeline", "bench/pipeline.py", "part", "Whole jobs on one core with an engine that costs nothing, then every part alone beside the plain way to do it; `of ours` is the plain way's time over ours, so below one the plain way is faster."),
    Bench("report", "bench/report_speed.py", "of scan alone", "A report as a whole process beside processes that only read, or only count, the same columns; `of scan alone` leaves the start of those out."),
    Bench("estimate", "bench/estimate.py", "took of told", "The time that `check` tells after a preview, and the time that the run then takes, tuning to report."),
    Bench("start", "bench/start.py --first", "first record by", "Fresh processes from start to end, beside a Python that does nothing, then the wait for the first record by engine."),
)  # fmt: skip
GOALS = (
    Goal("tuning step, 210 biography tuples, fp32", PUBLISHED, "step", each("times less", prompts="biographies", **STEP), "× less time", least=6),
    Goal("tuning step, six-task prompts, fp32", PUBLISHED, "step", each("times less", prompts="six tasks", **STEP), "× less time", least=10, missed="Counted operations allow less than this: `times less at most` below is the published algorithm's operations over the least that any needs. And a step of one short prompt is many small operations, which reach a smaller share of the machine's peak than the reference's large ones (see the profile). Next: several prompts in one padded batch."),
    Goal("activation memory of the biographies' step", PUBLISHED, "step", each("memory less", prompts="biographies", **STEP), "× less", least=5),
    Goal("loss of the same steps, relative difference", PUBLISHED, "step", each("loss differs by", "prompts", **STEP), most=1e-4),
    *(Goal(f"tuning to the same exact KL: {task}", "hard-target SFT with TRL", "sft", times_less(task), "× less time", least=5)
      for task in ("die", "names")),
    Goal("KL that ours ended at, of the KL to reach", "the KL to reach", "sft", kl_reached, most=1),
    Goal("generation, whole job, by records", "a bare vLLM loop", "job", each("of bare", "records", side="job"), " of requests/s", least=0.97, missed="Records come about as fast as from the bare loop. The rest is the sample of the untuned model, which runs the engine empty once more, and the report: a few seconds each, whatever the number of records; in long turns the machine's own noise. Next: records asked for while that sample ends, charts drawn on all cores."),
    Goal("adapters, by number mixed", "the same engine without LoRA", "adapters", each("of base", "side"), " of requests/s"),
    Goal("everything but the model, one core, by records", "", "pipeline", each("records/s", "records", SIZES, rejects=0.0), " records/s", least=50_000, missed="Where the smallest job alone misses it: every job pays once for Polars' first table, the manifest and files forced to the disk, a few milliseconds. Where larger ones do, compare the machine with those over time: it is one core of Python. Next: nothing that a user would notice."),
    Goal("its peak memory: flat; 1,000,000 records over 1,000", "", "pipeline", growth, "×"),
    *(Goal(f"{part} alone: the others' time over ours", against, "pipeline", each("of ours", "way", part=part), "×")
      for part, against in (("parse", "re"), ("validate", "Pydantic one by one"), ("write", "naive writers"))),
    *(Goal("report on 10,000,000 rows", f"a Polars scan of the same columns: {side}", "report", each("report takes", side=side, rows=10_000_000), "× its time", most=5, missed=missed)
      for side, missed in (("read", "A report also counts, sorts and compares what this scan only reads; the line below counts too."), ("count", ""))),
    Goal("`--help`", PYTHON, "start", over_python("synthgen --help"), " ms over it", most=150),
    Goal("`import synthgen`", PYTHON, "start", over_python("import synthgen"), " ms over it", most=150),
    Goal("`check`", PYTHON, "start", over_python("synthgen check recipes/bios.yaml"), " ms over it", most=700, missed="Half is imports (pydantic, numpy, Faker, rich), half are the targets of the plan's examples, which a user's function draws from GeoNames' cities. It is one core of Python: compare the machines over time. Next: a list of places that needs no parsing."),
    Goal("first record of nano, by engine", "", "start", each("s", "first record by", ("vllm", "transformers")), " s", most=15, missed="Starting the engine is most of it: importing torch with vLLM or transformers, loading, the canary. Compare the machines over time. Next: a preview of few records by the transformers engine, which starts sooner."),
    Goal("time of a run, tuning to report", "the time that `check` tells", "estimate", each("took of told", "engine"), "× of it", least=0.67, most=1.5),
    Goal("a seed for every record", "one seed for the engine", "seeds", each("of the engine's seed", seeds="own seeds"), " of records/s"),
    Goal("vLLM's settings, the best first", "synthgen's own", "settings", best_first, " of records/s"),
)  # fmt: skip


def kept(folder: Path, file: str) -> list[Run]:
    """All kept runs of a result file, the newest last."""
    path = folder / f"{file}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def newest(found: Sequence[Run], figures: Callable[[Rows], Figures]) -> tuple[Run | None, Figures]:
    """The newest run that holds the figures, and these."""
    return next(((run, held) for run in reversed(found) if (held := figures(run["rows"]))), (None, {}))


def failures(folder: Path) -> dict[str, tuple[str, str]]:
    """Benches whose last try by this script failed: its date, and what is said of it."""
    tries = [(run["date"], row) for run in kept(folder, "speed") for row in run["rows"]]
    last = {row["bench"]: (date, row["exit code"]) for date, row in tries}
    return {name: (date, f"**failed with exit code {n}**, {date}") for name, (date, n) in last.items() if n}


def text(value: object) -> str:
    """A cell: a median with its range, a number, words."""
    return (("no", "yes")[value] if isinstance(value, bool) else runs._cell(value)).replace("|", "\\|")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table; a column for every key of any row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([text(row.get(key)) for key in columns] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tables(rows: Rows) -> list[str]:
    """A table for every kind of row; rows within a row come last, each behind the first cell of theirs."""
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    flat, inner = [], []
    for row in rows:
        many = {k: v for k, v in row.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
        flat.append({k: v for k, v in row.items() if k not in many})
        inner += [dict([next(iter(row.items()))], **one) for ones in many.values() for one in ones]
    for row in [*flat, *inner]:
        alike.setdefault(tuple(row), []).append(row)
    return [table(many) for many in alike.values()]


def how(run: Run, head: Run, failed: tuple[str, str] | None) -> str:
    """A run's command; day, machine and versions where they are not the head's; a later try that failed."""
    said = [f"`{re.sub(r'[^ ]*/(?=bench/)', '', run['command'])}`"]
    said += [run[key] for key, n in (("date", 10), ("machine", None)) if run[key][:n] != head[key][:n]]
    versions, ours = run["versions"].items(), head["versions"]
    said += [f"{name} {version}" for name, version in versions if ours.get(name, version) != version]
    return "; ".join([*said, failed[1]] if failed and failed[0] >= run["date"] else said)


def page(folder: Path, goals: Sequence[Goal] = GOALS, benches: Sequence[Bench] = BENCHES) -> str:
    """Goals, every bench's rows, and headline figures over time, from what is kept in a folder."""
    by_file, failed = {bench.file: kept(folder, bench.file) for bench in benches}, failures(folder)
    by_name = {bench.name: bench for bench in benches}
    found = [(goal, *newest(by_file[by_name[goal.bench].file], goal.figures)) for goal in goals]
    shown: dict[str, list[Run]] = {}  # the newest run, and those that goals hold to where they are others
    for name, bench in by_name.items():
        own = newest(by_file[bench.file], each(bench.key, bench.key))[0]
        many = [own, *(run for goal, run, _ in found if goal.bench == name)]
        shown[name] = list({id(run): run for run in many if run}.values())
    every = [run for many in by_file.values() for run in many] or kept(folder, "speed")
    if not every:
        return "# Speed\n\nNothing is kept yet: `synthgen bench speed` measures.\n"
    head, lines = max(every, key=lambda run: str(run["date"])), []
    for goal, run, figures in found:
        plain, fault = f"`python {by_name[goal.bench].command}`", failed.get(goal.bench)
        lines.append(line(goal, figures, how(run, head, fault) if run else plain))
    parts = [preface(head), *(f"{name} {said}." for name, (_, said) in failed.items()), table(lines)]
    missed = [goal for goal, _, figures in found if goal.missed and goal.verdict(figures) == "no"]
    parts += (
        ["Not met, why, and what next:", *(f"- {goal.what}: {goal.missed}" for goal in missed)]
        if missed
        else []
    )
    for name, bench in by_name.items():
        parts += [f"## {name}", bench.shows]
        for run in shown[name]:
            parts += [how(run, head, failed.get(name)), *tables(run["rows"])]
        if not shown[name]:
            parts.append(f"Missing: no run of `python {bench.command}` is kept.")
    for file, past in by_file.items():
        facts = {"date", "machine", "commit", "command"}
        rows = [{**{k: v for k, v in run.items() if k in facts}, **run["headline"]} for run in past]
        parts += [f"## {file}, over time", table(rows) if rows else "Missing: nothing is kept."]
    return "\n\n".join(parts) + "\n"


def preface(head: Run) -> str:
    """When, where, with what and how the page was made."""
    versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    return f"""# Speed

{head["date"][:10]}; {head["machine"]}; Python {head["python"]}; {versions}.

Made by `synthgen bench speed`, which runs the commands below one after another; with `--page` it only draws this page
again. Every line has the newest kept run that holds its figures: medians with their range, of turns in one run. Day,
machine and versions stand beside a command where they are not those above."""


def line(goal: Goal, figures: Figures, command: str) -> dict[str, object]:
    """A goal's line of the table."""
    named = [f"{name}: {text(value)}" if name else text(value) for name, value in figures.items()]
    return {
        "what": goal.what,
        "against": goal.against,
        "goal": goal.bound,
        "measured: median (range)": "; ".join(named) + goal.unit if named else "not measured",
        "met?": goal.verdict(figures),
        "command": command,
    }


def measure(bench: Bench, root: Path) -> runs.Row:
    """Run a bench in a process of its own, its output shown: how it ended, after how many seconds."""
    print(f"── {bench.name}: python {bench.command}", flush=True)
    started, command = time.monotonic(), [sys.executable, *shlex.split(bench.command)]
    done = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    seconds = round(time.monotonic() - started)
    return {"bench": bench.name, "exit code": done.returncode, "s": seconds}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", nargs="+", choices=[bench.name for bench in BENCHES], metavar="NAME")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--trl", help="a Python that has TRL, for tuning_sft.py")
    asked = parser.parse_args()
    failed = 0
    for bench in () if asked.page else BENCHES:
        if asked.only is None or bench.name in asked.only:
            trl = f" --trl {shlex.quote(asked.trl)}" if asked.trl and bench.name == "sft" else ""
            ended = measure(replace(bench, command=bench.command + trl), runs.ROOT)
            runs.keep("speed", {bench.name: ended["s"]}, [ended])
            failed += ended["exit code"] != 0
    (runs.RESULTS / "speed.md").write_text(page(runs.RESULTS), encoding="utf-8")
    print(f"written: {runs.RESULTS / 'speed.md'}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
