"""Counted values and a declared distribution → distances, each beside what noise alone gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from synthgen import stats
from synthgen.errors import RecipeError
from synthgen.report.figures import FAMILY_LEVEL, Distance, FieldInfo, TargetFacts
from synthgen.report.tables import NO_VALUE, Tally, canonical_number

MAX_TARGET_VALUES = 20_000  # a floor over more is slow to simulate and says little


@dataclass(frozen=True)
class Target:
    """A declared distribution, cleaned: positive probabilities that add up to 1."""

    probabilities: dict[str, float]
    n_reference: int | None
    n_tested: int  # fields with a target, for the family's limit


def read_targets(
    infos: Sequence[FieldInfo],
    reference: Mapping[str, Mapping[str, float]],
    draws: Mapping[str, int],
    skipped: Mapping[str, str],
) -> dict[str, Target | str]:
    """The declared distribution of each field, or why it is not compared.

    Raises:
        RecipeError: a reference names no column, or is no distribution.
    """
    kinds = {info.name: info.kind for info in infos}
    targets: dict[str, Target | str] = {}
    for name, declared in reference.items():
        if name not in kinds:
            if name in skipped:
                continue
            raise RecipeError(f"reference: {name!r} is no field of the table; it has {', '.join(kinds)}")
        total = sum(declared.values())
        if not declared or min(declared.values()) < 0 or abs(total - 1) > 1e-6:
            raise RecipeError(
                f"reference: {name}: expected probabilities that add up to 1, found a sum of {total:g}"
            )
        if len(declared) > MAX_TARGET_VALUES:
            targets[name] = (
                f"the target has {len(declared):,} values; distances are computed up to {MAX_TARGET_VALUES:,}"
            )
            continue
        spelled: dict[str, float] = {}
        for text, p in declared.items():
            if p > 0:
                key = canonical_number(text) if kinds[name] == "number" else text
                spelled[key] = spelled.get(key, 0.0) + p / total
        targets[name] = Target(spelled, draws.get(name), len(reference))
    return targets


def compare(column: Tally, info: FieldInfo, target: Target, rng: np.random.Generator) -> TargetFacts:
    """Every distance of a column to its target, with simulated floors and a goodness-of-fit test."""
    counts = column.by_text()
    if info.kind == "number":
        spelled: dict[str, int] = {}
        for text, count in counts.items():
            spelled[canonical_number(text)] = spelled.get(canonical_number(text), 0) + count
        counts = spelled
    n, values = column.n, list(target.probabilities)
    p = np.array([*target.probabilities.values(), 0.0])
    inside = np.array([counts.get(value, 0) for value in values])
    shares = np.array([*inside, n - inside.sum()]) / n  # the last cell: everything outside the support
    floors = stats.simulate_floors(p, n, rng, n_simulations(len(values), target.n_tested), target.n_reference)

    def distance(value: float, floor: stats.Floor) -> Distance:
        return beside(value, floor, target.n_tested)

    tv = stats.tv(shares, p)
    return TargetFacts(
        k=len(values),
        n_reference=target.n_reference,
        tv=distance(tv, floors.tv),
        js=distance(stats.js(shares, p), floors.js),
        kl=distance(stats.kl(shares, p), floors.kl),
        wasserstein=_wasserstein(counts, n, target, rng) if info.kind in ("number", "date") else None,
        share_outside=float(shares[-1]),
        n_unseen=int((inside == 0).sum()),
        p_value=floors.tv.p_value(tv),
    )


def n_simulations(n_cells: int, n_tests: int) -> int:
    """How often a floor is simulated: enough for the family's limit, more where it costs little."""
    return max(int(np.clip(2_000_000 // n_cells, 200, 2000)), math.ceil(2 * n_tests / FAMILY_LEVEL))


def beside(value: float, floor: stats.Floor, n_tests: int) -> Distance:
    """A distance with its floor, and its limit among `n_tests` tests."""
    finite = value if np.isfinite(value) else None
    return Distance(finite, floor.mean, floor.quantile(0.95), floor.quantile(1 - FAMILY_LEVEL / n_tests))


def _wasserstein(
    counts: Mapping[str, int], n: int, target: Target, rng: np.random.Generator
) -> Distance | None:
    """Distance in the unit of the values, days for dates; None if a value has no place on a scale."""
    declared = {text: p for text, p in target.probabilities.items() if text != NO_VALUE}
    texts = sorted({*counts, *declared} - {NO_VALUE})
    try:
        places = {text: place_of(text) for text in texts}
    except ValueError:
        return None
    p: npt.NDArray[np.float64] = np.array([float(counts.get(t, 0)) for t in texts])
    q = np.array([declared.get(t, 0.0) for t in texts])
    if p.sum() == 0 or q.sum() == 0:
        return None
    found = stats.wasserstein(list(places.values()), p / p.sum(), q / q.sum())
    floor = stats.simulate_wasserstein(
        [places[text] for text in declared], list(declared.values()), n, rng,
        n_simulations(len(declared), target.n_tested), target.n_reference,
    )  # fmt: skip
    return beside(found, floor, target.n_tested)


def place_of(text: str) -> float:
    """Where a number or date stands on its scale, days for dates; ValueError for other text."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
