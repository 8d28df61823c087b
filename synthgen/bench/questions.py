"""What a model is asked, and what it answers: one prompt, `n` answers of the right form, counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.bench.cells import Tally
from synthgen.engines.protocol import Engine, Request
from synthgen.errors import EngineError
from synthgen.plan import BASE, Plan
from synthgen.prompt import Prompt
from synthgen.runners.local import Work, attempts
from synthgen.schema import RecordSchema, text_of
from synthgen.tuning_config import TuningTask
from synthgen.validation import Record, Rejection

MAX_ATTEMPTS = (
    4  # per answer: base models of some size fail a form now and then, and few answers would be few values
)

Prompted = tuple[tuple[int, ...], list[tuple[int, ...]]]  # a prompt's ids, and those of answers to it


@dataclass(frozen=True)
class Question:
    """One prompt; `support` are the values on its task's list, None where there is none."""

    label: str
    task: str
    schema: RecordSchema
    prompt: Prompt
    support: frozenset[str] | None = None

    @property
    def fingerprint(self) -> tuple[str, str, int]:
        """What decides its tally, beside model and seed."""
        return self.prompt.fingerprint, self.schema.fingerprint, len(self.support or ())


def question(
    task: str, tuning: TuningTask, label: str = "", support: frozenset[str] | None = None
) -> Question:
    """The question that a prompt is tuned on; its list is what its targets hold, unless another is given."""
    name = tuning.source.fields[0]
    if support is None:
        shares = tuning.source.reference(np.random.default_rng(0)).shares
        support = frozenset(shares[name]) if name in shares else None
    return Question(label or tuning.prompt.user, task, tuning.source.schema, tuning.prompt, support)


def ask(
    engine: Engine,
    asked: Question,
    adapter: str | None,
    n: int,
    seed: int,
    keep: Callable[[Record], None] = lambda _: None,
) -> Tally:
    """`n` answers of the right form, or fewer where some fail all their attempts; `keep` is handed each record."""
    plan = Plan(n, seed, ((adapter or BASE, 1.0),), n)
    work = Work(plan, asked.schema, asked.prompt.ids, MAX_ATTEMPTS)
    first = asked.schema.fields[0].name
    listed: Counter[str] = Counter()
    other: Counter[str] = Counter()
    n_first = n_held = 0
    for _, outcome in attempts(work, ((i, 0) for i in range(n)), engine):
        if outcome.attempt == 0:
            n_first += 1
            n_held += isinstance(outcome, Record)
        if isinstance(outcome, Rejection):
            continue
        keep(outcome)
        value = text_of(outcome.values[first])
        (listed if asked.support is None or value in asked.support else other)[value] += 1
    return Tally(
        asked.label, asked.task, n_first, n_held, dict(sorted(listed.items())), dict(sorted(other.items())),
        len(asked.support or ()),
    )  # fmt: skip


def ask_all(
    engine: Engine, questions: Sequence[Question], adapter: str | None, n: int, seed: int
) -> list[Tally]:
    """The tallies of several questions; each draws its own numbers."""
    return [ask(engine, one, adapter, n, 1000 * seed + i) for i, one in enumerate(questions)]


def perplexities(
    engine: Engine,
    adapter: str | None,
    answers: Mapping[str, Sequence[Prompted]],
) -> dict[str, float]:
    """Task → exp of the mean surprise per token of its target answers, all prompts and answers alike."""
    found = {}
    for task, prompts in answers.items():
        surprise, n_tokens = 0.0, 0
        for prompt_ids, texts in prompts:
            for scores in engine.score(prompt_ids, texts, adapter):
                surprise, n_tokens = surprise - sum(scores), n_tokens + len(scores)
        found[task] = math.exp(surprise / n_tokens)
    return found


def own_answers(engine: Engine, asked: Sequence[Question], n: int, seed: int) -> list[dict[str, Any]]:
    """`n` answers of the base model to each question, as token ids. EngineError if some never come."""
    plan = Plan(1, seed, (), 1)
    requests = [
        Request(i, one.prompt.ids, None, plan.seed_of(i, 0))
        for i, one in enumerate(one for one in asked for _ in range(n))
    ]
    engine.submit(requests)
    answers: dict[int, tuple[int, ...]] = {}
    while len(answers) < len(requests):
        done = engine.poll()
        if not done:
            raise EngineError(
                f"engine {engine.info.name}: {len(requests) - len(answers)} requests were never answered"
            )
        answers |= {one.id: one.token_ids for one in done}
    return [
        {"task": asked[r.id // n].task, "label": asked[r.id // n].label,
         "prompt_ids": list(r.prompt_ids), "answer_ids": list(answers[r.id])}
        for r in requests
    ]  # fmt: skip
