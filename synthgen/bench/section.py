"""What an experiment hands to the page: tables, figures, ratios beside published ones, verdicts. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from synthgen.bench.cells import Cell, Tally
from synthgen.bench.estimates import Estimate, Measured, mean, over_seeds, ratio


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; every row is as long as the head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """An SVG of its own, and what it shows in one sentence."""

    file: str
    title: str
    svg: str


@dataclass(frozen=True)
class Ratio:
    """How much a figure grew here, measured, and there, published (by model; None: not given)."""

    label: str
    measure: str  # "entropy", "coverage"
    ours: Estimate
    published: dict[str, float | None]


@dataclass(frozen=True)
class Verdict:
    """A goal, what was found, and whether it is reached."""

    goal: str
    found: str
    reached: bool


@dataclass(frozen=True)
class Section:
    """One experiment's part of the page; `facts` are its numbers as JSON."""

    number: int
    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    made: str = ""  # when, and by which command


Read = Callable[[Sequence[Tally], int], Measured]  # a task's tallies, how many draws to compare at → figure


def read_entropy(tallies: Sequence[Tally], at: int) -> Measured:
    """The mean over a task's prompts, of well-formed answers."""
    return mean([tally.entropy(at) for tally in tallies])


def read_coverage(tallies: Sequence[Tally], at: int) -> Measured:
    """The same of distinct values."""
    return mean([tally.coverage(at) for tally in tallies])


def read_listed_coverage(tallies: Sequence[Tally], at: int) -> Measured:  # noqa: ARG001 — lists are short
    """Distinct values that are on the task's list."""
    return mean([tally.listed_coverage() for tally in tallies])


def read_format(tallies: Sequence[Tally], at: int) -> Measured:  # noqa: ARG001 — a share needs no equal n
    """Share of first answers of the right form."""
    return mean([tally.format_rate for tally in tallies])


def read_listed(tallies: Sequence[Tally], at: int) -> Measured:  # noqa: ARG001
    """Share of well-formed answers on the list."""
    return mean([tally.listed_rate for tally in tallies])


def of(cells: Sequence[Cell], condition: str) -> list[Cell]:
    """A condition's cells by seed; ValueError if there is none."""
    found = sorted((cell for cell in cells if cell.condition == condition), key=lambda cell: cell.seed)
    if not found:
        raise ValueError(f"no cell of condition {condition!r}")
    return found


def least_n(cells: Sequence[Cell], task: str) -> int:
    """The fewest well-formed answers to any prompt of a task: what figures are compared at."""
    return min(tally.n for cell in cells for tally in cell.of(task))


def estimate(cells: Sequence[Cell], condition: str, task: str, read: Read, at: int) -> Estimate:
    """A task's figure under a condition, over seeds."""
    return over_seeds([read(cell.of(task), at) for cell in of(cells, condition)])


def growth(cells: Sequence[Cell], before: str, after: str, task: str, read: Read, at: int) -> Estimate:
    """How many times the figure is larger, seed by seed."""
    pairs = zip(of(cells, after), of(cells, before), strict=True)
    return over_seeds([ratio(read(new.of(task), at), read(old.of(task), at)) for new, old in pairs])


def percent(figure: Estimate) -> str:
    """`98.7 %`."""
    return f"{100 * figure.value:.1f} %"


def adapter_line(cells: Sequence[Cell]) -> str:
    """How the adapters of these cells were tuned: `rank 8, lr 0.002, linear, 312 steps (…)`."""
    tuned = [cell.content["adapter"] for cell in cells if cell.content.get("adapter")]
    if not tuned:
        return "no adapter"
    shapes = {f"rank {one['rank']}, rate {one['lr']:g}, {one['schedule']}" for one in tuned}
    steps = sorted({int(one["steps"]) for one in tuned})
    stops = sorted({str(one["stopped_by"]) for one in tuned})
    seconds = sum(float(one["elapsed_s"] or 0) for one in tuned) / len(tuned)
    n = f"{steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{'; '.join(sorted(shapes))}; {n} steps, ended by {', '.join(stops)}; {seconds:.0f} s on average"
