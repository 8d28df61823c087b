"""A recipe made ready: schema, tokenizer, prompts, targets, and adapters that are taken, reused, or tuned now.

Stands between `recipe` and `run`: what every later stage needs, with nothing heavy loaded unless it tunes.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.adapters import AdapterManifest, differences, load_manifest, save_manifest, verify
from synthgen.elicit.config import HardConfig, SoftConfig
from synthgen.elicit.hard_prompt import served_prompt
from synthgen.errors import AdapterError
from synthgen.models import model_fingerprint, resolve_model
from synthgen.progress import Progress
from synthgen.prompt import Prompt, Tokenizer, build_prompt
from synthgen.recipe import PromptSpec, Recipe
from synthgen.recipe_tasks import task_words
from synthgen.remedy import Remedy, remedy_of
from synthgen.schema import RecordSchema
from synthgen.seen import ADAPTER_FILE, Seen, read_seen
from synthgen.targets import TargetSource
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning_config import TuningConfig, TuningTask

if TYPE_CHECKING:
    from synthgen.elicit.goal import SearchStep
    from synthgen.tuning_log import StepLog

CURVE = "curve.json"  # beside an adapter's manifest: [step, loss, optimum, KL] of every tuning step


@dataclass(frozen=True)
class Job:
    """A recipe with what it names: the record, the model's place and tokenizer, the prompts."""

    recipe: Recipe
    schema: RecordSchema
    model: str  # a folder, or a Hugging Face id
    tokenizer: Tokenizer
    prompt: Prompt  # the recipe's own, which tuning and serving share
    tasks: Mapping[str, tuple[TuningTask, ...]]  # prompts of the adapters to tune; ready-made ones have none
    remedy: Remedy  # how its records are asked for

    @property
    def sources(self) -> dict[str, TargetSource]:
        """The targets of the recipe's own prompt, by adapter tuned on it."""
        own = self.prompt.fingerprint
        return {
            name: task.source
            for name, tasks in self.tasks.items()
            for task in tasks
            if task.prompt.fingerprint == own and task.source.schema.fingerprint == self.schema.fingerprint
        }


def prepare(recipe: Recipe) -> Job:
    """Load schema, tokenizer and targets, and build every prompt.

    Raises:
        RecipeError: something that the recipe names does not fit.
    """
    schema, remedy = recipe.record_schema(), remedy_of(recipe)
    model = resolve_model(recipe.model)
    tokenizer = load_tokenizer(model)
    prompt = _prompt(schema, tokenizer, recipe.prompt)
    tasks = {name: _tasks(recipe, name, tokenizer) for name, spec in recipe.adapters.items() if spec.tasks}
    return Job(recipe, schema, model, tokenizer, prompt, tasks, remedy)


def _prompt(schema: RecordSchema, tokenizer: Tokenizer, words: PromptSpec | None) -> Prompt:
    return build_prompt(
        schema, tokenizer, words.instruction if words else None, words.text if words else None
    )


def _tasks(recipe: Recipe, name: str, tokenizer: Tokenizer) -> tuple[TuningTask, ...]:
    tasks = []
    for i, spec in enumerate(recipe.adapters[name].tasks):
        source = recipe.targets_of(name, i)
        prompt = _prompt(source.schema, tokenizer, task_words(recipe, spec))
        tasks.append(TuningTask(prompt, source, tokenizer, spec.weight, spec.n_targets))
    return tuple(tasks)


def ready_adapters(job: Job, progress: Progress) -> dict[str, tuple[Path, AdapterManifest]]:
    """Every adapter of the recipe as a folder that fits: taken, reused, or tuned now.

    Raises:
        AdapterError: an adapter was made for another model, or is to serve a prompt that it does not fit; the
            message says what differs.
    """
    ready = {}
    model, served = model_fingerprint(job.model), dict(job.recipe.mix)
    asks = job.prompt.fingerprint if not job.remedy.changes_prompt else f"reworded ({job.remedy.wording})"
    for name, spec in job.recipe.adapters.items():
        folder = _folder(job, name)
        if spec.use is not None:
            manifest = load_manifest(folder)
            progress.note(f"adapter {name}: taken from {folder}")
        else:
            manifest = tuned_adapter(job, name, folder, progress)
        verify(manifest, model, asks if name in served else None)
        ready[name] = folder, manifest
    return ready


def _folder(job: Job, name: str) -> Path:
    """Where an adapter is, or will be."""
    ready = job.recipe.adapters[name].use
    return Path(ready) if ready is not None else job.recipe.adapters_dir / f"{job.recipe.name}-{name}"


