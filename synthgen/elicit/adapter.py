"""A recipe's adapter whose method is a prompt: found on the same targets, by the same loss, as a LoRA adapter.

A soft prompt is trained by the tuner's own loop, with its anchor, looks and guard; only what takes the gradient
differs. A hard prompt is searched on a fixed list of targets. Either ends as a folder with our manifest, so that a
run reuses it by its fingerprint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from synthgen.adapters import (
    AdapterManifest,
    Kind,
    Prompting,
    TunedPrompt,
    check_name,
    library_versions,
    save_manifest,
    weights_sha256,
)
from synthgen.anchor import Health, watch
from synthgen.elicit.config import HardConfig, SoftConfig
from synthgen.elicit.frame import Frame, HardFrame, soft_frame
from synthgen.elicit.goal import Goal, SearchStep
from synthgen.elicit.hard_prompt import write_hard_prompt
from synthgen.elicit.hard_search import HardFound, search_hard
from synthgen.elicit.soft_model import (
    SoftModel,
    SoftTokenizer,
    embedding_scale,
    random_vectors,
    with_virtual,
)
from synthgen.elicit.soft_prompt import write_soft_prompt
from synthgen.errors import RecipeError
from synthgen.lora import load_model
from synthgen.models import model_fingerprint, resolve_model
from synthgen.packing import check_packing, node_log_probs
from synthgen.prompt import Prompt
from synthgen.seen import ADAPTER_FILE, write_seen
from synthgen.trie import Figures
from synthgen.tuning import _Run, descend, refuse_no_gain
from synthgen.tuning_config import (
    Scope,
    TuningConfig,
    TuningTask,
    labels_of,
    shares_of,
    task_facts,
    tuning_fingerprint,
)
from synthgen.tuning_log import StepLog, TuningResult
from synthgen.tuning_tasks import PreparedTask

OnAnyStep = Callable[[Any], None]  # a StepLog or a SearchStep: progress shows either


def find_prompt(
    model_path: str,
    tasks: Sequence[TuningTask],
    config: SoftConfig | HardConfig,
    out: Path,
    on_step: OnAnyStep | None = None,
    scope: Scope = "record",
    model_name: str | None = None,
) -> Sequence[StepLog | SearchStep]:
    """Find one prompt for all tasks together and write it to `out`, whose name is the adapter's; returns its steps.

    Raises:
        RecipeError: targets or a template that cannot be searched with.
        AdapterError: a bad name.
        SynthgenError: a model whose architecture does not fit.
    """
    check_name(out.name)
    name = model_name or model_path
    if isinstance(config, SoftConfig):
        return _find_soft(model_path, tasks, config, out, on_step, scope, name)
    return _find_hard(model_path, tasks, config, out, on_step, scope, name)


def _find_soft(
    model_path: str,
    tasks: Sequence[TuningTask],
    config: SoftConfig,
    out: Path,
    on_step: OnAnyStep | None,
    scope: Scope,
    model_name: str,
) -> Sequence[StepLog]:
    """Train `config.restarts` soft prompts and keep the one of the least loss."""
    base = load_model(model_path, config)
    frames = [soft_frame(task.prompt, task.tokenizer, config.position) for task in tasks]
    ends = {len(frame.after) for frame in frames}
    if config.position == "infix" and len(ends) > 1:
        raise RecipeError(
            f"position: infix: after the messages of these prompts come {', '.join(map(str, sorted(ends)))} tokens; "
            "expected as many after each: write `position: prefix`"
        )
    best: tuple[float, Any, TuningResult, _Run] | None = None
    for restart in range(config.restarts):
        started = time.perf_counter()
        seed = config.seed + restart
        model = SoftModel(base, random_vectors(base, config.n_virtual, seed, tasks[0].tokenizer.vocab_size))
        # the loop takes absolute rates; the manifest keeps the relative one that was asked for
        run = _Run(
            model,
            [_virtual(task, frame, model) for task, frame in zip(tasks, frames, strict=True)],
            replace(config, seed=seed, lr=config.lr * embedding_scale(base)),
        )
        result = descend(run, on_step, started)
        loss = sum(p.share * f.cross_entropy for p, f in zip(run.prompts, result.after, strict=True))
        if best is None or loss < best[0]:
            best = loss, model.vectors.detach(), result, run
    assert best is not None
    _, vectors, result, run = best
    refuse_no_gain(out.name, result)
    write_soft_prompt(out, vectors, base, model_name)
    write_seen(out / ADAPTER_FILE, {prompt.task.prompt.fingerprint: prompt.seen for prompt in run.prompts})
    n_after = ends.pop() if config.position == "infix" else None
    looks = zip(result.looks_before, result.looks_after, strict=True)
    figures = [
        tuple(
            shown(look.figures) | {"drift_nats": look.drift_nats, "health": _plain(look.health)}
            for look in pair
        )
        for pair in looks
    ]
    save(
        out, "soft-prompt", Prompting(n_tokens=config.n_virtual, n_after=n_after), weights_sha256(out), scope,
        model_path, model_name, tuned_prompts(tasks, config, figures), config.settings(),
        tuning_fingerprint(model_fingerprint(resolve_model(model_path)), tasks, config), result.summary(),
    )  # fmt: skip
    return result.losses


def _find_hard(
    model_path: str,
    tasks: Sequence[TuningTask],
    config: HardConfig,
    out: Path,
    on_step: OnAnyStep | None,
    scope: Scope,
    model_name: str,
) -> Sequence[SearchStep]:
    """Search the words on a fixed list of each task's targets."""
    model = load_model(model_path, config)
    labels, shares = labels_of(tasks), shares_of(tasks)
    prepared = [
        PreparedTask(i, task, label, share, config)
        for i, (task, label, share) in enumerate(zip(tasks, labels, shares, strict=True))
    ]
    goals = [Goal(p.label, p.task.prompt, p.task.tokenizer, p.judged, p.share) for p in prepared]
    check_packing(model, goals[0].trie, goals[0].prompt.ids)
    found = search_hard(model, goals, config, on_step or (lambda _: None))
    frames = [HardFrame(goal.prompt.user, config.template, goal.tokenizer) for goal in goals]
    words = goals[0].tokenizer.decode(found.ids)
    served = [frame.prompt(words) for frame in frames]
    figures = []
    for task, goal, prompt in zip(tasks, goals, served, strict=True):
        pair = []
        for asked in (goal.prompt, prompt):
            health = _health(model, task, asked, config)
            pair.append(
                shown(figures_of(model, goal, asked)) | {"drift_nats": None, "health": _plain(health)}
            )
        figures.append(tuple(pair))
    for ready in prepared:
        ready.trie()  # its list has been a target: what was seen is written down
    digest = write_hard_prompt(out, served[0].user)
    write_seen(out / ADAPTER_FILE, {p.task.prompt.fingerprint: p.seen for p in prepared})
    save(
        out, "hard-prompt", hard_facts(config, words, found.ids), digest, scope, model_path, model_name,
        tuned_prompts(tasks, config, figures), config.settings(),
        tuning_fingerprint(model_fingerprint(resolve_model(model_path)), tasks, config), hard_summary(found),
    )  # fmt: skip
    return found.curve


