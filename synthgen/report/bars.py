"""Shares of values as bars, with their intervals and the declared target: Altair charts. Only draws.

Values reach a chart as data alone, under field names of ours: never in an expression, a field name or markup, so
that no value can be anything but a value. Colours are variables of page.css.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
from rich.text import Text

from synthgen.report.figures import Bar, Chart, short
from synthgen.report.svg import WIDTHS, Size, inline

Table = Literal["before", "after"]

COLOURS: dict[Table, str] = {"before": "var(--before)", "after": "var(--after)"}
NAMED: dict[str, Any] = {"labelExpr": "names[datum.value]", "labelLimit": 0, "grid": False}
TARGET: dict[str, Any] = {"color": "var(--target)", "strokeWidth": 2, "aria": False}
_PERCENT = "format(datum.value * 100, '~g') + ' %'"
_WHISKERS = 40  # columns up to which each shows its interval
_TICKS = 20  # columns up to which each has its own mark for the target; more have one line
_HEIGHT = 118  # of columns, axis included
_FLUSH = 12  # from the edge, up to which a label stands flush with it
_LETTER = 7  # width of a label's letter, about


def columns(chart: Chart, table: Table, top: float, spoken: str, size: Size) -> str:
    """One table's values in their own order, or its ranks: a column each, on a scale from 0 to `top`."""
    labels = [bar.label for bar in chart.bars]
    named = alt.Axis(values=_named(labels), **NAMED, labelAngle=0, labelOverlap=True, labelFlush=_FLUSH)
    gap = 0.3 if len(labels) <= 12 else 0.16
    value = alt.X("at:O", axis=named, scale=alt.Scale(paddingInner=gap, paddingOuter=gap / 2))
    share = alt.Y("share:Q", scale=_shares(top), axis=_share_axis(3, minExtent=40))
    found, declared = _rows(chart, table), _declared(chart)
    layers = [data(found).mark_bar(color=COLOURS[table]).encode(x=value, y=share, description="said:N")]
    if declared and len(labels) > _TICKS:
        line = data(declared).mark_line(**{**TARGET, "strokeWidth": 1.6}, interpolate="step")
        layers.append(line.encode(x=value, y="target:Q"))
    elif declared:
        ends = {"x": alt.X("at:O", bandPosition=0), "x2": alt.X2("at", bandPosition=1)}
        layers.append(data(declared).mark_rule(**TARGET).encode(**ends, y="target:Q"))
    if len(labels) <= _WHISKERS:
        layers.append(_whiskers(found).encode(x=value, y="low:Q", y2="high:Q"))
    drawn = alt.layer(*layers).properties(width=WIDTHS[size], height=_HEIGHT)
    return inline(drawn.add_params(names(labels, 12)), spoken, size)


def rows(chart: Chart, tables: Sequence[Table], top: float, spoken: str, size: Size) -> str:
    """Values that have no order, a row each beside its label: the tables' bars below one another, on one scale."""
    labels = [bar.label for bar in chart.bars]
    step = (15 if len(labels) > 12 else 20) + 9 * (len(tables) - 1)
    named = alt.Axis(**NAMED, domain=False, labelColor="var(--ink)")
    value = alt.Y("at:O", axis=named, scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15))
    table = alt.YOffset("table:N", sort=list(tables))
    share = alt.X("share:Q", scale=_shares(top), axis=_share_axis(4))
    colour = alt.Color("table:N", scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())))
    found, declared = [row for name in tables for row in _rows(chart, name)], _declared(chart)
    bars = data(found).mark_bar()
    layers = [bars.encode(y=value, yOffset=table, x=share, color=colour, description="said:N")]
    if declared:
        ends = {"y": alt.Y("at:O", bandPosition=0), "y2": alt.Y2("at", bandPosition=1)}
        layers.append(data(declared).mark_rule(**TARGET).encode(**ends, x="target:Q"))
    layers.append(_whiskers(found).encode(y=value, yOffset=table, x="low:Q", x2="high:Q"))
    drawn = alt.layer(*layers).properties(width=WIDTHS[size], height=step * len(labels) + 24)
    return inline(drawn.add_params(names(labels, 20 if size == "full" else 11)), spoken, size)


