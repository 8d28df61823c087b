"""What a tuning run says of itself: every step, prompt by prompt, and the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from synthgen.stopping import Look, StoppedBy
from synthgen.trie import Figures
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
    """One optimiser step.

    Loss, optimum and KL are means over all prompts that have had a turn, weighted by their shares, each prompt
    as it was when it was last taken.
    """

    step: int
    n_steps: int
    loss: float
    optimum: float | None  # None unless every prompt has one; KL likewise
    kl: float | None
    kl_by_prompt: dict[str, float]  # of an adapter with several prompts
    tasks: tuple[TaskLog, ...]  # the prompts of this step
    lr: float
    elapsed_s: float
    looks: tuple[Look, ...] = ()  # after the update, one per prompt; at looks only

    @property
    def kl_by_field(self) -> dict[str, float]:
        """KL by field, of an adapter with one prompt."""
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
    training_s: float | None = None  # of the steps alone: no loading, no looks; None: not measured
    rounds: int = 1

    def to_json(self) -> dict[str, Any]:
        """JSON values, every step's log included."""
        return asdict(self)

    def summary(self) -> dict[str, Any]:
        """JSON values without steps and prompts, for the manifest."""
        kept = ("steps", "rounds", "stopped_by", "restored_step", "elapsed_s", "training_s", "n_tokens")
        return {key: getattr(self, key) for key in kept}


class Logbook:
    """Writes down every step, and remembers each prompt's last turn."""

    def __init__(self, n_steps: int) -> None:
        """`n_steps`: the most there can be."""
        self.n_steps = n_steps
        self.steps: list[StepLog] = []
        self._last: dict[int, tuple[float, TaskLog]] = {}  # by prompt: its share, and its part of a step

    def add(
        self,
        prompts: Sequence[PreparedTask],
        figures: Sequence[Figures],
        drifts: Sequence[float | None],
        lr: float,
        elapsed_s: float,
        looks: tuple[Look, ...],
    ) -> StepLog:
        """The next step, with its prompts and what each of them showed."""
        tasks = tuple(map(_task_log, prompts, figures, drifts))
        self._last |= {p.index: (p.share, task) for p, task in zip(prompts, tasks, strict=True)}
        last = [task for _, task in self._last.values()]
        shares = [share for share, _ in self._last.values()]

        def mean(values: Sequence[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return float(np.average(known, weights=shares)) if len(known) == len(values) else None

        self.steps.append(
            StepLog(
                step=len(self.steps) + 1,
                n_steps=self.n_steps,
                loss=float(np.average([task.loss for task in last], weights=shares)),
                optimum=mean([task.optimum for task in last]),
                kl=mean([task.kl for task in last]),
                kl_by_prompt={t.label: t.kl for t in last if t.label and t.kl is not None},
                tasks=tasks,
                lr=lr,
                elapsed_s=elapsed_s,
                looks=looks,
            )
        )
        return self.steps[-1]


def _task_log(prompt: PreparedTask, figures: Figures, drift: float | None) -> TaskLog:
    return TaskLog(
        task=prompt.index,
        label=prompt.label,
        loss=figures.cross_entropy,
        optimum=figures.optimum if prompt.fixed is not None else None,
        kl=figures.kl,
        kl_by_field={name: field.kl for name, field in figures.fields.items() if field.kl is not None},
        anchor=drift,
    )
