"""The comparison drawn: a table in the terminal, a page of Markdown. Only draws; `compare` computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from synthgen.report.figures import written

if TYPE_CHECKING:
    from rich.console import Console

    from synthgen.compare import FieldFigures, Outcome

NO = "–"


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the main table: distance to the target, cost, and whether rows are independent."""
    declared = _fields(outcomes, lambda figures: figures.tv is not None)
    texts = _fields(outcomes, lambda figures: figures.distinct_1 is not None)
    heads = [
        "way",
        *(f"TV {name}" for name in declared),
        "TV worst pair",
        *(f"distinct-1 {name}" for name in texts),
    ]
    heads += ["parse rate", "prompt tokens", "output tokens", "records/s", "tuning", "independent rows"]
    rows = []
    for outcome in outcomes:
        cells = [outcome.label]
        cells += [_beside(outcome.fields.get(name)) for name in declared]
        cells.append(_distance(outcome.worst_pair_tv, outcome.worst_pair_floor))
        cells += [
            _number(figures.distinct_1 if (figures := outcome.fields.get(name)) else None, 3)
            for name in texts
        ]
        cells.append(NO if outcome.parse_rate is None else f"{outcome.parse_rate:.1%}")
        cells += [_number(outcome.prompt_tokens, 0), _number(outcome.output_tokens, 1)]
        cells += [_number(outcome.records_per_s, 0), _cost(outcome), "yes" if outcome.independent else "no"]
        rows.append(cells)
    return heads, rows


def variety(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the second table: coverage and entropy of every field."""
    names = _fields(outcomes, lambda _: True)
    measured = [outcome for outcome in outcomes if outcome.fields]
    rows = [
        [o.label, *(f"{o.fields[name].coverage} / {o.fields[name].entropy:.2f}" for name in names)]
        for o in measured
    ]
    return ["way", *names], rows


def markdown(outcomes: Sequence[Outcome], n: int, made: str) -> str:
    """The page: both tables, and why a way has no figures. `made` says with what, where and when."""
    notes = [f"- **{o.label}**: {o.note}" for o in outcomes if o.note]
    parts = [
        f"# Every way side by side, {n:,} records each",
        made,
        "Distances to the declared distribution; in brackets what 95 % of as many draws from the target itself stay "
        "below. Untuned fields have no target. `tuning` is seconds and tokens read; output tokens count rejected "
        "attempts too.",
        _table(*columns(outcomes)),
        "Coverage (distinct values) / entropy (nats, Chao–Wang–Jost):",
        _table(*variety(outcomes)),
        *(["What has no figures, and why:", "\n".join(notes)] if notes else []),
    ]
    return "\n\n".join(parts) + "\n"


def render(outcomes: Sequence[Outcome], n: int, console: Console) -> None:
    """Both tables and the notes, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    names = {outcome.label: outcome.name for outcome in outcomes}  # shorter
    for title, (heads, rows) in (
        (f"{n:,} records each: TV to the target (floor)", columns(outcomes)),
        ("coverage / entropy, nats", variety(outcomes)),
    ):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for i, head in enumerate(heads):
            table.add_column(head, justify="left" if i == 0 else "right", no_wrap=i == 0)
        for label, *cells in rows:
            table.add_row(Text(names[label]), *(Text(cell) for cell in cells))
        console.print(table)
    for outcome in outcomes:
        if outcome.note:
            console.print(Text(f"{outcome.label}: {outcome.note}"))


def _fields(outcomes: Sequence[Outcome], has: Callable[[FieldFigures], bool]) -> list[str]:
    """Names of the fields that have a figure in any outcome, in the record's order."""
    names = [name for outcome in outcomes for name, figures in outcome.fields.items() if has(figures)]
    return list(dict.fromkeys(names))


def _beside(figures: FieldFigures | None) -> str:
    return NO if figures is None else _distance(figures.tv, figures.tv_floor)


def _distance(value: float | None, floor: float | None) -> str:
    return NO if value is None or floor is None else f"{written(value)} ({written(floor)})"


def _number(value: float | None, digits: int) -> str:
    return NO if value is None else f"{value:,.{digits}f}"


def _cost(outcome: Outcome) -> str:
    if outcome.tuning_s is None:
        return NO
    tokens = f", {(outcome.tuning_tokens or 0) / 1e6:.2f} M tokens" if outcome.tuning_tokens else ""
    return f"{outcome.tuning_s:.0f} s{tokens}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rule = "|" + "|".join("---" if i == 0 else "--:" for i in range(len(heads))) + "|"
    return "\n".join([line(heads), rule, *(line(row) for row in rows)])
