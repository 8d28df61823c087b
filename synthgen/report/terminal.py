"""Facts → one screen of terminal: the headline, one line per field, the adapters, the rejects.

Only draws. Wide terminals get a table, narrow ones a few short lines per field; colour repeats what the words
already say. `plain` is for logs: no colour, no box characters, ASCII bars.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from synthgen.report import rejection
from synthgen.report import wording as w
from synthgen.report.figures import Chart, Facts, FieldFacts, short
from synthgen.report.reliability import AdapterFacts, Exact
from synthgen.report.sidebyside import Cell, SideBySide

WIDE = 104  # columns from which the table fits
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"
_COLOURS = {"within noise": "green", "borderline": "yellow", "off": "bold red"}
_SPARK = 7


def render(facts: Facts, console: Console, plain: bool = False) -> None:
    """Print the facts to the console; `plain` for logs and pipes."""
    draw = _Drawing(console, plain)
    draw.line(Text(facts.headline[0].upper() + facts.headline[1:], style="bold"))
    draw.line(_summary(facts))
    draw.line("")
    if console.width >= WIDE:
        draw.table(facts)
    else:
        draw.stack(facts)
    for note in _notes(facts):
        draw.line(Text(note, style="dim"))
    draw.adapters(facts.run.adapters)
    draw.rejects(facts)


class _Drawing:
    """A console, and how things look on it."""

    def __init__(self, console: Console, plain: bool) -> None:
        self.console, self.plain = console, plain

    def line(self, content: str | Text) -> None:
        text = content if isinstance(content, Text) else Text(content)
        if self.plain:
            self.console.print(text.plain, markup=False, highlight=False, soft_wrap=True)
        else:
            self.console.print(text, highlight=False)

    def table(self, facts: Facts) -> None:
        """One row per field; the last column takes the width that is left."""
        heads = ["field", "coverage", "entropy"]
        heads += ["TV to target", "floor", "verdict"] if facts.tested else []
        heads += ["shares" if facts.n_before is None else "before / after", "most frequent now"]
        rows = [self._row(entry, bool(facts.tested)) for entry in facts.fields]
        widths = [
            max(cell_len(head), *(row[i].cell_len for row in rows)) for i, head in enumerate(heads[:-1])
        ]
        table = Table(
            box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="" if self.plain else "dim"
        )
        for head, width in zip(heads, widths, strict=False):
            is_figure = head in ("coverage", "entropy", "TV to target", "floor")
            table.add_column(head, justify="right" if is_figure else "left", no_wrap=True, min_width=width)
        table.add_column(
            heads[-1],
            no_wrap=True,
            overflow="ellipsis",
            max_width=max(12, self.console.width - sum(widths) - 2 * len(widths)),
        )
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def _row(self, entry: FieldFacts, has_target: bool) -> list[Text]:
        cells = [self._label(entry), Text(w.coverage(entry)), Text(w.entropy(entry))]
        if has_target:
            target = entry.target
            cells += [Text(w.tv(entry)), Text(w.floor(target.tv) if target else ""), self._verdict(entry)]
        return [*cells, self._spark(entry), Text(_most_frequent(entry, 40))]

    def stack(self, facts: Facts) -> None:
        """A few short lines per field, each as full as the width allows, for narrow terminals."""
        for entry in facts.fields:
            line = Text().append_text(self._label(entry))
            if entry.target is not None:
                line.append("  ").append_text(self._verdict(entry))
            for part in self._parts(entry):
                if line.cell_len + 2 + cell_len(part) > self.console.width:
                    self.line(line)
                    line = Text()
                line.append(f"  {short(part, self.console.width - 2)}")
            self.line(line)

    def _parts(self, entry: FieldFacts) -> list[str]:
        """A field's figures and its most frequent value, each not to be broken."""
        parts = [f"coverage {w.coverage(entry)}, entropy {w.entropy(entry)}"]
        if entry.target is not None:
            parts.append(f"TV {w.tv(entry)} (floor {w.floor(entry.target.tv)})")
        spark = self._spark(entry).plain
        return [*parts, (f"{spark}  " if spark else "") + _most_frequent(entry, 40)]

    def adapters(self, adapters: Sequence[AdapterFacts]) -> None:
        """Exact figures of each adapter, before → after, and field by field."""
        for adapter in adapters:
            old, new = adapter.before, adapter.after
            if new is None:
                continue
            self.line("")
            figures = ", ".join(
                f"{label} {w.arrow(_exact(old, name), _exact(new, name))}"
                for label, name in (("exact KL", "kl"), ("leak", "leak"), ("shape", "shape"))
                if _exact(new, name)
            )
            n_prompts = adapter.details.get("prompts")
            mean = f", mean of {n_prompts} prompts" if n_prompts else ""
            self.line(f"adapter {adapter.name}{mean}: {figures} nats")
            by_field = [
                f"{name} {w.arrow(w.nats(old.fields.get(name)) if old else '', w.distance(value))}"
                for name, value in new.fields.items()
            ]
            if by_field:
                part = "prompt" if n_prompts else "field"
                self.line(Text(f"  KL by {part}: {', '.join(by_field)}", style="dim"))

    def rejects(self, facts: Facts) -> None:
        """Rejected attempts by reason."""
        run = facts.run
        if run.rejected is None:
            return
        reasons = sorted(run.rejects.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = ", ".join(f"{reason} {w.count(n)}" for reason, n in reasons[:6])
        more = f", {len(reasons) - 6} more reasons" if len(reasons) > 6 else ""
        self.line("")
        self.line(f"rejected {w.count(run.rejected)} of {w.count(run.attempted)}: {listed or 'none'}{more}")
        for line in rejection.lines(facts):
            self.line(Text(f"  {line}", style="dim"))

    def _label(self, entry: FieldFacts) -> Text:
        return Text(short(entry.info.label, 18), style="bold" if not entry.info.derived else "")

    def _verdict(self, entry: FieldFacts) -> Text:
        if entry.target is None:
            return Text("")
        return Text(entry.verdict, style=_COLOURS[entry.target.state])

    def _spark(self, entry: FieldFacts) -> Text:
        """Before and after on one scale, so that one tall bar turns into a flat line."""
        if entry.chart is None:
            return Text("")
        blocks = _ASCII if self.plain else _BLOCKS
        old, new = _binned(entry.chart, "before"), _binned(entry.chart, "after")
        top = max([*old, *new], default=1.0) or 1.0
        parts = [
            "".join(blocks[_height(v / top, len(blocks) - 1)] for v in values)
            for values in (old, new)
            if values
        ]
        return Text(" / ".join(parts))


def _binned(chart: Chart, which: str) -> list[float]:
    """At most `_SPARK` heights: neighbouring values are added up, ranks beyond the first few left out."""
    values = [getattr(bar, which) for bar in chart.bars]
    if not values or values[0] is None:
        return []
    if chart.kind == "ranks" or len(values) <= _SPARK:
        return values[:_SPARK]
    edges = [round(i * len(values) / _SPARK) for i in range(_SPARK + 1)]
    return [sum(values[a:b]) for a, b in zip(edges, edges[1:], strict=False)]


def _height(relative: float, levels: int) -> int:
    return 0 if relative <= 0 else max(1, round(relative * levels))


def _most_frequent(entry: FieldFacts, width: int) -> str:
    if entry.info.kind == "text" and entry.after.text is not None:
        new, old = entry.after.text, entry.before.text if entry.before else None
        figures = w.arrow(w.distance(old.distinct_1) if old else "", w.distance(new.distinct_1))
        return f"distinct-1 {figures}, {new.mean_words:.0f} words"
    top = entry.after.top[0]
    now = f"{short(top.value, width)} {w.share(top.share)}"
    return now.replace("\n", " ")


def _exact(figures: Exact | None, name: str) -> str:
    value = None if figures is None else getattr(figures, name)
    return "" if value is None else w.distance(value)


def _summary(facts: Facts) -> str:
    run = facts.run
    parts = [f"{w.count(facts.n_records)} records"]
    if run.parse_rate is not None:
        parts.append("parse rate " + w.arrow(w.share(run.parse_rate_before), w.share(run.parse_rate)))
    if facts.tested and not facts.headline.startswith("all"):
        parts.append(w.verdicts(facts))
    if run.records_per_s is not None:
        parts.append(f"{run.records_per_s:,.0f} records/s")
    return " · ".join(parts)


def _notes(facts: Facts) -> list[str]:
    notes = []
    if w.compared_at(facts):
        notes.append(f"coverage and entropy (nats): untuned → tuned, {w.compared_at(facts)}")
    if facts.tested:
        notes.append("floor: 95 % of as many draws from the target itself stay at or below it")
    notes += w.findings(facts)
    if w.spelling(facts):
        notes.append(f"other spelling: {w.spelling(facts)} accepted answers {w.SPELLING}")
    notes += [f"{f.info.label}: {f.no_target}" for f in facts.fields if f.no_target]
    notes += [f"{name} is left out: {why}" for name, why in facts.skipped.items()]
    return notes


def render_side_by_side(comparison: SideBySide, console: Console, plain: bool = False) -> None:
    """Print several tables' figures beside each other, one column per table."""
    draw = _Drawing(console, plain)
    draw.line(Text(comparison.headline, style="bold"))
    draw.line("")
    rows = [(row.label, [_cell_text(cell) for cell in row.cells]) for row in comparison.rows]
    widths = [
        max(cell_len(name), *(cell_len(cells[i]) for _, cells in rows))
        for i, name in enumerate(comparison.names)
    ]
    if 20 + sum(widths) + 2 * len(widths) <= console.width:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="" if plain else "dim")
        table.add_column("field", no_wrap=True, overflow="ellipsis")
        for name, width in zip(comparison.names, widths, strict=True):
            table.add_column(Text(name), justify="right", no_wrap=True, min_width=width)
        for label, cells in rows:
            table.add_row(Text(short(label, 18)), *map(Text, cells))
        console.print(table)
    else:
        for label, cells in rows:
            draw.line(Text(label, style="bold"))
            for name, text in zip(comparison.names, cells, strict=True):
                draw.line(f"  {name}: {text}")
    draw.line(Text(w.SIDE_BY_SIDE, style="dim"))


def _cell_text(cell: Cell | None) -> str:
    return w.MISSING if cell is None else " · ".join(w.cell(cell))
