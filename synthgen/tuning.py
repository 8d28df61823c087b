"""Tuning: a small LoRA adapter that moves a model's answers onto a declared distribution.

Takes prompts and target sources, writes a PEFT folder with its manifest. One step is one optimiser step on
one prompt, over all of its targets (Zhang et al. 2024, §3); several prompts take turns, in a new order on
every pass, as published. The loss is the exact trie loss of `trie`, computed in packs by `packing`; `anchor`
holds the fields after the tuned ones. Nothing is printed: `on_step` sees every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from synthgen.adapters import AdapterManifest, check_name, library_versions, save_manifest, weights_sha256
from synthgen.anchor import Anchor, Health, judge_answer, sample, structure_tokens, watch
from synthgen.errors import RecipeError, SynthgenError
from synthgen.packing import batches, check_packing, node_log_probs, pack_loss
from synthgen.trie import AnswerTokens, Figures, TokenTrie, build_trie
from synthgen.tuning_config import TuningConfig, tuning_fingerprint

if TYPE_CHECKING:
    from synthgen.prompt import Prompt, Tokenizer
    from synthgen.targets import TargetSource

__all__ = ["Look", "StepLog", "TuningConfig", "TuningResult", "TuningTask", "tune"]

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LARGE = 1_000_000_000  # parameters; above it a model on a GPU is held in bf16

StoppedBy = Literal["gamma", "kl", "heldout", "steps", "guard"]


@dataclass(frozen=True)
class TuningTask:
    """One prompt and where its targets come from."""

    prompt: Prompt
    source: TargetSource
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Look:
    """What a pause in tuning showed of one prompt."""

    figures: Figures  # on held-out tuples where targets are drawn afresh, else on the fixed targets
    drift_nats: float | None  # mean KL(p_base ‖ pθ) per answer over the later fields, on the anchor's answers
    health: Health | None


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
    judge = _Judge(config, before, run.parameters)
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


def load_model(model_path: str, config: TuningConfig) -> Any:
    """The base model, frozen, in evaluation mode, on its device, with attention that honours a 4-D mask."""
    from synthgen.models import resolve_model

    path = resolve_model(model_path)
    local = {"local_files_only": Path(path).is_dir(), "trust_remote_code": False}
    settings = AutoConfig.from_pretrained(path, **local)
    # SDPA has no soft-capping of attention logits (Gemma 2)
    capped = getattr(settings.get_text_config(), "attn_logit_softcapping", None)
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype="auto", attn_implementation="eager" if capped else "sdpa", **local
    )
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    large = sum(p.numel() for p in model.parameters()) > LARGE
    model.to(device=device, dtype=torch.bfloat16 if large and device.type == "cuda" else torch.float32)
    return model.eval().requires_grad_(False)


def add_lora(model: Any, config: TuningConfig) -> Any:
    """The model with a fresh LoRA adapter on every attention and feed-forward projection, as published.

    Raises SynthgenError, naming the linear layers found, where the architecture has not all of them by name.
    """
    found = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    if missing := [name for name in LINEAR_LAYERS if name not in found]:
        raise SynthgenError(
            f"model {model.config.model_type!r} has no {', '.join(missing)} (its linear layers: "
            f"{', '.join(sorted(found)) or 'none'}); tuning needs {', '.join(LINEAR_LAYERS)}: choose "
            "another model"
        )
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=list(LINEAR_LAYERS),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # PEFT draws A from the global generator
        return get_peft_model(model, lora).eval()


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
        self.is_fresh = config.is_fresh(source.fresh)
        # A fixed list without declared fields, or marginals multiplied out, is the whole distribution.
        self.is_exact = not self.is_fresh and (
            not source.closed or (source.kind == "marginals" and not source.fresh)
        )
        self.anchor: Anchor | None = None
        self.fixed = None if self.is_fresh else self._draw(config.n_targets)
        held_out = self.is_fresh or config.patience is not None
        self.judged = self._draw(config.n_heldout) if held_out or self.fixed is None else self.fixed

    def _draw(self, n: int) -> TokenTrie:
        source = self.task.source
        targets = source.draw(self.rng, n if source.fresh else None)
        return build_trie(self.tokens, targets, source.closed, self.rng, exact=self.is_exact)

    def trie(self) -> TokenTrie:
        """This step's targets."""
        return self.fixed if self.fixed is not None else self._draw(self.config.n_targets)


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

    def autocast(self) -> torch.autocast:
        """bf16 where it pays: on CUDA, and on CPUs that multiply in it."""
        kind = self.model.device.type
        on = self.config.bf16 if self.config.bf16 is not None else kind == "cuda"
        return torch.autocast(kind, torch.bfloat16, enabled=on)

    def backward_targets(self, work: _Work) -> Figures:
        """Add the gradient of the trie loss of the task's targets, pack by pack; returns its figures."""
        trie = work.trie()
        log_probs = np.zeros(len(trie))
        for batch in batches(
            trie, work.task.prompt.ids, self.model.device, self.config.pack_nodes, self.config.batch_tokens
        ):
            with self.autocast():
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
            with self.autocast():
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


class _Judge:
    """Decides when to stop, and keeps the weights to go back to."""

    def __init__(self, config: TuningConfig, before: tuple[Look, ...], parameters: Sequence[Tensor]) -> None:
        self.config, self.parameters = config, parameters
        self._pass: list[Figures] = []
        self._floors = [
            look.health.format_rate * config.format_floor if look.health else 0.0 for look in before
        ]
        self._best = float("inf")
        self._without_gain = 0
        self._kept_step = 0
        self._kept = self._copy()

    def targets_reached(self, figures: Figures, pass_ends: bool) -> StoppedBy | None:
        """At the end of a pass: is gamma (summed over prompts) or KL (of the worst prompt) reached?"""
        self._pass.append(figures)
        if not pass_ends:
            return None
        done, self._pass = self._pass, []
        gamma, kl = self.config.gamma, self.config.kl
        if gamma is not None and sum(f.cross_entropy for f in done) <= (1 + gamma) * sum(
            f.optimum for f in done
        ):
            return "gamma"
        if kl is not None and all(f.kl is not None and f.kl <= kl for f in done):
            return "kl"
        return None

    def looked(self, step: int, looks: tuple[Look, ...]) -> StoppedBy | None:
        """Health first, then held-out tuples; healthy weights that gained are kept."""
        for look, floor in zip(looks, self._floors, strict=True):
            if look.health and look.health.format_rate < floor:
                return "guard"
        loss = sum(look.figures.cross_entropy for look in looks)
        if self.config.patience is not None and loss >= self._best:
            self._without_gain += 1
            return "heldout" if self._without_gain >= self.config.patience else None
        self._best, self._without_gain = loss, 0
        self._kept_step, self._kept = step, self._copy()
        return None

    @torch.no_grad()
    def restore(self, stopped_by: StoppedBy | None, last_step: int) -> int | None:
        """Go back to the kept weights where the last ones are worse; the step they are of, or None."""
        keeps_best = self.config.patience is not None and stopped_by in (None, "heldout")
        if not (stopped_by == "guard" or keeps_best) or self._kept_step == last_step:
            return None
        for parameter, kept in zip(self.parameters, self._kept, strict=True):
            parameter.copy_(kept)
        return self._kept_step

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]


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
