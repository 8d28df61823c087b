"""Tuning: a small LoRA adapter that moves a model's answers onto a declared distribution.

Takes prompts and target sources, writes a PEFT folder with its manifest. One step is one optimiser step on
one prompt, over all of its targets (Zhang et al. 2024, §3); several prompts take turns, in a new order on
every pass, as published. The loss is the exact trie loss of `trie`, computed in packs by `packing`; `anchor`
holds the fields after the tuned ones. Nothing is printed: `on_step` sees every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from synthgen.adapters import AdapterManifest, check_name, library_versions, save_manifest, weights_sha256
from synthgen.anchor import Anchor, judge_answer, sample, structure_tokens, watch
from synthgen.errors import RecipeError
from synthgen.lora import LINEAR_LAYERS, add_lora, load_model, multiplies_in_bf16
from synthgen.packing import batches, check_packing, node_log_probs, pack_loss
from synthgen.stopping import Judge, Look, StoppedBy
from synthgen.target_trie import AnswerTokens, build_trie
from synthgen.trie import Figures, TokenTrie
from synthgen.tuning_config import TuningConfig, tuning_fingerprint

if TYPE_CHECKING:
    from synthgen.prompt import Prompt, Tokenizer
    from synthgen.targets import TargetSet, TargetSource

__all__ = ["Look", "StepLog", "TuningConfig", "TuningResult", "TuningTask", "tune"]

BF16_NODES = 1000  # smaller tries are computed in full precision
HELD_OUT_SHARE = 0.15  # of a fixed list, where tuning stops by held-out tuples


@dataclass(frozen=True)
class TuningTask:
    """One prompt and where its targets come from."""

    prompt: Prompt
    source: TargetSource
    tokenizer: Tokenizer


@dataclass(frozen=True)
class StepLog:
    """One optimiser step, seen before its update; all figures in nats."""

    step: int
    n_steps: int
    task: int
    loss: float  # cross-entropy of this step's targets
    optimum: float  # the least it could be
    kl: float | None  # exact for fixed lists; of the declared fields where tuples are samples
    kl_by_field: dict[str, float]
    anchor: float | None  # estimate of KL(p_base ‖ pθ) over the later fields
    lr: float
    elapsed_s: float
    looks: tuple[Look, ...] = ()  # after the update, one per prompt; at looks only


@dataclass(frozen=True)
class TuningResult:
    """What a tuning run did. `before`, `after` and the looks hold one entry per prompt."""

    steps: int
    stopped_by: StoppedBy
    restored_step: int | None  # the step whose weights were kept (0: untuned), where not the last
    before: tuple[Figures, ...]
    after: tuple[Figures, ...]
    looks_before: tuple[Look, ...]
    looks_after: tuple[Look, ...]
    losses: tuple[StepLog, ...]
    elapsed_s: float
    n_tokens: int  # evaluated with gradient, padding and repeated prompts included

    def to_json(self) -> dict[str, Any]:
        """JSON values, every step's log included."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """JSON values without the single steps, for the manifest."""
        return {key: value for key, value in asdict(self).items() if key != "losses"}


