"""Counted values and a declared distribution → distances, each beside what noise alone gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from synthgen import stats
from synthgen.errors import RecipeError
from synthgen.report.figures import Distance, FieldInfo, TargetFacts
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
    n_sims = max(int(np.clip(2_000_000 // len(values), 200, 2000)), 20 * target.n_tested)
    floors = stats.simulate_floors(p, n, rng, n_sims, target.n_reference)
    level = 1 - 0.05 / target.n_tested

    def distance(value: float, floor: stats.Floor) -> Distance:
        finite = value if np.isfinite(value) else None
        return Distance(finite, floor.mean, floor.quantile(0.95), floor.quantile(level))

    tv = stats.tv(shares, p)
    return TargetFacts(
        k=len(values),
        n_reference=target.n_reference,
        tv=distance(tv, floors.tv),
        js=distance(stats.js(shares, p), floors.js),
        kl=distance(stats.kl(shares, p), floors.kl),
        wasserstein=_wasserstein(counts, target.probabilities) if info.kind in ("number", "date") else None,
        share_outside=float(shares[-1]),
        n_unseen=int((inside == 0).sum()),
        p_value=floors.tv.p_value(tv),
    )


def _wasserstein(counts: Mapping[str, int], target: Mapping[str, float]) -> float | None:
    """Distance in the unit of the values, days for dates; None if a value has no place on a scale."""
    texts = sorted({*counts, *target} - {NO_VALUE})
    try:
        places = [_place(text) for text in texts]
    except ValueError:
        return None
    p: npt.NDArray[np.float64] = np.array([float(counts.get(t, 0)) for t in texts])
    q = np.array([target.get(t, 0.0) for t in texts])
    if p.sum() == 0 or q.sum() == 0:
        return None
    return stats.wasserstein(places, p / p.sum(), q / q.sum())


def _place(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment.toordinal() + (moment.hour * 60 + moment.minute) / 1440
