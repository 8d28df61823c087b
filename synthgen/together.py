"""How the fields of a target go together: the joint distribution that the report compares pairs of fields with.

Beside `targets.py`, which fills it, and read by the report. Fields with many values are no part of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Combination = tuple[str, ...]  # one value text per field


@dataclass(frozen=True)
class Together:
    """The share of each combination of values; `draws`: tuples behind it if it is an estimate, None: exact."""

    fields: tuple[str, ...]
    shares: Mapping[Combination, float]
    draws: int | None = None

    def of(self, fields: Sequence[str]) -> dict[Combination, float]:
        """The shares of some of the fields' combinations."""
        places = [self.fields.index(name) for name in fields]
        found: dict[Combination, float] = {}
        for values, share in self.shares.items():
            key = tuple(values[i] for i in places)
            found[key] = found.get(key, 0.0) + share
        return found


def counted(
    columns: Mapping[str, Sequence[str]], weights: Iterable[float], draws: int | None
) -> Together | None:
    """Columns of value texts, row by row with their weights, as shares; None for fewer than two fields."""
    if len(columns) < 2:
        return None
    masses: dict[Combination, float] = {}
    for values, weight in zip(zip(*columns.values(), strict=True), weights, strict=True):
        masses[values] = masses.get(values, 0.0) + weight
    total = sum(masses.values())
    return Together(tuple(columns), {values: mass / total for values, mass in masses.items()}, draws)


def mixed(parts: Sequence[tuple[float, Together | None]]) -> Together | None:
    """The mixture of several, by share; of the fields that all of them hold, None for fewer than two."""
    known = [(share, part) for share, part in parts if part is not None]
    if not known or len(known) < len(parts):
        return None
    fields = tuple(name for name in known[0][1].fields if all(name in part.fields for _, part in known))
    if len(fields) < 2:
        return None
    shares: dict[Combination, float] = {}
    for weight, part in known:
        for values, share in part.of(fields).items():
            shares[values] = shares.get(values, 0.0) + weight * share
    noise = sum(share**2 / part.draws for share, part in known if part.draws)
    return Together(fields, shares, round(1 / noise) if noise else None)
