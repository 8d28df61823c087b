"""When tuning stops, and which weights it keeps.

Stands inside `tuning`'s loop: looks at what a step and a look show, and says why to stop, or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.stats import hypergeom
from torch import Tensor

from synthgen.anchor import Health
from synthgen.trie import Figures
from synthgen.tuning_config import TuningConfig

CHANCE = 0.01  # of a false alarm that a prompt's format has suffered, per look and over all prompts

StoppedBy = Literal["gamma", "kl", "heldout", "steps", "guard"]


@dataclass(frozen=True)
class Look:
    """What a pause in tuning showed of one prompt."""

    figures: Figures  # on held-out tuples where targets are drawn afresh, else on the fixed targets
    drift_nats: float | None  # mean KL(p_base ‖ pθ) per answer over the later fields, on the anchor's answers
    health: Health | None


class Judge:
    """Decides when to stop, and keeps the weights to go back to."""

    def __init__(
        self,
        config: TuningConfig,
        before: tuple[Look, ...],
        parameters: Sequence[Tensor],
        shares: Sequence[float] = (1.0,),
    ) -> None:
        """`before`: a look at every prompt, untuned; `shares`: each prompt's part of the loss."""
        self.config, self.parameters, self.shares = config, parameters, shares
        self._pass: list[Figures] = []
        self._before = before
        self._best = self._loss(before) if config.patience is not None else float("inf")
        self._without_gain = 0
        self._kept_step = 0
        self._kept = self._copy()

    def targets_reached(self, figures: Sequence[Figures]) -> StoppedBy | None:
        """With the figures of a step's prompts; decides once all prompts have had their turn.

        By gamma (losses and optima summed over the prompts, as published) or KL (of the worst prompt).
        """
        self._pass += figures
        if len(self._pass) < len(self._before):
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
        """Health of every prompt first, then held-out tuples; healthy weights that gained are kept."""
        if any(self._has_suffered(old, new) for old, new in zip(self._before, looks, strict=True)):
            return "guard"
        loss = self._loss(looks)
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

    def _loss(self, looks: Sequence[Look]) -> float:
        pairs = zip(self.shares, looks, strict=True)
        return sum(share * look.figures.cross_entropy for share, look in pairs)

    def _has_suffered(self, before: Look, now: Look) -> bool:
        """Whether fewer answers hold their format than the floor allows, and by more than chance (Fisher's test)."""
        old, new = before.health, now.health
        if old is None or new is None or new.format_rate >= self.config.format_floor * old.format_rate:
            return False
        held, held_before = round(new.n * new.format_rate), round(old.n * old.format_rate)
        p_value = hypergeom.cdf(held, old.n + new.n, held_before + held, new.n)
        return bool(p_value < CHANCE / len(self._before))

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.parameters]
