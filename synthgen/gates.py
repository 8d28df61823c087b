"""Facts → verdicts: does the data satisfy what the recipe asked for?

A gate is a limit on one figure: `{gender: {tv: 0.05}, parse_rate: 0.98}`. Distances are upper limits,
everything else a lower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from synthgen.report.facts import Facts

UPPER = frozenset({"tv", "js", "kl"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's outcome; `floor` is what as many draws from the target itself would show (distances only)."""

    gate: str  # "gender.tv", "parse_rate"
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
        """For the summary."""
        return asdict(self)


def judge(gates: Mapping[str, float | Mapping[str, float]], facts: Facts, parse_rate: float) -> list[Verdict]:
    """Hold every gate of a recipe against the facts, in the recipe's order."""
    verdicts = []
    for name, limits in gates.items():
        if not isinstance(limits, Mapping):
            verdicts.append(Verdict(name, parse_rate, limits, None, parse_rate >= limits))
            continue
        for measure, limit in limits.items():
            value, floor = facts.figure(name, measure)
            passed = value is not None and (value <= limit if measure in UPPER else value >= limit)
            verdicts.append(Verdict(f"{name}.{measure}", value, limit, floor, passed))
    return verdicts
