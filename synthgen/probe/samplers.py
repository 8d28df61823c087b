"""Samplers whose behaviour is known: the reference points of the plane, simulated on the probe's own tasks.

A law says P_token after a history of draws; nothing else decides a sampler. Laws are deterministic functions of the
history, so that an engine can be scripted with them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import numpy as np

from synthgen.probe.draws import DrawnList
from synthgen.probe.tasks import Floats, Task

Law = Callable[[Task, Sequence[int], int], Floats]  # task, draws so far, draws in all → (k,)
BALANCED = 0.98  # of a balancer's mass on the value whose turn it is; the rest follows the task
STUCK = 0.7  # of a repeater's mass on the last value


def exact(task: Task, _history: Sequence[int], _n: int) -> Floats:
    """The task itself at every step."""
    return task.target


def jitter(task: Task, history: Sequence[int], _n: int, scale: float) -> Floats:
    """The task with the odds of every value multiplied by exp(scale·z), z standard normal, anew at every step."""
    rng = np.random.default_rng([len(history), crc32(bytes(history))])
    weights = task.target * np.exp(scale * rng.standard_normal(len(task.values)))
    return np.asarray(weights / weights.sum())


def uniform(task: Task, _history: Sequence[int], _n: int) -> Floats:
    """Every value alike, whatever is stated."""
    return np.full(len(task.values), 1 / len(task.values))


def point_mass(task: Task, _history: Sequence[int], _n: int) -> Floats:
    """The likeliest value and no other."""
    return _all_on(task, int(task.target.argmax()))


def deck(task: Task, history: Sequence[int], n: int) -> Floats:
    """Cards dealt from a shuffled deck that holds every value in its share: exact in the end, and not independent."""
    cards = np.floor(n * task.target).astype(int)
    while cards.sum() < n:
        cards[np.argmax(n * task.target - cards)] += 1
    left = cards - _counts(task, history)
    return np.asarray(left / left.sum())


def balancer(task: Task, history: Sequence[int], _n: int) -> Floats:
    """The value furthest behind its share, almost surely; of equal shares none comes again before all have come."""
    behind = (len(history) + 1) * task.target - _counts(task, history)
    return (1 - BALANCED) * task.target + BALANCED * _all_on(task, int(np.argmax(behind)))


def drifter(task: Task, history: Sequence[int], n: int) -> Floats:
    """A bell that slides from the first value to the last along the list."""
    k = len(task.values)
    middle = len(history) / max(1, n - 1) * (k - 1)
    weights = np.exp(-0.5 * ((np.arange(k) - middle) / max(1.0, k / 8)) ** 2)
    return np.asarray(weights / weights.sum())


def repeater(task: Task, history: Sequence[int], _n: int) -> Floats:
    """The last value again in seven draws of ten, else the task."""
    return STUCK * _all_on(task, history[-1]) + (1 - STUCK) * task.target if history else task.target


@dataclass(frozen=True)
class Sampler:
    """A known sampler: its name on the plane, and what it does, in a few words."""

    name: str
    does: str
    law: Law


SAMPLERS = (
    Sampler("exact", "follows the stated distribution at every step", exact),
    Sampler(
        "jitter ¼",
        "right on average; odds off by a factor of about 1.3, anew at every step",
        partial(jitter, scale=0.25),
    ),
    Sampler("jitter ½", "the same with a factor of about 1.6", partial(jitter, scale=0.5)),
    Sampler("jitter 1", "the same with a factor of about 2.7", partial(jitter, scale=1.0)),
    Sampler("uniform", "ignores what is stated: every value alike", uniform),
    Sampler("one value", "says the likeliest value and no other", point_mass),
    Sampler("deck", "deals from a shuffled deck that holds each value in its share", deck),
    Sampler("balancer", "says the value that is furthest behind its share", balancer),
    Sampler("drifter", "slides from the first value to the last along the list", drifter),
    Sampler("repeater", "says its last value again in seven draws of ten", repeater),
)


def simulate(
    law: Law, task: Task, n: int, rng: np.random.Generator, name: str = "", number: int = 0
) -> DrawnList:
    """A list of `n` draws by a law."""
    history: list[int] = []
    shares = np.empty((n, len(task.values)))
    for t in range(n):
        shares[t] = law(task, history, n)
        history.append(int(rng.choice(len(task.values), p=shares[t])))
    return DrawnList(task, name, number, np.array(history), shares, np.zeros(n), n, "complete")


def _counts(task: Task, history: Sequence[int]) -> Floats:
    return np.bincount(np.array(history, dtype=np.int64), minlength=len(task.values)).astype(np.float64)


def _all_on(task: Task, value: int) -> Floats:
    shares = np.zeros(len(task.values))
    shares[value] = 1.0
    return shares
