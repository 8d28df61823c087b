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
from synthgen.errors import RecipeError
from synthgen.pace import MOST_ROUNDS
from synthgen.target_trie import END
from synthgen.trie import Figures
from synthgen.tuning_config import TuningConfig

CHANCE = 0.01  # of a false alarm that a prompt's format has suffered, per look and over all prompts
GAIN = (
    0.9  # a further round is worth it where the last one brought the worst field to this part of where it was
)
MOST_EMPHASIS = 4.0  # times that a field counts in the loss while it lags

StoppedBy = Literal["gamma", "kl", "heldout", "tolerance", "plateau", "steps", "tokens", "seconds", "guard"]


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
        """`before`: a look at every prompt, untuned; `shares`: each prompt's part of the loss.

        Raises RecipeError where a tolerance is asked of what has no declared distribution.
        """
        self.config, self.parameters, self.shares = config, parameters, shares
        known = {name for look in before for name in self._distances(look)}
        wanted = config.tolerance if isinstance(config.tolerance, dict) else {}
        if lacking := [name for name in wanted if name not in known]:
            raise RecipeError(
                f"stop.tolerance: {lacking[0]!r} has no declared distribution to be near to; declare it in `closed`"
            )
        if config.tolerance is not None and not known:
            raise RecipeError(
                "stop.tolerance: no field has a declared distribution to be near to; declare one in `closed`"
            )
        self._pass: list[Figures] = []
        self._before = before
        self._keeps_best = config.patience is not None or config.tolerance is not None
        self._best = self._worth(before) if self._keeps_best else float("inf")
        self._round_best = self._best
        self._without_gain = 0
        self._is_ill = False
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

    def looked(self, step: int, looks: tuple[Look, ...], is_last: bool = False) -> StoppedBy | None:
        """Health of every prompt first, then held-out tuples or tolerances; healthy weights that gained are kept.

        Illness stops a run at its second look in a row, or the last: at a high rate one dip often passes as it falls.
        """
        if any(self._has_suffered(old, new) for old, new in zip(self._before, looks, strict=True)):
            was_ill, self._is_ill = self._is_ill, True
            return "guard" if was_ill or is_last else None
        self._is_ill = False
        worth, patience = self._worth(looks), self.config.patience
        if self._keeps_best and not worth < self._best:  # a loss that is no number is no gain
            self._without_gain += 1
            return "heldout" if patience is not None and self._without_gain >= patience else None
        self._best, self._without_gain = worth, 0
        self._kept_step, self._kept = step, self._copy()
        return "tolerance" if self.config.tolerance is not None and worth <= 1 else None

    def round_over(self, rounds: int) -> StoppedBy | None:
        """After the last look of a round: why not to begin another one; None where that is worth it.

        Fields are judged by exact figures on the same prefixes each time, so that a gain is a gain and no noise; and
        there is no floor of noise under them.
        """
        if self.config.tolerance is None or rounds >= MOST_ROUNDS:
            return "steps"
        if self._best > GAIN * self._round_best:
            return "plateau"
        self._round_best = self._best
        return None

    def emphasis(self, looks: Sequence[Look]) -> list[dict[str, float]]:
        """How much more than others each field outside its tolerance shall count, prompt by prompt."""
        return [
            {name: min(MOST_EMPHASIS, ratio) for name, ratio in self._ratios(look).items() if ratio > 1}
            for look in looks
        ]

    @torch.no_grad()
    def restore(self, stopped_by: StoppedBy | None, last_step: int) -> int | None:
        """Go back to the kept weights where the last ones are worse; the step they are of, or None."""
        has_best = self._keeps_best and stopped_by not in ("gamma", "kl")  # else the last weights are wanted
        if not (stopped_by == "guard" or has_best) or self._kept_step == last_step:
            return None
        for parameter, kept in zip(self.parameters, self._kept, strict=True):
            parameter.copy_(kept)
        return self._kept_step

    def _worth(self, looks: Sequence[Look]) -> float:
        """What is to become small: the worst field in units of its tolerance, or the loss on what is judged."""
        if self.config.tolerance is not None:
            return max((ratio for look in looks for ratio in self._ratios(look).values()), default=0.0)
        pairs = zip(self.shares, looks, strict=True)
        return sum(share * look.figures.cross_entropy for share, look in pairs)

    def _ratios(self, look: Look) -> dict[str, float]:
        """Total variation of each field that has a tolerance, in units of it."""
        wanted, distances = self.config.tolerance, self._distances(look)
        if wanted is None:
            return {}
        if isinstance(wanted, dict):
            return {name: distances[name] / most for name, most in wanted.items() if name in distances}
        return {name: distance / wanted for name, distance in distances.items()}

    @staticmethod
    def _distances(look: Look) -> dict[str, float]:
        """Total variation of each declared field."""
        fields = look.figures.fields.items()
        return {name: field.tv for name, field in fields if field.tv is not None and name != END}

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
