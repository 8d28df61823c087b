"""Tuning: a small LoRA adapter that moves a model's answers onto a declared distribution.

Takes prompts and target sources, writes a PEFT folder with its manifest. One step is one optimiser step over
all targets of the prompts it takes: of one prompt, several taking turns in a new order on every pass, as
published (Zhang et al. 2024, §3), or of several at once. The loss is the exact trie loss of `trie`, computed in
packs by `packing` (or that of `sft`, the baseline), weighted by the prompts' shares; `anchor` holds the fields after
the tuned ones, `pace` and `stopping` say how long. Nothing is printed: `on_step` sees every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthgen import sft
from synthgen.adapters import (
    AdapterManifest,
    TunedPrompt,
    check_name,
    library_versions,
    save_manifest,
    weights_sha256,
)
from synthgen.anchor import CACHE_BYTES, Anchor, judge_answer, sample, structure_tokens, watch
from synthgen.errors import RecipeError, TuningError
from synthgen.lora import LINEAR_LAYERS, add_lora, load_model
from synthgen.models import multiplies_in_bf16
from synthgen.pace import Pace
from synthgen.packing import backward_trie, check_packing, node_log_probs
from synthgen.seen import ADAPTER_FILE, write_seen
from synthgen.stopping import Judge, Look, StoppedBy
from synthgen.trie import Figures
from synthgen.tuning_config import (
    BATCH_SIZE,
    Scope,
    TuningConfig,
    TuningTask,
    labels_of,
    shares_of,
    task_facts,
    tuning_fingerprint,
)
from synthgen.tuning_log import Logbook, StepLog, TuningResult
from synthgen.tuning_tasks import PreparedTask

BF16_NODES = 1000  # smaller tries are computed in full precision


def tune(
    model_path: str,
    tasks: Sequence[TuningTask],
    config: TuningConfig,
    out: Path,
    on_step: Callable[[StepLog], None] | None = None,
    scope: Scope = "record",
    model_name: str | None = None,
) -> TuningResult:
    """Tune one adapter on all tasks together and write it to `out`, whose name is the adapter's.

    The same arguments and seed give the same adapter, up to rounding. Raises RecipeError for targets that
    cannot be trained on, AdapterError for a bad name, SynthgenError for a model whose architecture does not
    fit.
    """
    check_name(out.name)
    started = time.perf_counter()
    model = add_lora(load_model(model_path, config), config)
    run = _Run(model, tasks, config)
    result = descend(run, on_step, started)
    if config.start is None:
        refuse_no_gain(out.name, result)
    out.mkdir(parents=True, exist_ok=True)
    write_seen(out / ADAPTER_FILE, {prompt.task.prompt.fingerprint: prompt.seen for prompt in run.prompts})
    _save(model, model_path, model_name or model_path, tasks, config, out, scope, result)
    return result


def descend(run: _Run, on_step: Callable[[StepLog], None] | None, started: float) -> TuningResult:
    """Take steps until something says stop, and leave the best weights in the run's model.

    `started`: when the work began, by `time.perf_counter`. What is trained is whatever the run's model holds
    that takes a gradient: a LoRA adapter, or a soft prompt.
    """
    config, shares, pace = run.config, [prompt.share for prompt in run.prompts], Pace(run.config)
    fused = run.model.device.type in ("cpu", "cuda")
    optimizer = torch.optim.AdamW(
        run.parameters, lr=config.lr, eps=config.adam_eps, weight_decay=config.weight_decay, fused=fused
    )
    before = run.look()
    judge = Judge(config, before, run.parameters, shares)
    book = Logbook(config.steps)
    stopped_by: StoppedBy | None = None
    training_s = 0.0
    for prompts in run.turns():
        lr, began = pace.rate, time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        figures = [run.backward_targets(prompt, run.scale(prompt, prompts)) for prompt in prompts]
        drifts = [run.backward_anchor(prompt, run.scale(prompt, prompts)) for prompt in prompts]
        looks: tuple[Look, ...] = ()
        stopped_by = judge.targets_reached(figures)
        if stopped_by is None:  # the figures are of the weights before the update: reached means done
            torch.nn.utils.clip_grad_norm_(run.parameters, config.clip_norm)
            optimizer.step()
        training_s += time.perf_counter() - began
        pace.advance(run.n_tokens, training_s)
        if stopped_by is None and pace.is_look:
            looks = run.look()
            stopped_by = judge.looked(pace.steps, looks, pace.is_over)
            run.emphasise(judge.emphasis(looks))
        book.n_steps = pace.n_steps
        if stopped_by is None and pace.is_over:
            stopped_by = judge.round_over(pace.round) if pace.spent_first == "steps" else pace.spent_first
            if stopped_by is None:
                pace.begin_round()
        elapsed_s = time.perf_counter() - started
        log = book.add(prompts, figures, drifts, lr, elapsed_s, looks)
        if on_step:
            on_step(log)
        if stopped_by is not None:
            break
    assert stopped_by is not None  # turns have no end
    restored = judge.restore(stopped_by, log.step)
    after = log.looks if log.looks and restored is None else run.look()
    return TuningResult(
        steps=len(book.steps),
        stopped_by=stopped_by,
        restored_step=restored,
        before=tuple(look.figures for look in before),
        after=tuple(look.figures for look in after),
        looks_before=before,
        looks_after=after,
        losses=tuple(book.steps),
        elapsed_s=time.perf_counter() - started,
        n_tokens=run.n_tokens,
        training_s=training_s,
        rounds=pace.round,
    )


def refuse_no_gain(name: str, result: TuningResult) -> None:
    """TuningError where the weights to keep are those that tuning began with."""
    if result.restored_step == 0:
        raise TuningError(
            f"tuning {name}: stopped after step {result.steps} by {result.stopped_by!r}, and at no look before it was the "
            "model better than untuned and as sound, so there is no adapter to keep; try a lower `lr`, or more `steps`"
        )


class _Run:
    """The model with its tasks: what a step and a look consist of."""

    def __init__(self, model: Any, tasks: Sequence[TuningTask], config: TuningConfig) -> None:
        if not tasks:
            raise RecipeError("tuning: no targets; expected at least one prompt with targets")
        self.model, self.config = model, config
        self.n_tokens = 0
        self.parameters: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self.rng = np.random.default_rng([config.seed, len(tasks), 1])
        self.generator = torch.Generator(device=model.device).manual_seed(config.seed)
        labels = labels_of(tasks) if len(tasks) > 1 else [""]
        self.prompts = [
            PreparedTask(i, task, label, share, config)
            for i, (task, label, share) in enumerate(zip(tasks, labels, shares_of(tasks), strict=True))
        ]
        check_packing(model, self.prompts[0].judged, tasks[0].prompt.ids)
        self._structure: tuple[int, ...] | None = None
        if config.anchor != "none":
            for prompt in self.prompts:
                prompt.anchor = self._anchor(prompt)

    def turns(self) -> Iterator[list[PreparedTask]]:
        """The prompts of each step, for ever: every pass takes all of them once, in a new order."""
        n = self.config.prompts_per_step
        for _ in count():
            order = self.rng.permutation(len(self.prompts))
            for start in range(0, len(order), n):
                yield [self.prompts[i] for i in order[start : start + n]]

    def scale(self, prompt: PreparedTask, together: Sequence[PreparedTask]) -> float:
        """What a prompt's loss counts in a step: over a pass, steps of n prompts average to the whole loss."""
        return prompt.share * len(self.prompts) / len(together)

    def autocast(self, n_nodes: int) -> torch.autocast:
        """bf16 for large tries, where the device multiplies in it.

        It takes a CPU two thirds of the time, with losses equal to 1e-6; but log-probabilities are rounded,
        and a small trie (a die) is to be met to the third digit.
        """
        kind = self.model.device.type
        wanted = multiplies_in_bf16(kind) if self.config.bf16 is None else self.config.bf16
        return torch.autocast(kind, torch.bfloat16, enabled=wanted and n_nodes >= BF16_NODES)

    def emphasise(self, weights: Sequence[dict[str, float]]) -> None:
        """Let fields count more from here on, prompt by prompt."""
        for prompt, emphasis in zip(self.prompts, weights, strict=True):
            prompt.emphasis = emphasis

    def backward_targets(self, prompt: PreparedTask, scale: float = 1.0) -> Figures:
        """Add `scale` times the gradient of the prompt's loss, pack by pack; returns its figures.

        They are those of the exact loss, however much single fields count in the gradient.
        """
        if self.config.method == "sft":
            return self._backward_samples(prompt, scale)
        trie = prompt.trie()
        ids, config = prompt.task.prompt.ids, self.config
        log_probs, n_tokens = backward_trie(
            self.model, prompt.emphasised(trie), ids, scale, config.pack_nodes, config.batch_tokens,
            self.autocast(len(trie)),
        )  # fmt: skip
        self.n_tokens += n_tokens
        return trie.figures(log_probs)

    def _backward_samples(self, prompt: PreparedTask, scale: float) -> Figures:
        """The same of plain cross-entropy on sampled answers; figures are per answer, as those of the exact loss."""
        answers = prompt.samples(self.config.batch_size or BATCH_SIZE)
        ids, n_answer_tokens, total = prompt.task.prompt.ids, sum(map(len, answers)), 0.0
        for batch in sft.batches(ids, answers, self.model.device, self.config.batch_tokens):
            with self.autocast(batch.n_tokens):
                loss = sft.answer_nll(self.model, batch).sum()
            (scale * loss / n_answer_tokens).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            self.n_tokens += batch.n_tokens
        optimum = 0.0 if prompt.fixed is None else prompt.fixed.entropy()  # shown of a fixed list alone
        return Figures(total / len(answers), optimum, None, None, None, False, {})

    def backward_anchor(self, prompt: PreparedTask, scale: float = 1.0) -> float | None:
        """Add `scale` times the gradient of the anchor on some of the base model's answers; returns the estimate."""
        anchor = prompt.anchor
        if anchor is None or not len(anchor):
            return None
        n = min(len(anchor), max(1, round(self.config.anchor_contexts / anchor.contexts_per_pack)))
        total = 0.0
        for index in self.rng.choice(len(anchor), n, replace=False):
            with self.autocast(anchor.n_nodes):
                loss = anchor.loss(self.model, int(index)) * (len(anchor) / n)
            (scale * self.config.anchor_weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            self.n_tokens += anchor.n_tokens(int(index))
        return total

    @torch.no_grad()
    def look(self) -> tuple[Look, ...]:
        """Figures, drift and health of every prompt, now."""
        config, looks = self.config, []
        for prompt in self.prompts:
            task = prompt.task
            log_probs = node_log_probs(
                self.model, prompt.judged, task.prompt.ids, config.pack_nodes, config.batch_tokens
            )
            health = None
            if config.health_samples:
                health = watch(
                    self.model, task.prompt, task.tokenizer, task.source.schema,
                    config.health_samples, config.max_new_tokens, self.generator,
                )  # fmt: skip
            drift = prompt.anchor.drift(self.model) if prompt.anchor is not None else None
            looks.append(Look(prompt.judged.figures(log_probs), drift, health))
        return tuple(looks)

    def _anchor(self, prompt: PreparedTask) -> Anchor | None:
        """Target tuples continued by the base model to whole answers; None where targets are whole records.

        Answers that do not hold their format are left out, unless most do not.
        """
        task, config = prompt.task, self.config
        leads = prompt.leads(config.anchor_pool)
        if leads is None or config.anchor == "none":
            return None
        with self.model.disable_adapter():
            rest = sample(
                self.model, [[*task.prompt.ids, *lead] for lead in leads], task.prompt.stop_ids,
                config.max_new_tokens, self.generator,
            )  # fmt: skip
        contexts = [([*lead, *more], len(lead)) for lead, more in zip(leads, rest, strict=True)]
        good = [c for c in contexts if self._is_well_formed(task, c[0])]
        return Anchor(
            config.anchor,
            self.model.disable_adapter,
            task.prompt,
            good if len(good) >= len(contexts) / 2 else contexts,
            self._structure_of(task) if config.anchor == "structure" else (),
            self.model.device,
            config.pack_nodes,
            CACHE_BYTES // len(self.prompts),
        )

    def _structure_of(self, task: TuningTask) -> tuple[int, ...]:
        """The tokens of form, looked for once: it decodes the whole vocabulary."""
        if self._structure is None:
            self._structure = structure_tokens(task.tokenizer, task.prompt.stop_ids)
        return self._structure

    def _is_well_formed(self, task: TuningTask, ids: Sequence[int]) -> bool:
        return judge_answer(task.source.schema, task.tokenizer, ids, task.prompt.stop_ids) is not None


def _save(
    model: Any,
    model_path: str,
    model_name: str,
    tasks: Sequence[TuningTask],
    config: TuningConfig,
    out: Path,
    scope: Scope,
    result: TuningResult,
) -> None:
    """Write PEFT files, card and manifest."""
    from synthgen.models import model_fingerprint, resolve_model

    peft_config = model.peft_config["default"]
    peft_config.base_model_name_or_path = model_name
    peft_config.target_modules = sorted(LINEAR_LAYERS)
    model.save_pretrained(str(out), safe_serialization=True, save_embedding_layers=False)
    fingerprint = model_fingerprint(resolve_model(model_path))
    manifest = AdapterManifest(
        name=out.name,
        scope=scope,
        model=model_name,
        model_fingerprint=fingerprint,
        rank=config.rank,
        alpha=config.lora_alpha,
        modules=LINEAR_LAYERS,
        prompts=_tuned_prompts(tasks, config, result),
        tuning_fingerprint=tuning_fingerprint(fingerprint, tasks, config),
        settings=config.settings(),
        result=result.summary(),
        weights_sha256=weights_sha256(out),
        libraries=library_versions(),
        synthgen=library_versions(("synthgen",)).get("synthgen", "unknown"),
    )
    save_manifest(out, manifest)


def _tuned_prompts(
    tasks: Sequence[TuningTask], config: TuningConfig, result: TuningResult
) -> tuple[TunedPrompt, ...]:
    """What the manifest says of each prompt: what it was, and its figures before and after."""

    def shown(look: Look) -> dict[str, Any]:
        health = asdict(look.health) if look.health else None
        return asdict(look.figures) | {"drift_nats": look.drift_nats, "health": health}

    looks = zip(result.looks_before, result.looks_after, strict=True)
    return tuple(
        TunedPrompt(
            label=label,
            text=task.prompt.user,
            schema_fingerprint=task.source.schema.fingerprint,
            fields=task.source.fields,
            before=shown(before),
            after=shown(after),
            **facts,
        )
        for task, label, facts, (before, after) in zip(
            tasks, labels_of(tasks), task_facts(tasks, config), looks, strict=True
        )
    )
