"""One prompt made ready for tuning: the trie of every step, the trie it is judged by, and what it is anchored on.

Stands between `target_trie` and `tuning`'s loop; holds no model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.errors import RecipeError
from synthgen.seen import Seen
from synthgen.target_trie import AnswerTokens, build_trie
from synthgen.trie import TokenTrie
from synthgen.tuning_config import TuningConfig, TuningTask

if TYPE_CHECKING:
    from synthgen.anchor import Anchor
    from synthgen.targets import TargetSet

HELD_OUT_SHARE = 0.15  # of a fixed list, where tuning stops by held-out tuples


class PreparedTask:
    """A task with its tries. `share` is its part of the loss; `judged` is what looks are taken on."""

    def __init__(self, index: int, task: TuningTask, label: str, share: float, config: TuningConfig) -> None:
        """Draws from a generator of its own. RecipeError for targets that cannot be trained on."""
        self.index, self.task, self.label, self.share, self.config = index, task, label, share, config
        self.tokens = AnswerTokens(task.prompt, task.tokenizer)
        self.rng = np.random.default_rng([config.seed, index])
        self.n_targets = task.n_targets or config.n_targets
        self.anchor: Anchor | None = None
        self.emphasis: dict[str, float] = {}  # field → how much more its tokens count in the loss
        self.fixed: TokenTrie | None = None  # the same at every step, of the list; None: fresh tuples
        self._list: TargetSet | None = None
        self._rows: Counter[tuple[str, ...]] = Counter()  # tuples, and the steps that each was a target in
        source = task.source
        if config.is_fresh(source.fresh):
            self.judged = self._trie(self._draw(config.n_heldout))
            return
        targets, held_out = self._draw(self.n_targets), None
        if config.patience is not None:
            if source.fresh:
                held_out = self._draw(config.n_heldout)
            else:
                targets, held_out = split(targets, HELD_OUT_SHARE, self.rng)
        # A fixed list without declared fields, or marginals multiplied out, is the whole distribution.
        is_declared = bool(source.closed or source.conditionals)
        is_exact = not is_declared or (source.kind == "marginals" and not source.fresh)
        self.fixed, self._list = self._trie(targets, is_exact), targets
        self.judged = self.fixed if held_out is None else self._trie(held_out)

    def trie(self) -> TokenTrie:
        """This step's targets."""
        if self.fixed is not None and self._list is not None:
            self._rows.update(self._list.values)
            return self.fixed
        targets = self._draw(min(self.n_targets, self.config.fresh_per_step))
        self._rows.update(targets.values)
        return self._trie(targets)

    def emphasised(self, trie: TokenTrie) -> TokenTrie:
        """The trie with the masses that the loss takes: more where a field lags; the optimum stays where it is."""
        if not self.emphasis:
            return trie
        factors = np.array([self.emphasis.get(name, 1.0) for name in trie.fields])
        return replace(trie, mass=trie.mass * factors[trie.field])

    def samples(self, n: int) -> list[list[int]]:
        """Token ids of `n` answers drawn from the targets, each a target of one sequence."""
        if self._list is None:
            targets = self._draw(n)
            chosen = resample(targets.weights, n, self.rng)
        else:
            targets = self._list
            chosen = self.rng.choice(len(targets.answers), size=n, p=targets.weights).tolist()
        self._rows.update(targets.values[i] for i in chosen)
        ids = {i: self._ids(targets, i) for i in set(chosen)}
        return [ids[i] for i in chosen]

    @property
    def seen(self) -> Seen:
        """The tuples that were targets so far."""
        return Seen(self.task.source.fields, dict(self._rows))

    def leads(self, n: int) -> list[list[int]] | None:
        """Token ids of `n` target answers, each as often as its weight says; None for whole records."""
        targets = self.task.source.draw(self.rng, n)
        if targets.whole:
            return None
        ids = [self._ids(targets, i) for i in range(len(targets.answers))]
        return [ids[i] for i in resample(targets.weights, n, self.rng)]

    def _ids(self, targets: TargetSet, i: int) -> list[int]:
        return self.tokens.leading(targets.answers[i], len(targets.fields), targets.whole)[0]

    def _draw(self, n: int) -> TargetSet:
        return self.task.source.draw(self.rng, n if self.task.source.fresh else None)

    def _trie(self, targets: TargetSet, is_exact: bool = False) -> TokenTrie:
        source = self.task.source
        return build_trie(
            self.tokens, targets, source.closed, self.rng, is_exact, conditionals=source.conditionals
        )


def resample(weights: np.ndarray[Any, Any], n: int, rng: np.random.Generator) -> list[int]:
    """`n` positions by weight (systematic sampling): position i comes n·w_i times, rounded down or up."""
    marks = (rng.random() + np.arange(n)) / n
    found = np.searchsorted(np.cumsum(weights), marks, side="right")
    return [min(int(i), len(weights) - 1) for i in found]  # rounding may leave the sum just under 1


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
