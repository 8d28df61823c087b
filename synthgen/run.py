"""The pipeline: recipe → adapters → records → dataset → proof. Read `run_recipe` as a table of contents.

Only this file knows the order. The stages it calls know the types of the stages above them, never each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from synthgen.engines.protocol import Engine
from synthgen.errors import GateError, Incomplete, RecipeError
from synthgen.folder import SUCCESS, read_manifest
from synthgen.generation import ask_as_declared, generate, opened
from synthgen.job import hard_prompts, prepare, ready_adapters, tuned_tuples
from synthgen.models import model_fingerprint
from synthgen.parquet import rejects_frame
from synthgen.plan import BASE, N_BEFORE, Plan
from synthgen.progress import Progress, SilentProgress
from synthgen.proof import GENERATION, judged, prove, run_facts, summary_of
from synthgen.quota import Quotas, quota_shares
from synthgen.recipe import Recipe
from synthgen.report import write_reports
from synthgen.report.facts import Facts, load_facts
from synthgen.runners import RayCluster
from synthgen.runners.local import Work, attempts
from synthgen.shard import Counts
from synthgen.sink import Sink
from synthgen.speeds import Stopwatch, is_known
from synthgen.unique import Uniqueness, check_support
from synthgen.validation import Record, Rejection

MEASURE_S = 20.0  # at most, for a preview to see how fast the engine is


@dataclass(frozen=True)
class Run:
    """A finished dataset: where it is, what it counts, and what the report says."""

    out: Path
    summary: Mapping[str, object]
    report: Facts

    def to_polars(self) -> pl.DataFrame:
        """All records, in id order."""
        return pl.read_parquet(self.out / "part-*.parquet")

    def rejections(self) -> pl.DataFrame:
        """All rejected attempts with stage, reason, detail and the model's raw text."""
        parts = sorted((self.out / "rejects").glob("part-*.parquet"))
        return pl.concat([pl.read_parquet(part) for part in parts]) if parts else rejects_frame([])


def run_recipe(
    recipe: Recipe,
    n: int,
    out: Path | None = None,
    *,
    engine: str | Engine | None = None,
    overwrite: bool = False,
    extend: bool = False,
    progress: Progress | None = None,
    runner: RayCluster | None = None,
    n_before: int = N_BEFORE,
) -> Run:
    """Make exactly `n` accepted records in `out`, tuned and proven; go on where an earlier run stopped.

    Raises:
        RecipeError: the recipe, or a dataset in `out` that was made otherwise.
        Incomplete: stopped by a signal, or some records failed all their attempts; the same command resumes.
        GateError: the data is there, but not what the gates ask for.
    """
    started = time.monotonic()
    progress = watch = Stopwatch(progress or SilentProgress())
    check_support(recipe, n)
    quota_shares(recipe)  # refuses here what has none
    if runner is not None:
        runner.check(recipe, engine)
    job = prepare(recipe)
    out = out or recipe.out_dir
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    identity = {
        "recipe": recipe.fingerprint,
        "schema": job.schema.fingerprint,
        "model": model_fingerprint(job.model),
    }
    ways = {"adapter_column": recipe.generate.adapter_column, "overwrite": overwrite, "extend": extend}
    with Sink(out, plan, job.schema, identity, origin=recipe.facts, **ways) as sink:
        if sink.is_complete:
            progress.note(f"{out}: complete, {n:,} records; nothing to do")
            found = open_run(out)
            summary = judged(recipe, found.report, found.summary)
            _hold_to_gates(sink, summary)
            return replace(found, summary=summary)
        adapters = ready_adapters(job, progress)
        if sink.shards_to_do() or not sink.has_before or GENERATION not in sink.manifest:
            generate(job, adapters, sink, started, min(n_before, max(n, 100)), engine, progress, runner)
        if sink.n_damaged:
            progress.note(
                f"{out}: {sink.n_damaged} journal lines were damaged; their records were made again"
            )
        progress.stage("report")
        sink.verify()
        reference = recipe.reference()
        run = run_facts(job, sink, adapters, reference)
        facts = prove(job, sink, reference, tuned_tuples(job, adapters), run)
        summary = summary_of(job, sink, facts, run)
        write_reports(facts, out)
        _hold_to_gates(sink, summary)
        sink.succeed(summary)
    watch.keep(recipe)
    return Run(out, summary, facts)


def tune_recipe(recipe: Recipe, progress: Progress | None = None) -> list[Path]:
    """Tune (or find) the recipe's adapters and do nothing else; returns their folders."""
    return [folder for folder, _ in ready_adapters(prepare(recipe), progress or SilentProgress()).values()]