def tune(
    model_path: str,
    tasks: Sequence[TuningTask],
    config: TuningConfig,
    out: Path,
    on_step: Callable[[StepLog], None] | None = None,
    scope: Literal["record", "any"] = "record",
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
    optimizer = torch.optim.AdamW(
        run.parameters, lr=config.lr, eps=config.adam_eps, weight_decay=config.weight_decay
    )
    before = run.look()
    judge = Judge(config, before, run.parameters)
    logs: list[StepLog] = []
    stopped_by: StoppedBy | None = None
    for step, work in zip(range(1, config.steps + 1), run.turns(), strict=False):
        lr = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad(set_to_none=True)
        figures = run.backward_targets(work)
        drift = run.backward_anchor(work)
        looks: tuple[Look, ...] = ()
        stopped_by = judge.targets_reached(figures, pass_ends=step % len(tasks) == 0)
        if stopped_by is None:  # the figures are of the weights before the update: reached means done
            torch.nn.utils.clip_grad_norm_(run.parameters, config.clip_norm)
            optimizer.step()
            if step % config.look_steps == 0 or step == config.steps:
                looks = run.look()
                stopped_by = judge.looked(step, looks)
        kl_by_field = {name: f.kl for name, f in figures.fields.items() if f.kl is not None}
        logs.append(
            StepLog(
                step, config.steps, work.index, figures.cross_entropy, figures.optimum, figures.kl,
                kl_by_field, drift, lr, time.perf_counter() - started, looks,
            )
        )  # fmt: skip
        if on_step:
            on_step(logs[-1])
        if stopped_by is not None:
            break
    restored = judge.restore(stopped_by, logs[-1].step)
    after = logs[-1].looks if logs[-1].looks and restored is None else run.look()
    result = TuningResult(
        steps=len(logs),
        stopped_by=stopped_by or "steps",
        restored_step=restored,
        before=tuple(look.figures for look in before),
        after=tuple(look.figures for look in after),
        looks_before=before,
        looks_after=after,
        losses=tuple(logs),
        elapsed_s=time.perf_counter() - started,
        n_tokens=run.n_tokens,
    )
    _save(model, model_path, model_name or model_path, tasks, config, out, scope, result)
    return result


def learning_rate(config: TuningConfig, step: int) -> float:
    """The rate at a step, from 1: a short linear rise, then constant or falling to 0 behind the last step."""
    rise = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    fall = 1.0 if config.schedule == "constant" else 1 - (step - 1) / config.steps
    return config.lr * rise * fall


class _Work:
    """One task with everything made from it: tries, generators, anchor."""

    def __init__(self, index: int, task: TuningTask, config: TuningConfig) -> None:
        self.index, self.task, self.config = index, task, config
        self.tokens = AnswerTokens(task.prompt, task.tokenizer)
        self.rng = np.random.default_rng([config.seed, index])
        source = task.source
        self.anchor: Anchor | None = None
        self.fixed: TokenTrie | None = None
        if config.is_fresh(source.fresh):
            self.judged = self._trie(self._draw(config.n_heldout))
            return
        targets, held_out = self._draw(config.n_targets), None
        if config.patience is not None:
            if source.fresh:
                held_out = self._draw(config.n_heldout)
            else:
                targets, held_out = split(targets, HELD_OUT_SHARE, self.rng)
        # A fixed list without declared fields, or marginals multiplied out, is the whole distribution.
        is_exact = not source.closed or (source.kind == "marginals" and not source.fresh)
        self.fixed = self._trie(targets, is_exact)
        self.judged = self.fixed if held_out is None else self._trie(held_out)

    def _draw(self, n: int) -> TargetSet:
        return self.task.source.draw(self.rng, n if self.task.source.fresh else None)

    def _trie(self, targets: TargetSet, is_exact: bool = False) -> TokenTrie:
        return build_trie(self.tokens, targets, self.task.source.closed, self.rng, is_exact)

    def trie(self) -> TokenTrie:
        """This step's targets."""
        if self.fixed is not None:
            return self.fixed
        return self._trie(self._draw(min(self.config.n_targets, self.config.fresh_per_step)))


def split(targets: TargetSet, share: float, rng: np.random.Generator) -> tuple[TargetSet, TargetSet]:
    """Part of a fixed list for tuning, and a random `share` of it held out; both weighted to 1.

    Raises RecipeError where the list is too short for both.
    """
    n = len(targets.answers)
    n_held_out = max(1, round(share * n))
    if n - n_held_out < 1:
        raise RecipeError(f"stop.patience: found {n} target; held-out tuples need at least 2, or a function")
    order = rng.permutation(n)

    def part(rows: np.ndarray[Any, Any]) -> TargetSet:
        weights = targets.weights[rows]
        return replace(
            targets,
            answers=tuple(targets.answers[i] for i in rows),
            values=tuple(targets.values[i] for i in rows),
            weights=weights / weights.sum(),
        )

    return part(np.sort(order[n_held_out:])), part(np.sort(order[:n_held_out]))


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
        self.works = [_Work(i, task, config) for i, task in enumerate(tasks)]
        check_packing(model, self.works[0].judged, tasks[0].prompt.ids)
        if config.anchor != "none":
            for work in self.works:
                work.anchor = self._anchor(work)

    def turns(self) -> Iterator[_Work]:
        """The tasks one by one, each pass over all of them in a new order, for ever."""
        for _ in count():
            yield from (self.works[i] for i in self.rng.permutation(len(self.works)))

    def autocast(self, n_nodes: int) -> torch.autocast:
        """bf16 for large tries, where the device multiplies in it.

        It takes a CPU two thirds of the time, with losses equal to 1e-6; but log-probabilities are rounded,
        and a small trie (a die) is to be met to the third digit.
        """
        kind = self.model.device.type
        wanted = multiplies_in_bf16(kind) if self.config.bf16 is None else self.config.bf16
        return torch.autocast(kind, torch.bfloat16, enabled=wanted and n_nodes >= BF16_NODES)

    def backward_targets(self, work: _Work) -> Figures:
        """Add the gradient of the trie loss of the task's targets, pack by pack; returns its figures."""
        trie = work.trie()
        log_probs = np.zeros(len(trie))
        for batch in batches(
            trie, work.task.prompt.ids, self.model.device, self.config.pack_nodes, self.config.batch_tokens
        ):
            with self.autocast(len(trie)):
                loss, read = pack_loss(self.model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            log_probs[batch.read.cpu().numpy()] = read.detach().double().cpu().numpy()
            self.n_tokens += batch.n_tokens
        return trie.figures(log_probs)

    def backward_anchor(self, work: _Work) -> float | None:
        """Add the gradient of the anchor on some of the base model's answers; returns the estimate."""
        anchor = work.anchor
        if anchor is None or not len(anchor):
            return None
        n = min(len(anchor), max(1, round(self.config.anchor_contexts / anchor.contexts_per_pack)))
        total = 0.0
        for index in self.rng.choice(len(anchor), n, replace=False):
            with self.autocast(anchor.n_nodes):
                loss = anchor.loss(self.model, int(index)) * (len(anchor) / n)
            (self.config.anchor_weight * loss).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            self.n_tokens += anchor.n_tokens(int(index))
        return total

    @torch.no_grad()
    def look(self) -> tuple[Look, ...]:
        """Figures, drift and health of every task, now."""
        config, looks = self.config, []
        for work in self.works:
            task = work.task
            log_probs = node_log_probs(
                self.model, work.judged, task.prompt.ids, config.pack_nodes, config.batch_tokens
            )
            health = None
            if config.health_samples:
                health = watch(
                    self.model, task.prompt, task.tokenizer, task.source.schema,
                    config.health_samples, config.max_new_tokens, self.generator,
                )  # fmt: skip
            drift = work.anchor.drift(self.model) if work.anchor is not None else None
            looks.append(Look(work.judged.figures(log_probs), drift, health))
        return tuple(looks)

    def _anchor(self, work: _Work) -> Anchor | None:
        """Target tuples continued by the base model to whole answers; None where targets are whole records.

        Answers that do not hold their format are left out, unless most do not.
        """
        task, config = work.task, self.config
        targets = task.source.draw(work.rng, config.anchor_pool)
        if targets.whole or config.anchor == "none":
            return None
        leads = [work.tokens.leading(a, len(targets.fields), False)[0] for a in targets.answers]
        with self.model.disable_adapter():
            rest = sample(
                self.model, [[*task.prompt.ids, *lead] for lead in leads], task.prompt.stop_ids,
                config.max_new_tokens, self.generator,
            )  # fmt: skip
        contexts = [([*lead, *more], len(lead)) for lead, more in zip(leads, rest, strict=True)]
        good = [c for c in contexts if self._is_well_formed(task, c[0])]
        structure = (
            structure_tokens(task.tokenizer, task.prompt.stop_ids) if config.anchor == "structure" else ()
        )
        return Anchor(
            config.anchor,
            self.model.disable_adapter,
            task.prompt,
            good if len(good) >= len(contexts) / 2 else contexts,
            structure,
            self.model.device,
            config.pack_nodes,
        )

    def _is_well_formed(self, task: TuningTask, ids: Sequence[int]) -> bool:
        return judge_answer(task.source.schema, task.tokenizer, ids, task.prompt.stop_ids) is not None


def _save(
    model: Any,
    model_path: str,
    model_name: str,
    tasks: Sequence[TuningTask],
    config: TuningConfig,
    out: Path,
    scope: Literal["record", "any"],
    result: TuningResult,
) -> None:
    """Write PEFT files, card and manifest."""
    from synthgen.models import model_fingerprint, resolve_model

    peft_config = model.peft_config["default"]
    peft_config.base_model_name_or_path = model_name
    peft_config.target_modules = sorted(LINEAR_LAYERS)
    model.save_pretrained(str(out), safe_serialization=True, save_embedding_layers=False)
    fingerprint = model_fingerprint(resolve_model(model_path))
    prompts = tuple(task.prompt.fingerprint for task in tasks)
    targets = tuple(task.source.fingerprint for task in tasks)
    manifest = AdapterManifest(
        name=out.name,
        scope=scope,
        model=model_name,
        model_fingerprint=fingerprint,
        rank=config.rank,
        alpha=config.lora_alpha,
        modules=LINEAR_LAYERS,
        prompt_fingerprints=prompts,
        schema_fingerprints=tuple(task.source.schema.fingerprint for task in tasks),
        target_fingerprints=targets,
        tuning_fingerprint=tuning_fingerprint(fingerprint, prompts, targets, config),
        settings=config.settings(),
        result=result.summary(),
        weights_sha256=weights_sha256(out),
        libraries=library_versions(),
        synthgen=library_versions(("synthgen",)).get("synthgen", "unknown"),
    )
    save_manifest(out, manifest)
