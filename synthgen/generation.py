"""The job and its adapters → an engine at work → records in the sink, every one accepted or rejected for a reason.

The middle of `run`: `generate` fills a sink, here or on Ray; `opened` is the engine, for whoever asks it himself.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from synthgen.adapters import AdapterManifest
from synthgen.asking import asked, drawn, restricted
from synthgen.engines.protocol import Engine, EngineInfo, Sampling
from synthgen.engines.serving import Serving
from synthgen.errors import Incomplete
from synthgen.job import Job, hard_prompts
from synthgen.models import BUILT_IN
from synthgen.parquet import to_frame
from synthgen.progress import Progress
from synthgen.proof import EXACT, GENERATION, QUOTA
from synthgen.quota import Quotas, quota_shares
from synthgen.recipe_tasks import declared_spec
from synthgen.runners import RayCluster
from synthgen.runners.local import Work, attempts, mean_prompt, untuned, work_off
from synthgen.shard import Counts
from synthgen.sink import Sink
from synthgen.spelling import Spelling
from synthgen.styles import most_tokens
from synthgen.unique import Uniqueness
from synthgen.validation import Record

ENGINE_LOG = Path(".work", "engine.log")  # in the dataset's folder until it is finished
Adapters = Mapping[str, tuple[Path, AdapterManifest]]


@dataclass(frozen=True)
class Made:
    """What filling a sink came to: the engine, how many records it made here and how long that took."""

    info: EngineInfo
    n_new: int
    elapsed_s: float
    spelling: Spelling
    why_lacking: str = ""  # why records are lacking, where more is known than that their attempts failed

    @property
    def records_per_s(self) -> float:
        """Of the generation alone, without tuning and start."""
        return self.n_new / self.elapsed_s


def generate(
    job: Job,
    adapters: Adapters,
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
    hard = hard_prompts(job, adapters)
    work = Work(sink.plan, job.schema, job.prompt.ids, job.recipe.generate.max_attempts, prompts=hard)
    with stop_on_signals() as stopping:
        if runner is None:
            work, made = _here(job, adapters, work, sink, n_before, engine, progress, stopping)
        else:
            name = None if engine is None else str(engine)
            work, made = _on_ray(job, adapters, work, sink, n_before, name, progress, stopping, runner)
    if stopping():
        raise _incomplete(sink, "stopped", by_signal=True)
    if sink.n_missing:
        sink.write_unfinished()
        raise _incomplete(sink, made.why_lacking or failed(sink.n_missing, work))
    info = made.info
    entries = {
        "elapsed_s": time.monotonic() - started,
        "records_per_s": made.records_per_s,
        "prompt_tokens": mean_prompt(work),
        "engine": {"name": info.name, "version": info.version, "device": info.device, "seeds": info.seeds},
        "details": {f"engine {key}": value for key, value in info.settings.items()},
        "other_spelling": made.spelling.share,
        "n_spelled": made.spelling.n,
    }
    sink.update({GENERATION: entries})


def _here(
    job: Job,
    adapters: Adapters,
    work: Work,
    sink: Sink,
    n_before: int,
    engine: str | Engine | None,
    progress: Progress,
    stopping: Callable[[], bool],
) -> tuple[Work, Made]:
    """Fill the sink in this process, with one engine."""
    recipe, spelling = job.recipe, Spelling(job.prompt, job.tokenizer)
    with (
        Uniqueness(recipe.unique, job.schema, sink.out) as unique,
        opened(job, adapters, engine, progress, stopping, sink.out / ENGINE_LOG) as running,
    ):
        quotas = Quotas(quota_shares(recipe), job.schema, sink.plan.n, work.max_attempts)
        work = replace(work, admit=spelling.watching(quotas.admitting(unique.admit)))
        sample_before(work, running, sink, n_before, progress, stopping)
        progress.stage("generate", f"{sink.plan.n:,} records")
        work = ask_as_declared(work, job, running, sink)
        quotas.recollect(sink, work.read)
        unique.recollect(sink, work.read, quotas.keeps)
        sink.update({QUOTA: {"fields": quotas.fields}} if quotas.fields else {})
        began = time.monotonic()
        enough = lambda: stopping() or quotas.is_hopeless  # noqa: E731
        n_new = work_off(work, running, sink, enough, lambda: _tell(progress, sink))
        elapsed_s = time.monotonic() - began
        lacking = quotas.exhausted() if sink.n_missing else ""
        repeats = unique.exhausted(sink.counts.reasons) if sink.n_missing else ""
        if repeats and not lacking:
            lacking = f"{failed(sink.n_missing, work)}: {repeats}"
    return work, Made(running.info, n_new, elapsed_s, spelling, lacking)


def _on_ray(
    job: Job,
    adapters: Adapters,
    work: Work,
    sink: Sink,
    n_before: int,
    engine: str | None,
    progress: Progress,
    stopping: Callable[[], bool],
    runner: RayCluster,
) -> tuple[Work, Made]:
    """Fill the sink from Ray's workers, each with an engine of its own."""
    from synthgen.runners import ray

    recipe = job.recipe
    progress.stage("generate", f"{sink.plan.n:,} records on Ray")
    served = serving(job, adapters, engine)
    model = recipe.model if recipe.model == BUILT_IN else job.model
    declared = declared_spec(recipe) if job.remedy.fields else None
    source = ray.Source(recipe.schema_ref, recipe.base, model, job.prompt, job.remedy, declared)
    began = time.monotonic()
    made = ray.work_off(work, source, served, sink, n_before, runner, progress, stopping)
    elapsed_s = time.monotonic() - began
    spelling = Spelling(job.prompt, job.tokenizer)
    spelling.n, spelling.n_other = made.n_spelled, made.n_other
    work = ask_as_declared(work, job)  # as the workers did: for the length of a prompt
    return work, Made(made.info, made.n_new, elapsed_s, spelling)


def serving(job: Job, adapters: Adapters, engine: str | None = None) -> Serving:
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
    adapters: Adapters,
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


def ask_as_declared(work: Work, job: Job, engine: Engine | None = None, sink: Sink | None = None) -> Work:
    """The work, asked as the recipe says; what `exact` scores stays in the manifest, for the runs that go on."""
    if job.remedy.is_plain:
        return work
    source = job.recipe.declared() if job.remedy.fields else None
    values = drawn(job.remedy, source)
    if job.remedy.balance == "exact":
        assert source is not None and engine is not None
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


def _tell(progress: Progress, sink: Sink) -> None:
    counts = sink.counts
    progress.generating(counts.accepted, sink.plan.n, counts.attempted, counts.rejected)


def failed(n_missing: int, work: Work) -> str:
    """How many records are lacking, and how often each was tried."""
    return f"{n_missing} records failed all {work.max_attempts} attempts"


def _incomplete(sink: Sink, why: str, by_signal: bool = False) -> Incomplete:
    counts = sink.counts
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.reasons.most_common(5)) or "none"
    error = Incomplete(
        f"{sink.out}: {why}; {counts.accepted:,} of {sink.plan.n:,} records are safe "
        f"(rejected attempts: {reasons}); run the same command again to go on"
    )
    error.by_signal = by_signal
    error.summary = {
        "n_accepted": counts.accepted,
        "n_attempted": counts.attempted,
        "n_rejected": counts.rejected,
        "rejects": dict(counts.reasons),
        "out": str(sink.out),
    }
    return error
