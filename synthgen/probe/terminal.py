"""Facts → one screen of terminal: the verdict, the plane in characters, a line per task and field, the advice. Only draws."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synthgen.probe import plane
from synthgen.probe import wording as w
from synthgen.probe.advice import percent
from synthgen.probe.facts import ProbeFacts

_COLOURS = {"E-like": "green", "D-like": "bold red", "between": "yellow"}
WIDE = 106  # columns from which the tables fit
_NARROW = 70  # columns under which the plane shrinks


def render(facts: ProbeFacts, console: Console, plain: bool = False) -> None:
    """Print the facts to the console; `plain` for logs and pipes: no colour, no blocks."""

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style="" if plain else style), highlight=False, soft_wrap=plain)

    line(f"{w.subject(facts)}: {w.headline(facts)}", _COLOURS[facts.verdict.label])
    line(" · ".join(f"{name} {value}" for name, value in w.numbers(facts)))
    line(w.verdict_note(facts), "dim")
    line("")
    size = (61, 17) if console.width >= _NARROW else (console.width - 6, 13)
    for row in plane.characters(facts, *size, plain):
        line(row)
    line(plane.key(facts.references), "dim")
    line("")
    _tasks(facts, console, plain)
    if facts.recipe is not None:
        line("")
        _fields(facts, console, plain)
        line(w.recipe_note(facts.recipe), "dim")
    line("")
    for advice in facts.advice:
        text = Text.assemble((f"{advice.topic}: ", "" if plain else "bold"), advice.text)
        console.print(text, highlight=False, soft_wrap=plain)
        line(f"  {advice.figure}", "dim")


def _tasks(facts: ProbeFacts, console: Console, plain: bool) -> None:
    heads = ("task", "A", "V", "list's TV", "floor", "", "repeats", "runs z", "single A", "outside")
    tasks = [(task.name, task.lists, task.singles) for task in facts.tasks]
    rows = []
    for name, lists, singles in [*tasks, (w.ALL, facts.lists, facts.singles)]:
        result, repeats, runs = lists.result, lists.autocorrelation, lists.runs
        rows.append(
            [
                name,
                f"{lists.alignment.value:.2f}",
                f"{lists.variability.value:.2f}",
                f"{result.value:.3f}",
                f"{result.floor_low:.3f}–{result.floor_high:.3f}",
                result.state,
                "–" if repeats is None else f"{repeats.value:+.2f}",
                "–" if runs is None else f"{runs.z:+.1f}",
                f"{singles.alignment.value:.2f}",
                percent(lists.outside.value),
            ]
        )
    _table(heads, rows, console, plain)


def _fields(facts: ProbeFacts, console: Console, plain: bool) -> None:
    assert facts.recipe is not None
    heads = ("field", "TV of mean P_token", "A", "tied", "outside", "answers' TV", "floor", "")
    _table(heads, [row[: len(heads)] for row in w.field_rows(facts.recipe)], console, plain)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], console: Console, plain: bool) -> None:
    """A table; on a narrow terminal, the cells of a row one after the other, each with its head."""
    if console.width < WIDE:
        for first, *cells in rows:
            named = [f"{head} {cell}".strip() for head, cell in zip(heads[1:], cells, strict=True)]
            console.print(Text(f"{first}: {', '.join(named)}"), highlight=False, soft_wrap=plain)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="" if plain else "dim")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i == 0 or not head else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