def figures_of(model: Any, goal: Goal, prompt: Prompt) -> Figures:
    """How far the model's answers to a prompt are from the goal's target."""
    return goal.trie.figures(node_log_probs(model, goal.trie, prompt.ids))


def hard_facts(config: HardConfig, words: str, ids: Sequence[int]) -> Prompting:
    """What the manifest says of a hard prompt's words."""
    return Prompting(n_tokens=len(ids), template=config.template, text=words, ids=tuple(ids))


def hard_summary(found: HardFound) -> dict[str, Any]:
    """What the manifest says of a search."""
    kept = ("steps", "stopped_by", "restarts", "elapsed_s")
    return {key: getattr(found, key) for key in kept}


def shown(figures: Figures) -> dict[str, Any]:
    """Figures as the manifest holds them."""
    return asdict(figures)


def tuned_prompts(
    tasks: Sequence[TuningTask], config: TuningConfig, figures: Sequence[tuple[dict[str, Any], ...]]
) -> tuple[TunedPrompt, ...]:
    """What the manifest says of each task: what it was, and its figures (before, after)."""
    return tuple(
        TunedPrompt(
            label=label,
            text=task.prompt.user,
            schema_fingerprint=task.source.schema.fingerprint,
            fields=task.source.fields,
            before=before,
            after=after,
            **facts,
        )
        for task, label, facts, (before, after) in zip(
            tasks, labels_of(tasks), task_facts(tasks, config), figures, strict=True
        )
    )


def save(
    out: Path,
    kind: Kind,
    prompting: Prompting,
    digest: str,
    scope: Scope,
    model_path: str,
    model_name: str,
    prompts: tuple[TunedPrompt, ...],
    settings: dict[str, Any],
    fingerprint: str,
    result: dict[str, Any],
) -> AdapterManifest:
    """Write the manifest and the card beside the prompt's own files; returns the manifest."""
    manifest = AdapterManifest(
        name=out.name,
        kind=kind,
        scope=scope,
        model=model_name,
        model_fingerprint=model_fingerprint(resolve_model(model_path)),
        rank=0,
        alpha=0.0,
        modules=(),
        prompting=prompting,
        prompts=prompts,
        tuning_fingerprint=fingerprint,
        settings=settings,
        result=result,
        weights_sha256=digest,
        libraries=library_versions(),
        synthgen=library_versions(("synthgen",)).get("synthgen", "unknown"),
    )
    save_manifest(out, manifest)
    return manifest


def _virtual(task: TuningTask, frame: Frame, model: SoftModel) -> TuningTask:
    """The task with the virtual tokens in its prompt."""
    return replace(
        task,
        prompt=with_virtual(task.prompt, frame, model.virtual_ids),
        tokenizer=SoftTokenizer(task.tokenizer, task.prompt, frame, model.virtual_ids),
    )


def _health(model: Any, task: TuningTask, prompt: Prompt, config: HardConfig) -> Health | None:
    """Whether sampled answers to a prompt hold their format."""
    if not config.health_samples:
        return None
    generator = torch.Generator(device=model.device).manual_seed(config.seed)
    return watch(
        model,
        prompt,
        task.tokenizer,
        task.source.schema,
        config.health_samples,
        config.max_new_tokens,
        generator,
    )


def _plain(health: Health | None) -> dict[str, Any] | None:
    return asdict(health) if health else None
