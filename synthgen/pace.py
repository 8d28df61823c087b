"""How far a tuning run is: its learning rate, when it looks, when a round of steps is over.

Stands inside `tuning`'s loop, without torch. What a run may spend is counted in steps, or in tokens or seconds of
its steps, so that two methods can be compared at equal cost. A run that tunes until its fields are within their
tolerance has several rounds: each begins with a warm restart of the rate (Loshchilov & Hutter 2017, arXiv 1608.03983).
"""

from __future__ import annotations

from typing import Literal

from synthgen.tuning_config import TuningConfig

MOST_ROUNDS = 5  # the first of all steps, the others of half as many at half the rate

Budget = Literal["steps", "tokens", "seconds"]


class Pace:
    """Where a run is, before its next step."""

    def __init__(self, config: TuningConfig) -> None:
        self.config = config
        self.round = 1
        self.steps = 0  # of all rounds
        self.is_look = False  # whether the last step is one to look behind
        self._step = 0  # of this round
        self._spent: dict[Budget, float] = {"steps": 0.0}

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.config, self._step + 1, self.spent) * (1.0 if self.round == 1 else 0.5)

    @property
    def spent(self) -> float:
        """Share of this round that is over, 0 to 1."""
        return min(1.0, max(self._spent.values()))

    @property
    def is_over(self) -> bool:
        """Whether this round has no further step."""
        return self.spent >= 1

    @property
    def spent_first(self) -> Budget:
        """What ran out, or is about to."""
        return max(self._spent, key=lambda budget: self._spent[budget])

    @property
    def n_steps(self) -> int:
        """Steps that there will be if no further round follows: exact, or as far as can be foretold."""
        before = self.steps - self._step
        return before + (self._round_steps if self.spent_first == "steps" else round(self._step / self.spent))

    def advance(self, n_tokens: int, seconds: float) -> None:
        """One more step is done, with which the run has evaluated so many tokens in so many seconds."""
        config, before = self.config, self.spent
        self._step, self.steps = self._step + 1, self.steps + 1
        self._spent["steps"] = self._step / self._round_steps
        if config.tokens is not None:
            self._spent["tokens"] = n_tokens / config.tokens
        if config.seconds is not None:
            self._spent["seconds"] = seconds / config.seconds
        is_quarter = int(4 * self.spent) > int(4 * before)
        by_steps = config.look_every is not None or len(self._spent) == 1
        self.is_look = self.is_over or (self._step % config.look_steps == 0 if by_steps else is_quarter)

    def begin_round(self) -> None:
        """Start the next round."""
        self.round, self._step, self._spent = self.round + 1, 0, {"steps": 0.0}

    @property
    def _round_steps(self) -> int:
        return self.config.steps if self.round == 1 else -(-self.config.steps // 2)


def learning_rate(config: TuningConfig, step: int, spent: float | None = None) -> float:
    """The rate at a step, from 1: a short linear rise, then constant or falling to 0 behind the last step.

    `spent` is the share of the run that is over before the step, by default of its steps.
    """
    rise = min(1.0, step / config.warmup_steps) if config.warmup_steps else 1.0
    spent = (step - 1) / config.steps if spent is None else spent
    fall = 1.0 if config.schedule == "constant" else 1 - spent
    return config.lr * rise * fall
