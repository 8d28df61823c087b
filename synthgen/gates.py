"""Facts → verdicts: does the data satisfy what the recipe asked for?

A gate is a limit on one figure: `{gender: {tv: 0.05}, parse_rate: 0.98}`. Distances and the duplicate rate
are upper limits, everything else a lower one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from synthgen.report.facts import Facts

UPPER = frozenset({"tv", "js", "kl", "duplicate_rate"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's outcome; `floor` is what as many draws from the target itself would show (distances only)."""

    gate: str  # "gender.tv", "parse_rate", "duplicate_rate"
    value: float | None  # None: the figure does not exist for this field
    limit: float
    floor: float | None
    passed: bool

    def __str__(self) -> str:
        if self.value is None:
            return (
                f"gate {self.gate}: no such figure in the report (no declared target?); limit {self.limit:g}"
            )
        word = "at most" if self.gate.rpartition(".")[2] in UPPER else "at least"
        floor = "" if self.floor is None else f" (noise floor {self.floor:.4g})"
        return f"gate {self.gate}: {self.value:.4g}{floor}, asked {word} {self.limit:g}"

    def to_json(self) -> dict[str, object]:
        """For the summary; a figure that is infinite, as JSON has none, is null there, and inf in the text."""
        finite = self.value if self.value is not None and math.isfinite(self.value) else None
        return asdict(replace(self, value=finite))


def judge(gates: Mapping[str, float | Mapping[str, float]], facts: Facts, parse_rate: float) -> list[Verdict]:
    """Hold every gate of a recipe against the facts, in the recipe's order."""
    verdicts = []
    for name, limits in gates.items():
        if not isinstance(limits, Mapping):
            rate = facts.duplicate_rate if name == "duplicate_rate" else parse_rate
            verdicts.append(Verdict(name, rate, limits, None, _holds(name, rate, limits)))
            continue
        for measure, limit in limits.items():
            value, floor = facts.figure(name, measure)
            verdicts.append(Verdict(f"{name}.{measure}", value, limit, floor, _holds(measure, value, limit)))
    return verdicts


def _holds(measure: str, value: float | None, limit: float) -> bool:
    """Whether a figure keeps its limit; one that does not exist keeps none."""
    return value is not None and (value <= limit if measure in UPPER else value >= limit)