def iterate(
    recipe: Recipe, n: int, batch_size: int = 1000, *, engine: str | Engine | None = None
) -> Iterator[list[Record]]:
    """Exactly `n` accepted records in lists of up to `batch_size`, as they finish, for jobs that want no file.

    Raises:
        Incomplete: after the last list, if some records failed all their attempts.
    """
    check_support(recipe, n)
    job = prepare(recipe)
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    silent = SilentProgress()
    counts = Counts()
    adapters = ready_adapters(job, silent)
    with (
        Uniqueness(recipe.unique, job.schema) as unique,
        opened(job, adapters, engine, silent) as running,
    ):
        hard = hard_prompts(job, adapters)
        most = recipe.generate.max_attempts
        quotas = Quotas(quota_shares(recipe), job.schema, n, most)
        admit = quotas.admitting(unique.admit)
        work = Work(plan, job.schema, job.prompt.ids, most, admit, prompts=hard)
        work = ask_as_declared(work, job, running)

        def accepted() -> Iterator[Record]:
            tries = ((i, 0) for i in range(n))
            for _, outcome in attempts(work, tries, running, lambda: quotas.is_hopeless):
                counts.add(outcome)
                if isinstance(outcome, Record):
                    yield outcome

        records = accepted()
        while batch := list(islice(records, batch_size)):
            yield batch
        if n_missing := n - counts.accepted:
            if lacking := quotas.exhausted():
                raise Incomplete(f"{n_missing} of {n} records are lacking; {lacking}")
            why = unique.exhausted(counts.reasons) or "raise max_attempts"
            raise Incomplete(f"{n_missing} of {n} records failed all {work.max_attempts} attempts; {why}")


def preview(
    recipe: Recipe,
    n: int = 5,
    *,
    engine: str | Engine | None = None,
    base: bool = False,
    progress: Progress | None = None,
) -> list[Record | Rejection]:
    """A few first attempts, accepted or not; `base` shows the untuned model at the plain prompt and tunes nothing.

    Where nobody knows yet how fast the engine makes such records here, it is asked for more, to measure that.
    """
    progress = watch = Stopwatch(progress or SilentProgress())
    job = prepare(recipe)
    mix = ((BASE, 1.0),) if base else recipe.mix
    adapters = {} if base else ready_adapters(job, progress)
    hard = hard_prompts(job, adapters)
    work = Work(Plan(n, recipe.seed, mix, n), job.schema, job.prompt.ids, max_attempts=1, prompts=hard)
    with opened(job, adapters, engine, progress) as running:
        work = work if base else ask_as_declared(work, job, running)
        outcomes = [outcome for _, outcome in attempts(work, ((i, 0) for i in range(n)), running)]
        if watch.engine and not base and not is_known(recipe, watch.engine):
            _measure(work, running, progress)
    if not base:
        watch.keep(recipe)
    return sorted(outcomes, key=lambda outcome: outcome.id)


def _measure(work: Work, engine: Engine, progress: Progress) -> None:
    """Ask for twice as many records as the engine holds, or for `MEASURE_S`, and throw them away.

    What the engine still holds at the end counts half, as it is half done on average.
    """
    n, counts, ends = 2 * engine.capacity, Counts(), time.monotonic() + MEASURE_S
    progress.stage("measure", f"up to {n:,} records, to see how fast they come")
    work = replace(work, plan=replace(work.plan, n=n))
    for _, outcome in attempts(work, ((i, 0) for i in range(n)), engine, lambda: time.monotonic() > ends):
        counts.add(outcome)
        progress.generating(counts.attempted, n, counts.attempted, counts.rejected)
    if 0 < counts.attempted < n:
        made = counts.attempted + min(engine.capacity, n - counts.attempted) // 2
        progress.generating(made, n, made, counts.rejected * made // counts.attempted)


def open_run(out: Path) -> Run:
    """The finished dataset in a folder."""
    manifest = read_manifest(out) if (out / SUCCESS).exists() else None
    if manifest is None:
        raise RecipeError(
            f"{out}: no finished dataset here (no {SUCCESS}); run the recipe, or take another folder"
        )
    return Run(out, {**manifest["run"], "already_complete": True}, load_facts(out))


def _hold_to_gates(sink: Sink, summary: dict[str, object]) -> None:
    """Raise GateError if a gate failed; the data stays, without `_SUCCESS`."""
    if failed := [v for v in summary["gates"] if not v["passed"]]:  # type: ignore[attr-defined]
        sink.fail(summary)
        error = GateError("\n".join(f"{sink.out}: {verdict['text']}" for verdict in failed))
        error.summary = summary
        raise error
