"""Pictures as inline SVG: curves and the world map. Only draws; sizes are relative, for any width.

Lines live in a 100 × 100 box that is stretched to the space there is; their strokes are not, and all words
stand outside, in HTML, where they keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files

from synthgen.report import wording as w
from synthgen.report.figures import Places, Sample, short
from synthgen.report.reliability import AdapterFacts

_CELL = 2.5  # degrees per dot of the map
_NORTH, _WEST = 85.0, -180.0  # upper left corner


@dataclass(frozen=True)
class Line:
    """One line of a plot; `style` is a class of page.css."""

    style: str
    points: tuple[tuple[float, float], ...]


def plot(title: str, lines: Sequence[Line], left: str, right: str, top: str, spoken: str) -> str:
    """Lines over a common box; the axis words are given, as only the caller knows their units."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    low, wide, high = min(xs), (max(xs) - min(xs)) or 1.0, max([*ys, 1e-12]) * 1.04
    shapes = []
    for line in lines:
        path = " ".join(f"{100 * (x - low) / wide:.2f},{100 - 100 * y / high:.2f}" for x, y in line.points)
        shapes.append(
            f'<polyline class="line {line.style}" vector-effect="non-scaling-stroke" points="{path}"/>'
        )
    return (
        f"<figure><figcaption><b>{escape(title)}</b><span>{escape(top)}</span></figcaption>"
        f'<svg role="img" viewBox="0 0 100 100" preserveAspectRatio="none" aria-label="{escape(spoken)}">'
        f"{''.join(shapes)}</svg>"
        f'<div class="axis"><span>{escape(left)}</span><span>{escape(right)}</span></div></figure>'
    )


def rarefaction(label: str, before: Sample | None, after: Sample) -> str:
    """Expected distinct values against the number of records, both tables as far as they go."""
    tables = [("before", before), ("after", after)]
    curves = [(style, rarefaction_points(sample)) for style, sample in tables if sample]
    lines = [
        Line(style, tuple((math.log10(m), math.log10(value)) for m, value in points))
        for style, points in curves
    ]
    n_most, top = max(p[-1] for _, p in curves), max(p[-1][1] for _, p in curves)
    ends = ", ".join(f"{style} {w.count(p[-1][1])} of {w.count(p[-1][0])}" for style, p in curves)
    return plot(
        "distinct values by records drawn",
        lines,
        "1 record",
        f"{w.count(n_most[0])}, log scales",
        f"top {w.count(top)}",
        f"rarefaction of {label}: {ends}",
    )


def rarefaction_points(sample: Sample) -> list[tuple[float, float]]:
    """(records, expected distinct values), from one record to all."""
    inner = [(float(m), value) for m, value in sample.rarefied.items() if int(m) < sample.n]
    return [(1.0, 1.0), *inner, (float(sample.n), float(sample.coverage))]


def tuning_curve(adapter: AdapterFacts) -> str:
    """KL to the target at every step, where all steps know it; else the loss of each step's own targets.

    Empty without a curve.
    """
    if len(adapter.curve) < 2:
        return ""
    kls = tuple((step, kl) for step, _, _, kl in adapter.curve if kl is not None)
    knows_kl = len(kls) == len(adapter.curve)
    points = kls if knows_kl else tuple((step, loss) for step, loss, _, _ in adapter.curve)
    name, number = ("KL to the target", w.distance) if knows_kl else ("loss", w.nats)
    first, last = number(points[0][1]), number(points[-1][1])
    return plot(
        f"{adapter.name}: {name}, nats",
        [Line("after", points)],
        "first step",
        f"step {points[-1][0]:,.0f}",
        f"{first} → {last}",
        f"{name} of {adapter.name}: {first} nats at first, {last} at last",
    )


def world_map(places: Places, label: str) -> str:
    """Places on a map of dots, their area by number of records."""
    most = max((place.n for place in places.points), default=1)
    largest = max(0.7, 1.6 * min(1.0, math.sqrt(60 / max(1, len(places.points)))))  # many stay apart
    spots = []
    for place in reversed(places.points):  # the most frequent on top
        x, y = (place.longitude - _WEST) / _CELL, (_NORTH - place.latitude) / _CELL
        radius = max(0.3, largest * math.sqrt(place.n / most))
        spots.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.2f}">'
            f"<title>{escape(short(place.name))}: {w.count(place.n)}</title></circle>"
        )
    first = ", ".join(f"{short(p.name)} {w.count(p.n)}" for p in places.points[:3])
    return (
        f'<svg class="map" role="img" viewBox="0 0 144 57" aria-label="{escape(label)} on a world map, most '
        f'frequent: {escape(first)}"><path class="land" d="{_land()}"/>{"".join(spots)}</svg>'
    )


@cache
def _land() -> str:
    """A dot per cell of land: `M x y h0` with a round end."""
    lines = files("synthgen.report").joinpath("land.txt").read_text(encoding="utf-8").splitlines()
    dots = []
    for y, line in enumerate(line for line in lines if not line.startswith("#")):
        bits = format(int(line, 16), "0144b")
        dots += [f"M{x}.5 {y}.5h0" for x, bit in enumerate(bits) if bit == "1"]
    return "".join(dots)
