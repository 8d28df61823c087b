"""Figures as SVG files that stand alone, by Altair: curves with their intervals, bars, dots, a map. Only draws.

The one place of the benchmarks that starts Vega; vl-convert runs it in this process, without browser or network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import altair as alt
import vl_convert

from synthgen.report.figures import Places

WIDTH, HEIGHT = 620, 300
COLOURS = {  # by condition, the same in every figure
    "baseline": "#8a7f70",
    "base": "#8a7f70",
    "tuned": "#0f766e",
    "held out": "#0f766e",
    "in task": "#b45309",
    "six tasks": "#b45309",
    "biographies": "#0f766e",
    "natural": "#1d1b18",
    "ideal": "#1d1b18",
    "tuned on 1–10": "#b45309",
    "tuned on 1–100": "#1d4ed8",
    "tuned on both": "#0f766e",
}
_SPARE = ("#7c3aed", "#be185d", "#0369a1", "#4d7c0f", "#a16207", "#44403c")
_CONFIG: dict[str, Any] = {
    "background": "#ffffff",
    "padding": 14,
    "view": {"stroke": None},
    "font": "DejaVu Sans, sans-serif",
    "title": {"anchor": "start", "fontSize": 15, "color": "#1d1b18", "offset": 12},
    "axis": {
        "labelColor": "#5f5a52", "titleColor": "#5f5a52", "titleFontWeight": "normal", "labelFontSize": 12,
        "titleFontSize": 12, "domainColor": "#5f5a52", "gridColor": "#e2ddd3", "ticks": False, "labelPadding": 5,
    },
    "legend": {"orient": "top", "title": None, "labelFontSize": 12, "labelColor": "#1d1b18", "symbolType": "square", "symbolOpacity": 1},
}  # fmt: skip

Point = tuple[float, float, float, float]  # x, y, and the ends of y's interval


@dataclass(frozen=True)
class Series:
    """A line with its interval as a band."""

    name: str
    points: tuple[Point, ...]
    is_dashed: bool = False


@dataclass(frozen=True)
class Bars:
    """A group's height at every label."""

    name: str
    heights: tuple[float, ...]


@dataclass(frozen=True)
class Dot:
    """A value with its interval."""

    name: str
    value: float
    low: float
    high: float