def names(labels: Sequence[str], width: int) -> alt.Parameter:
    """What an axis with `NAMED` writes at 0, 1, 2, …: texts cut to a width in letters.

    They are cut here, as Vega's own limit cuts a letter of two UTF-16 units in half, at which vl-convert fails.
    """
    cut = []
    for label in labels:
        line = Text(" ".join(label.split()))
        line.truncate(width, overflow="ellipsis")
        cut.append(line.plain)
    return alt.param(name="names", value=cut)


def data(values: Sequence[Mapping[str, object]]) -> alt.Chart:
    """A chart of these rows, without a mark."""
    return alt.Chart(alt.InlineData(values=list(values)))


def percent(value: float) -> str:
    """A share on a picture: short."""
    return f"{value * 100:.1f} %" if value < 0.0995 else f"{value * 100:.0f} %"


def said_of(bar: Bar, table: Table) -> str:
    """A bar in words: its value, its share with the 95 % interval, and the target."""
    interval = getattr(bar, f"{table}_interval")
    within = f" ({percent(interval[0]).removesuffix(' %')}–{percent(interval[1])})" if interval else ""
    target = "" if bar.target is None else f", target {percent(bar.target)}"
    return f"{short(bar.label)}: {percent(getattr(bar, table) or 0.0)}{within}{target}"


def _rows(chart: Chart, table: Table) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for at, bar in enumerate(chart.bars):
        low, high = getattr(bar, f"{table}_interval") or (None, None)
        share = {"share": getattr(bar, table) or 0.0, "low": low, "high": high}
        found.append({"at": at, "table": table, **share, "said": said_of(bar, table)})
    return found


def _declared(chart: Chart) -> list[dict[str, object]]:
    return [{"at": at, "target": bar.target} for at, bar in enumerate(chart.bars) if bar.target is not None]


def _whiskers(found: Sequence[Mapping[str, object]]) -> alt.Chart:
    known = [row for row in found if row["low"] is not None]
    ink = {"color": "var(--ink)", "aria": False}
    return data(known).mark_errorbar(rule=ink, ticks=ink)


def _shares(top: float) -> alt.Scale:
    return alt.Scale(domain=[0, top], nice=False)


def _share_axis(n_ticks: int, **kwargs: Any) -> alt.Axis:
    return alt.Axis(labelExpr=_PERCENT, tickCount=n_ticks, domain=False, title=None, **kwargs)


def _named(labels: Sequence[str]) -> list[int]:
    """Which columns are named below the picture: all of a few, round numbers, or first, middle and last."""
    if len(labels) <= 6:
        return list(range(len(labels)))
    numbers = {at: x for at, label in enumerate(labels) if math.isfinite(x := _number(label))}
    if not numbers:  # dates, ranks
        return [0, (len(labels) - 1) // 2, len(labels) - 1]
    span = max(numbers.values()) - min(numbers.values())
    step = _round_step(span) if 0 < span < math.inf else math.inf
    found = [at for at, x in numbers.items() if math.isclose(x / step, round(x / step), abs_tol=1e-6)]
    apart = _apart(found, labels) if len(found) <= 7 else []
    return apart if len(apart) > 1 else [0, len(labels) - 1]


def _apart(places: Sequence[int], labels: Sequence[str]) -> list[int]:
    """Those places, from the last on, whose labels do not touch; values that do not occur have no column.

    A label at the left edge begins there, so it reaches half its width further.
    """
    kept: list[int] = []
    column = WIDTHS["half"] / len(labels)
    for place in reversed(places):
        width = _LETTER * len(labels[place]) + 4
        if not kept or (kept[0] - place) * column >= width * (1.5 if place * column < _FLUSH else 1):
            kept.insert(0, place)
    return kept


def _number(label: str) -> float:
    try:
        return float(label)
    except ValueError:
        return math.nan


def _round_step(span: float) -> float:
    """The least of 1, 2, 5 × 10ⁿ that goes into a span six times at most."""
    power = 10.0 ** math.floor(math.log10(span / 6))
    return next(digit * power for digit in (1, 2, 5, 10) if span <= 6.000001 * digit * power)