def tuned_adapter(job: Job, name: str, folder: Path, progress: Progress) -> AdapterManifest:
    """The adapter in `folder`, tuned (or, if it is a prompt, found) now unless it is there already."""
    reused = _reusable(job, name, folder)
    if isinstance(reused, str):
        progress.stage("tune", f"{name}: {reused}")
        _tune(job, name, folder, progress)
        return load_manifest(folder)
    progress.note(f"adapter {name}: reused from {folder} (same model, prompts, targets and settings)")
    scope = job.recipe.adapters[name].scope
    if reused.scope != scope:  # what it may be used for, not what it is
        reused = reused.model_copy(update={"scope": scope})
        save_manifest(folder, reused)
    return reused


def _reusable(job: Job, name: str, folder: Path) -> AdapterManifest | str:
    """The adapter in `folder` if it is what tuning would give; else why not."""
    if not (folder / "manifest.json").exists():
        return "no adapter yet"
    try:
        manifest = load_manifest(folder)
    except AdapterError as error:
        return str(error)
    config = _tuning_config(job, name)
    changed = differences(manifest, config, model_fingerprint(job.model), job.tasks[name])
    return f"changed: {'; '.join(changed)}" if changed else manifest


def _tuning_config(job: Job, name: str) -> TuningConfig:
    spec = job.recipe.adapters[name]
    config = spec.tuning_config(job.recipe.seed)
    start = None if spec.after is None else str(_folder(job, spec.after))
    return replace(config, max_new_tokens=job.recipe.generate.max_tokens, start=start)


def _tune(job: Job, name: str, folder: Path, progress: Progress) -> None:
    config, scope = _tuning_config(job, name), job.recipe.adapters[name].scope
    what = (folder, progress.tuning_step, scope, job.recipe.model)
    steps: Sequence[StepLog | SearchStep]
    if isinstance(config, SoftConfig | HardConfig):
        from synthgen.elicit.adapter import find_prompt

        steps = find_prompt(job.model, job.tasks[name], config, *what)
    else:
        from synthgen.tuning import tune

        steps = tune(job.model, job.tasks[name], config, *what).losses
    curve = [[log.step, log.loss, log.optimum, log.kl] for log in steps]
    (folder / CURVE).write_text(json.dumps(curve), encoding="utf-8")
    _free_gpu()


def _free_gpu() -> None:
    """Give back what tuning's allocator holds: the engine is another process, and needs the memory."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def hard_prompts(
    job: Job, adapters: Mapping[str, tuple[Path, AdapterManifest]]
) -> dict[str, tuple[int, ...]]:
    """By adapter of the mix that is a hard prompt: the token ids that it asks instead of the recipe's prompt.

    Raises:
        AdapterError: its words do not fit the prompt, or records are asked for in other words already.
    """
    found = {}
    for name, (_, manifest) in adapters.items():
        if manifest.kind == "hard-prompt" and name in dict(job.recipe.mix):
            if job.remedy.changes_prompt or job.remedy.balance == "exact":
                keys = job.remedy.wording or "balance: exact"
                raise AdapterError(
                    f"adapter {name!r}: a hard prompt is asked word for word as it was found, and {keys} asks "
                    "otherwise; leave one of them out"
                )
            found[name] = served_prompt(manifest, job.prompt, job.tokenizer).ids
    return found


def tuned_tuples(job: Job, adapters: Mapping[str, tuple[Path, AdapterManifest]]) -> tuple[Seen, ...]:
    """What the mix's adapters were tuned on for the recipe's own prompt; adapters without a note are left out."""
    served = [folder for name, (folder, _) in adapters.items() if name in dict(job.recipe.mix)]
    found = (read_seen(folder / ADAPTER_FILE).get(job.prompt.fingerprint) for folder in served)
    return tuple(seen for seen in found if seen is not None and seen.rows)


def adapter_facts(folder: Path, manifest: AdapterManifest) -> dict[str, object]:
    """An adapter's exact figures before and after, and its curve, as the report reads them.

    Of several prompts: the mean over those whose KL is known, weighted by their shares, and each one's KL.
    """
    curve = folder / CURVE
    facts: dict[str, object] = {
        "kind": manifest.kind,
        "rank": manifest.rank,
        "curve": json.loads(curve.read_text(encoding="utf-8")) if curve.exists() else [],
    }
    prompts = [prompt for prompt in manifest.prompts if prompt.after.get("kl") is not None]
    whole = sum(prompt.share for prompt in prompts)
    for when in ("before", "after") if prompts else ():
        figures = {prompt.label: getattr(prompt, when) for prompt in prompts}
        mean = {
            key: sum(prompt.share * figures[prompt.label][key] for prompt in prompts) / whole
            for key in ("kl", "leak", "shape")
        }
        parts = figures if len(manifest.prompts) > 1 else figures[prompts[0].label]["fields"]
        known = {name: part["kl"] for name, part in parts.items() if part.get("kl") is not None}
        facts[when] = mean | {"fields": known}
    if len(manifest.prompts) > 1:
        facts["prompts"] = len(prompts)
    return facts | {key: manifest.result[key] for key in ("steps", "stopped_by") if key in manifest.result}