def curves(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Lines over a common plane, with bands where an interval has a width; zeros have no place on a log scale."""
    rows = [
        {"name": one.name, "x": x, "y": y, "low": low, "high": high, "dashed": one.is_dashed}
        for one in series
        for x, y, low, high in one.points
        if y > 0 or not log_y
    ]
    is_whole = not log_x and all(float(str(row["x"])).is_integer() for row in rows)  # years, say
    axis = alt.Axis(grid=False, format="d" if is_whole else "~g")
    x = alt.X("x:Q", title=x_label, scale=_scale(log_x, from_zero=False), axis=axis)
    y = alt.Y(
        "y:Q", title=y_label, scale=_scale(log_y), axis=alt.Axis(domain=False, format="~g", tickCount=5)
    )
    colour = _colour([one.name for one in series])
    dash = alt.StrokeDash(
        "dashed:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [6, 4]]), legend=None
    )
    lines = _data(rows).mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    banded = [row for row in rows if float(str(row["high"])) > float(str(row["low"]))]
    bands = _data(banded).mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    layers = [bands, lines] if banded else [lines]
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title))


def bars(
    title: str, labels: Sequence[str], groups: Sequence[Bars], line: float | None = None, name: str = ""
) -> str:
    """Groups of bars side by side at every label, and a dashed line across."""
    rows = [
        {"name": group.name, "label": label, "share": height}
        for group in groups
        for label, height in zip(labels, group.heights, strict=True)
    ]
    names = [group.name for group in groups]
    drawn = _data(rows).mark_bar().encode(
        x=alt.X("label:N", sort=list(labels), title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("name:N", sort=names),
        y=alt.Y("share:Q", title="share", axis=alt.Axis(domain=False, format="%", tickCount=5)),
        color=_colour(names),
    )  # fmt: skip
    layers: list[Any] = [drawn]
    if line is not None:
        rule = _data([{"share": line, "text": name}])
        layers.append(rule.mark_rule(color="#1d1b18", strokeDash=[6, 4]).encode(y="share:Q"))
        text = rule.mark_text(align="right", baseline="bottom", dy=-3, color="#1d1b18")
        layers.append(text.encode(x=alt.value(WIDTH), y="share:Q", text="text:N"))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=title))


def dots(title: str, x_label: str, rows: Sequence[tuple[str, Sequence[Dot]]], log_x: bool = False) -> str:
    """A row per label, and in it a dot per condition with its interval."""
    least = min([dot.value for _, row in rows for dot in row if dot.value > 0], default=1.0) / 2
    values = [
        {"label": label, "name": dot.name, "value": max(dot.value, least) if log_x else dot.value,
         "low": max(dot.low, least) if log_x else dot.low, "high": dot.high}
        for label, row in rows
        for dot in row
    ]  # fmt: skip
    names = list(dict.fromkeys(dot.name for _, row in rows for dot in row))
    shared: dict[str, Any] = {
        "y": alt.Y("label:N", sort=[label for label, _ in rows], title=None, axis=alt.Axis(domain=False, labelFontSize=13)),
        "yOffset": alt.YOffset("name:N", sort=names),
        "color": _colour(names),
    }  # fmt: skip
    axis = alt.Axis(domain=False, format="~g", tickCount=6)
    found = _data(values)
    rule = found.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", **shared)
    point = found.mark_circle(size=70, opacity=1).encode(
        x=alt.X("value:Q", title=x_label, scale=_scale(log_x), axis=axis), **shared
    )
    height = alt.Step(14)
    return _svg(alt.layer(rule, point).properties(width=WIDTH - 60, height=height, title=title))


def world_map(places: Places, title: str) -> str:
    """Places on an equal-area map, their area by number of records."""
    most = max((place.n for place in places.points), default=1)
    largest = 420.0 * max(0.2, min(1.0, 60 / max(1, len(places.points))))
    spots = [
        {"longitude": p.longitude, "latitude": p.latitude, "area": max(8.0, largest * p.n / most)}
        for p in places.points
    ]
    land = json.loads(files("synthgen.report").joinpath("land-110m.json").read_text(encoding="utf-8"))
    ground = alt.InlineData(values=land, format=alt.TopoDataFormat(type="topojson", feature="land"))
    layers = [
        alt.Chart(ground).mark_geoshape(fill="#e2ddd3"),
        _data(spots)
        .mark_circle(color="#0f766e", opacity=0.75, stroke="#ffffff", strokeWidth=0.6)
        .encode(longitude="longitude:Q", latitude="latitude:Q", size=alt.Size("area:Q", scale=None)),
    ]
    earth = alt.Projection(
        type="equalEarth", scale=138, translate=[375, 182], clipExtent=[[0, 0], [750, 326]]
    )
    return _svg(alt.layer(*layers).properties(width=750, height=326, projection=earth, title=title))


def _data(rows: Sequence[Mapping[str, object]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _scale(is_log: bool, from_zero: bool = True) -> alt.Scale:
    return alt.Scale(type="log", nice=False) if is_log else alt.Scale(zero=from_zero)


def _colour(names: Sequence[str]) -> alt.Color:
    colours = [COLOURS.get(name, _SPARE[i % len(_SPARE)]) for i, name in enumerate(names)]
    return alt.Color("name:N", scale=alt.Scale(domain=list(names), range=colours))


def _svg(chart: alt.LayerChart) -> str:
    spec = chart.to_dict()
    spec["config"] = _CONFIG  # not what a notebook's theme says
    drawn: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return drawn + "\n"
