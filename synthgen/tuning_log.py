"""What a tuning run says of itself: every step, prompt by prompt, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synthgen.stopping import Look, StoppedBy
from synthgen.trie import Figures
from synthgen.tuning_config import TuningConfig
from synthgen.tuning_tasks import PreparedTask


@dataclass(frozen=True)
class TaskLog:
    """One prompt's part of a step, seen before the update; all figures in nats."""

    task: int
    label: str  # "" where the adapter has one prompt only
    loss: float  # cross-entropy of this step's targets
    optimum: float | None  # the least it could be; None where every step draws other tuples
    kl: float | None  # exact for fixed lists; of the declared fields where tuples are samples
    kl_by_field: dict[str, float]
    anchor: float | None  # estimate of KL(p_base ‖ pθ) over the later fields


@dataclass(frozen=True)
class StepLog:
    """One optimiser step; loss, optimum and KL are means over its prompts, weighted by their shares."""

    step: int
    n_steps: int
    loss: float
    optimum: float | None  # None unless every prompt of the step has one; KL likewise
    kl: float | None
    tasks: tuple[TaskLog, ...]
    lr: float
    elapsed_s: float
    looks: tuple[Look, ...] = ()  # after the update, one per prompt; at looks only

    @property
    def kl_by_prompt(self) -> dict[str, float]:
        """KL of each of the step's prompts that has one, where the adapter has several."""
        return {log.label: log.kl for log in self.tasks if log.label and log.kl is not None}

    @property
    def kl_by_field(self) -> dict[str, float]:
        """KL by field, where the adapter has one prompt."""
        return self.tasks[0].kl_by_field if not self.tasks[0].label else {}


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
        """JSON values without steps and prompts, for the manifest."""
        kept = ("steps", "stopped_by", "restored_step", "elapsed_s", "n_tokens")
        return {key: getattr(self, key) for key in kept}


def step_log(
    step: int,
    config: TuningConfig,
    prompts: Sequence[PreparedTask],
    figures: Sequence[Figures],
    drifts: Sequence[float | None],
    lr: float,
    elapsed_s: float,
    looks: tuple[Look, ...],
) -> StepLog:
    """What a step showed, prompt by prompt and on the whole."""
    logs = tuple(
        TaskLog(
            task=prompt.index,
            label=prompt.label,
            loss=f.cross_entropy,
            optimum=f.optimum if prompt.fixed is not None else None,
            kl=f.kl,
            kl_by_field={name: field.kl for name, field in f.fields.items() if field.kl is not None},
            anchor=drift,
        )
        for prompt, f, drift in zip(prompts, figures, drifts, strict=True)
    )
    shares = [prompt.share for prompt in prompts]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.average(known, weights=shares)) if len(known) == len(values) else None

    return StepLog(
        step=step,
        n_steps=config.steps,
        loss=float(np.average([log.loss for log in logs], weights=shares)),
        optimum=mean([log.optimum for log in logs]),
        kl=mean([log.kl for log in logs]),
        tasks=logs,
        lr=lr,
        elapsed_s=elapsed_s,
        looks=looks,
    )
