"""Prefix and allowed values → P_token: the model's distribution of the next value, renormalised over the support.

A value is one path of a token trie: its probability is the product of its tokens', closing brace included, so that `{1}`
and `{10}` are told apart. What is common to all values, up to the opening brace, cancels out. Works on any engine that
scores answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.braces import join
from synthgen.engines.protocol import Engine
from synthgen.errors import RecipeError
from synthgen.probe.tasks import Floats
from synthgen.prompt import answer_ids
from synthgen.target_trie import AnswerTokens

BATCH = 2048  # answers scored in one call
IMPOSSIBLE = -1e9  # nats; stands for −∞, so that values without any chance stay comparable


@dataclass(frozen=True)
class Step:
    """A place in an answer where a value is due: the values before it, and whether the answer ends after it."""

    before: tuple[str, ...]
    is_last: bool


@dataclass(frozen=True, eq=False)
class NextValue:
    """What the model would say next."""

    shares: Floats  # (k,) P_token over the support, sum 1; uniform where the model gives no value any chance
    outside: float  # 0 to 1: mass on anything but the support, once the value's brace is open


@dataclass(frozen=True)
class Scorer:
    """An engine and the adapter it is asked with; None is the base model.

    `in_prompt` hands a step's prefix over as part of the prompt, so that an engine reads it once for all values. A soft
    prompt stands at a place counted from the prompt's end, so with one the prefix must stay in the answers.
    """

    engine: Engine
    adapter: str | None = None
    in_prompt: bool = True

    def next_values(
        self, tokens: AnswerTokens, support: Sequence[str], steps: Sequence[Step]
    ) -> list[NextValue]:
        """P_token at each step, every value of the support scored behind the step's own prefix.

        Raises:
            RecipeError: the engine gives no log-probabilities.
        """
        found: list[NextValue] = []
        for step in steps:
            answers, start = alternatives(tokens, step, support)
            prompt_ids, skipped = list(tokens.prompt.ids), start
            if self.in_prompt:
                prompt_ids, skipped = [*prompt_ids, *answers[0][:start]], 0
                answers = [ids[start:] for ids in answers]
            scores = self._score(prompt_ids, answers)
            found.append(renormalised([math.fsum(row[skipped:]) for row in scores]))
        return found

    def _score(self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]]) -> list[list[float]]:
        try:
            scores = self.engine.score(prompt_ids, answers, self.adapter)
        except (NotImplementedError, AttributeError):
            scores = []
        complete = len(scores) == len(answers) and all(
            len(row) == len(answer) and not any(log_p is None or math.isnan(log_p) for log_p in row)
            for row, answer in zip(scores, answers, strict=True)
        )
        if not complete:
            raise RecipeError(
                f"engine {self.engine.info.name}: gives no log-probabilities of given answers, which the probe reads at "
                "every step; probe with --engine transformers or vllm"
            )
        return scores


def alternatives(tokens: AnswerTokens, step: Step, support: Sequence[str]) -> tuple[list[list[int]], int]:
    """The answer's token ids up to the end of the step's value, for each value; and where they begin to matter.

    All are tokenised as a whole, prompt included. Before that place, the end of the opening brace, they are equal; it
    is earlier where the tokenizer joins the brace with what follows.
    """
    n = len(step.before) + 1
    answers = []
    for value in support:
        ids, _ = tokens.leading(join([*step.before, value]), n, whole=step.is_last)
        answers.append(ids[:-1] if step.is_last else ids)  # not the stop token: the value's own probability
    text = join(step.before) + "\n{" if step.before else "{"
    opening = list(answer_ids(tokens.prompt, tokens.tokenizer, text, closed=False))
    return answers, _n_common([opening, *answers])


def renormalised(log_probs: Sequence[float]) -> NextValue:
    """P_token and the mass outside, from each value's log-probability in nats."""
    logs = np.maximum(np.array(log_probs, dtype=np.float64), IMPOSSIBLE)
    top = logs.max()
    weights = np.exp(logs - top)
    mass = float(np.exp(top) * weights.sum())
    return NextValue(weights / weights.sum(), min(1.0, max(0.0, 1.0 - mass)))


def _n_common(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading ids all sequences share: as many as the first and the last in order do."""
    first, last = min(map(tuple, sequences)), max(map(tuple, sequences))
    pairs = zip(first, last, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(last)))
