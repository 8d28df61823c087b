"""Questions → draws with P_token at every step, in both protocols.

A list is the model's own as far as it keeps to the form and the support. Where it breaks off, the next value is drawn from
P_token and the list is carried on from there, so that every list has all its draws: a value outside is thrown away and drawn
again, which is what P_token, renormalised over the support, describes. Every list is an exact sample either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthgen.engines.protocol import Engine, Request
from synthgen.plan import BASE, Plan
from synthgen.probe.answers import Ended, OwnDraws, collect, own_draws
from synthgen.probe.questions import Protocol, Question
from synthgen.probe.steps import NextValue, Scorer, Step
from synthgen.probe.tasks import Floats, Task
from synthgen.progress import Progress

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DrawnList:
    """One list of n draws from a task of k values."""

    task: Task
    wording: str
    number: int  # among the lists of its task and wording, from 0
    draws: Ints  # (n,) indices of the task's values
    shares: Floats  # (n, k) P_token before each draw
    outside: Floats  # (n,) mass outside the support
    n_own: int  # leading draws that the model wrote itself
    ended: Ended  # why it wrote no more


@dataclass(frozen=True, eq=False)
class SingleDraws:
    """Independent single draws of a task in one wording."""

    task: Task
    wording: str
    shares: Floats  # (k,) P_token, exact: every draw has the same prompt
    outside: float
    counts: Ints  # (k,) what the model answered
    n_asked: int


def own_answers(
    engine: Engine,
    adapter: str | None,
    asked: Sequence[Question],
    times: Mapping[Protocol, int],
    n_draws: int,
    seed: int,
) -> list[list[OwnDraws]]:
    """The model's own answers to each question, which is asked as often as its protocol says; a list has `n_draws`."""
    plan = Plan(2**62, seed, ((BASE, 1.0),), 2**62)  # for its seeds
    places = [i for i, question in enumerate(asked) for _ in range(times[question.protocol])]
    requests = [
        Request(number, asked[i].prompt.ids, adapter, plan.seed_of(number, 0))
        for number, i in enumerate(places)
    ]
    done = collect(engine, requests)
    answers: list[list[OwnDraws]] = [[] for _ in asked]
    for number, i in enumerate(places):
        most = n_draws if asked[i].protocol == "list" else 1
        answers[i].append(own_draws(done[number].text, asked[i].task.values, most))
    return answers


def draw_lists(
    scorer: Scorer, question: Question, own: Sequence[OwnDraws], n: int, rngs: Sequence[np.random.Generator]
) -> list[DrawnList]:
    """The lists of one question, whole and with P_token at each of their `n` steps."""
    values = question.task.values
    lists = [list(found.draws) for found in own]
    steps: list[list[NextValue]] = [[] for _ in own]

    def due() -> list[tuple[int, int]]:
        """(list, step) of every step whose prefix is known and that is not scored."""
        return [(i, t) for i, drawn in enumerate(lists) for t in range(len(steps[i]), min(len(drawn) + 1, n))]

    while places := due():
        asked = [Step(tuple(values[d] for d in lists[i][:t]), t == n - 1) for i, t in places]
        for (i, _), found in zip(places, scorer.next_values(question.tokens, values, asked), strict=True):
            steps[i].append(found)
        for drawn, known, rng in zip(lists, steps, rngs, strict=True):
            if len(drawn) < n:
                drawn.append(int(rng.choice(len(values), p=known[-1].shares)))
    return [
        DrawnList(
            question.task,
            question.wording,
            number,
            np.array(drawn, dtype=np.int64),
            np.array([step.shares for step in known]),
            np.array([step.outside for step in known]),
            len(found.draws),
            found.ended,
        )
        for number, (drawn, known, found) in enumerate(zip(lists, steps, own, strict=True))
    ]


def single_draws(scorer: Scorer, question: Question, own: Sequence[OwnDraws]) -> SingleDraws:
    """P_token of a question that asks for one draw, and the model's own answers to it."""
    task = question.task
    (found,) = scorer.next_values(question.tokens, task.values, [Step((), is_last=True)])
    said = np.array([answer.draws[0] for answer in own if answer.draws], dtype=np.int64)
    counts = np.bincount(said, minlength=len(task.values))
    return SingleDraws(task, question.wording, found.shares, found.outside, counts, len(own))


def draw_all(
    scorer: Scorer,
    asked: Sequence[Question],
    own: Sequence[Sequence[OwnDraws]],
    n: int,
    seed: int,
    progress: Progress,
) -> tuple[list[DrawnList], list[SingleDraws]]:
    """Both protocols of every question, with the engine's own answers in hand."""
    lists: list[DrawnList] = []
    singles: list[SingleDraws] = []
    current = ""
    for i, (question, answers) in enumerate(zip(asked, own, strict=True)):
        if question.task.name != current:
            current = question.task.name
            progress.stage("score", current)
        if question.protocol == "list":
            rngs = [np.random.default_rng([seed, i, number]) for number in range(len(answers))]
            lists += draw_lists(scorer, question, answers, n, rngs)
        else:
            singles.append(single_draws(scorer, question, answers))
    return lists, singles
