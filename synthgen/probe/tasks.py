"""The stated distributions: which values, with which chances, exactly as the prompt will say them.

First stage of the probe. A task is named `family/size/kind`, such as `zipf/20/words`; its chances are rounded to tenths of
a percent, and the rounded ones are the task: what is stated is what is measured against.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from synthgen.errors import RecipeError

Family = Literal["extreme", "flat", "binomial", "zipf", "declared"]
Kind = Literal["words", "digits"]
Floats = npt.NDArray[np.float64]

FEWEST, MOST = 2, 20  # values of a task
PARTS = 1000  # chances are stated in tenths of a percent
EXTREME = 0.95  # of the favoured value where there are two; the others keep at least 0.05 each
STANDARD = (
    "extreme/2/words",
    "extreme/6/digits",
    "flat/5/words",
    "flat/10/digits",
    "binomial/9/digits",
    "zipf/20/words",
)
WORDS = (
    "apple", "river", "stone", "cloud", "horse", "lamp", "bread", "glass", "tiger", "chair",
    "music", "paper", "storm", "wheel", "garden", "silver", "window", "candle", "bridge", "pepper",
)  # fmt: skip
_FORBIDDEN = frozenset("{}")


@dataclass(frozen=True)
class Task:
    """A distribution that is stated in a prompt: distinct values in the order of the prompt, chances with sum 1."""

    name: str
    family: Family
    values: tuple[str, ...]
    shares: tuple[float, ...]  # each above 0

    @property
    def target(self) -> Floats:
        """The chances, (k,)."""
        return np.array(self.shares)

    @property
    def entropy_nats(self) -> float:
        """H(P_task); above 0, as there are at least two values."""
        return -math.fsum(p * math.log(p) for p in self.shares)


def make_task(name: str) -> Task:
    """The task of a name such as `flat/10/digits`; RecipeError says what is wrong with it."""
    parts = name.split("/")
    families = [family for family in get_args(Family) if family != "declared"]
    expected = f"expected FAMILY/SIZE/KIND, such as {STANDARD[3]}: {', '.join(families)}; {FEWEST} to {MOST}; words or digits"
    if len(parts) != 3 or parts[0] not in families or parts[2] not in get_args(Kind):
        raise RecipeError(f"--task {name}: no such task; {expected}")
    family, size, kind = parts
    if not size.isdecimal() or not FEWEST <= int(size) <= MOST:
        raise RecipeError(f"--task {name}: found {size} values; {expected}")
    k = int(size)
    stated = _per_mille(_weights(family, k))
    return Task(name, family, _values(family, k, kind), tuple(n / PARTS for n in stated))  # type: ignore[arg-type]


def declared_task(text: str, name: str) -> Task:
    """A user's own distribution, written `heads=0.7, tails=0.3`; RecipeError says what is wrong with it."""
    place = f"--declare {text!r}"
    shares: dict[str, float] = {}
    for part in text.split(","):
        value, _, written = (piece.strip() for piece in part.rpartition("="))
        if not value or _FORBIDDEN & set(value) or not value.isprintable():
            raise RecipeError(
                f"{place}: found {part.strip()!r}; expected VALUE=CHANCE, the value without curly braces"
            )
        try:
            share = float(written)
        except ValueError:
            share = math.nan
        if not 0 < share < 1:
            raise RecipeError(
                f"{place}: {value!r} has the chance {written!r}; expected a number between 0 and 1"
            )
        if value in shares:
            raise RecipeError(f"{place}: found the value {value!r} twice; give it one chance")
        shares[value] = share
    if not FEWEST <= len(shares) <= MOST:
        raise RecipeError(f"{place}: found {len(shares)} values; expected {FEWEST} to {MOST}")
    total = math.fsum(shares.values())
    if abs(total - 1) > 1e-6:
        raise RecipeError(f"{place}: the chances sum to {total:.6g}; expected 1")
    return Task(name, "declared", tuple(shares), tuple(share / total for share in shares.values()))


def battery(names: Sequence[str] = (), declared: Sequence[str] = ()) -> tuple[Task, ...]:
    """The tasks of a probe: those named and declared, or else the standard ones; RecipeError lists every fault."""
    tasks: list[Task] = []
    problems: list[str] = []
    wanted = dict.fromkeys(names or (() if declared else STANDARD))
    for name in wanted:
        try:
            tasks.append(make_task(name))
        except RecipeError as error:
            problems += error.problems
    for i, text in enumerate(declared, 1):
        try:
            tasks.append(declared_task(text, f"declared {i}" if len(declared) > 1 else "declared"))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return tuple(tasks)


def _values(family: str, k: int, kind: str) -> tuple[str, ...]:
    if kind == "words":
        return WORDS[:k]
    first = 0 if family == "binomial" else 1
    return tuple(str(first + i) for i in range(k))


def _weights(family: str, k: int) -> Floats:
    """Unnormalised chances in the order of the prompt.

    Extreme and Zipf chances are dealt to the values in a fixed mixed order: else the first value of a prompt would
    always be its likeliest, and a model that prefers what stands first would pass for a sampler.
    """
    order = np.random.default_rng(k).permutation(k)
    if family == "extreme":
        rest = (1 - EXTREME) * np.ones(k)
        rest[0] = max(1 - (1 - EXTREME) * (k - 1), 0.5)
        rest[1:] = (1 - rest[0]) / (k - 1)
        return rest[order]
    if family == "binomial":
        return np.array([math.comb(k - 1, i) for i in range(k)], dtype=np.float64)
    return (1 / (1 + np.arange(k, dtype=np.float64)))[order] if family == "zipf" else np.ones(k)


def _per_mille(weights: Floats) -> list[int]:
    """Whole thousandths with sum 1,000, none of them 0: largest remainders, paid for by the largest where needed."""
    exact = PARTS * weights / weights.sum()
    stated = np.maximum(1, np.floor(exact)).astype(int)
    while stated.sum() < PARTS:
        stated[np.argmax(exact - stated)] += 1
    while stated.sum() > PARTS:
        stated[np.argmax(stated - exact)] -= 1
    return [int(n) for n in stated]
