"""When tuning stops, and which weights it keeps.

Stands inside `tuning`'s loop: looks at what a step and a look show, and says why to stop, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from synthgen.anchor import Health
from synthgen.trie import Figures
from synthgen.tuning_config import TuningConfig

StoppedBy = Literal["gamma", "kl", "heldout", "steps", "guard"]


@dataclass(frozen=True)
class Look:
    """What a pause in tuning showed of one prompt."""

    figures: Figures  # on held-out tuples where targets are drawn afresh, else on the fixed targets
    drift_nats: float | None  # mean KL(p_base ‖ pθ) per answer over the later fields, on the anchor's answers
    health: Health | None


class Judge:
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
