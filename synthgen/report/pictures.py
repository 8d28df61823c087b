"""Curves, heat map and world map as Altair charts, and the caption of any picture. Only draws.

As in `bars.py`, values are data and nothing else. Captions stand outside the picture, in HTML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import altair as alt

from synthgen.report import wording as w
from synthgen.report.bars import COLOURS, NAMED, TARGET, Table, data, names
from synthgen.report.figures import Places, Sample, short
from synthgen.report.reliability import AdapterFacts
from synthgen.report.svg import WIDTHS, inline

_EARTH: dict[str, Any] = {  # 1,000 units around, from 84° north to 57° south: Antarctica is left out
    "type": "equalEarth",
    "scale": 184.7,
    "translate": [500, 242],
    "clipExtent": [[0, 0], [1000, 435]],
}


def figure(title: str, note: str, picture: str) -> str:
    """A picture under its caption."""
    caption = f"<figcaption><b>{escape(title)}</b><span>{escape(note)}</span></figcaption>"
    return f"<figure>{caption}{picture}</figure>"


# ── curves ─────────────────────────────────────────────────────────────────────────


def rarefaction(label: str, before: Sample | None, after: Sample) -> str:
    """Expected distinct values against the number of records, both tables as far as they go."""
    samples: list[tuple[Table, Sample | None]] = [("before", before), ("after", after)]
    curves = {name: rarefaction_points(sample) for name, sample in samples if sample}
    ends = {name: points[-1] for name, points in curves.items()}
    spoken = ", ".join(f"{name} {w.count(value)} of {w.count(n)}" for name, (n, value) in ends.items())
    layers = []
    for name, points in curves.items():
        line = data([{"records": n, "values": value} for n, value in points])
        layers.append(
            line.mark_line(color=COLOURS[name], aria=False).encode(
                x=alt.X("records:Q", scale=_log(n for n, _ in ends.values()), axis=_powers()),
                y=alt.Y("values:Q", scale=_log(v for _, v in ends.values()), axis=_powers()),
            )
        )
    drawn = alt.layer(*layers).properties(width=WIDTHS["full"], height=106)
    note = w.arrow(w.count(before.coverage) if before else "", w.count(after.coverage))
    return figure(
        "distinct values by records drawn",
        f"{note}, log scales",
        inline(drawn, f"rarefaction of {label}: {spoken}", "full"),
    )


def rarefaction_points(sample: Sample) -> list[tuple[float, float]]:
    """(records, expected distinct values), from one record to all."""
    inner = [(float(m), value) for m, value in sample.rarefied.items() if int(m) < sample.n]
    return [(1.0, 1.0), *inner, (float(sample.n), float(sample.coverage))]


def _log(ends: Any) -> alt.Scale:
    return alt.Scale(type="log", domain=[1, max(1.1, *ends)], nice=False)


def _powers() -> alt.Axis:
    return alt.Axis(values=[10.0**power for power in range(10)], format=",d", labelOverlap=True)


def tuning_curve(adapter: AdapterFacts) -> str:
    """Loss at every step, and the least it could be where every step knows that; empty without a curve."""
    if len(adapter.curve) < 2:
        return ""
    losses = [loss for _, loss, _, _ in adapter.curve]
    optima = [optimum for _, _, optimum, _ in adapter.curve if optimum is not None]
    kls = [kl for _, _, _, kl in adapter.curve if kl is not None]
    spoken = f"loss of {adapter.name}: {w.nats(losses[0])} nats at first, {w.nats(losses[-1])} at last"
    note = w.arrow(w.nats(losses[0]), w.nats(losses[-1]))
    if len(optima) == len(losses):
        spoken += f", optimum {w.nats(optima[-1])}"
        note += f", optimum {w.nats(optima[-1])}"
    else:
        optima = []
    if len(kls) == len(losses):
        spoken += f"; KL to the target of {adapter.name}: {w.distance(kls[0])} nats at first, {w.distance(kls[-1])} at last"
    low, high = min([*losses, *optima]), max(losses)
    room = 0.05 * (high - low) or 0.5
    nats = alt.Scale(domain=[max(0.0, low - room), high + room], nice=False)
    step = alt.X("step:Q", scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=5, grid=False, format=",d"))
    steps = data([{"step": s, "loss": loss, "optimum": optimum} for s, loss, optimum, _ in adapter.curve])
    loss = alt.Y("loss:Q", scale=nats, axis=alt.Axis(tickCount=4, domain=False))
    layers = [steps.mark_line(color="var(--after)", aria=False).encode(x=step, y=loss)]
    if optima:
        layers.append(steps.mark_line(**TARGET, strokeDash=[5, 4]).encode(x=step, y="optimum:Q"))
    drawn = alt.layer(*layers).properties(width=WIDTHS["full"], height=150)
    return figure(f"{adapter.name}: loss by step, nats", note, inline(drawn, spoken, "full"))


# ── heat map and world map ─────────────────────────────────────────────────────────


def heat_map(labels: Sequence[str], cells: Sequence[Mapping[str, object]], spoken: str) -> str:
    """The lower triangle of a table of pairs.

    Args:
        labels: of the things that are paired.
        cells: each with row and column (places in `labels`, row > column), tone (0 to 1), text, said, and
            marked: whether its text is bold.
        spoken: the picture in words.
    """
    bare = alt.Axis(**NAMED, domain=False, labelColor="var(--ink)")
    across = alt.Axis(**NAMED, domain=False, labelColor="var(--ink)", orient="top", labelAngle=-40)
    column = alt.X("column:O", scale=alt.Scale(domain=list(range(len(labels) - 1))), axis=across)
    row = alt.Y("row:O", scale=alt.Scale(domain=list(range(1, len(labels)))), axis=bare)
    tone = alt.FillOpacity("tone:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.6]))
    shades = data(cells).mark_rect(fill="var(--after)", stroke="var(--card)", strokeWidth=2)
    layers = [shades.encode(x=column, y=row, fillOpacity=tone, description="said:N")]
    for marked, weight in ((False, 400), (True, 700)):
        found = data([cell for cell in cells if cell["marked"] is marked])
        text = found.mark_text(fontWeight=weight, aria=False)
        layers.append(text.encode(x=column, y=row, text="text:N"))
    drawn = alt.layer(*layers).properties(
        width=52 * (len(labels) - 1), height=32 * (len(labels) - 1), autosize="pad"
    )
    return inline(drawn.add_params(names(labels, 18)), spoken, "natural")


def world_map(places: Places, label: str) -> str:
    """Places on an equal-area map, their area by number of records, small ones above large ones."""
    most = max((place.n for place in places.points), default=1)
    largest = 420.0 * max(0.2, min(1.0, 60 / max(1, len(places.points))))  # many stay apart
    spots = [
        {
            "longitude": place.longitude,
            "latitude": place.latitude,
            "area": max(10.0, largest * place.n / most),
            "said": f"{short(place.name)}: {w.count(place.n)}",
        }
        for place in places.points
    ]
    land = alt.NamedData(name="land", format=alt.TopoDataFormat(type="topojson", feature="land"))
    layers = [
        alt.Chart(land).mark_geoshape(fill="var(--land)", aria=False, clip=False),
        data(spots)
        .mark_circle(fill="var(--after)", fillOpacity=0.75, opacity=1, stroke="var(--paper)", strokeWidth=0.6)
        .encode(
            longitude="longitude:Q",
            latitude="latitude:Q",
            size=alt.Size("area:Q", scale=None),
            description="said:N",
        ),
    ]
    first = ", ".join(f"{short(p.name)} {w.count(p.n)}" for p in places.points[:3])
    spoken = f"{label} on a world map, most frequent: {first}"
    width, height = _EARTH["clipExtent"][1]
    drawn = alt.layer(*layers).properties(
        width=width, height=height, projection=alt.Projection(**_EARTH), autosize="none", padding=0
    )
    return inline(drawn, spoken, "map", {"land": _land()})


@cache
def _land() -> dict[str, Any]:
    """Natural Earth's land at 1:110 million, as TopoJSON (see land-110m.LICENSE)."""
    text = files("synthgen.report").joinpath("land-110m.json").read_text(encoding="utf-8")
    topology: dict[str, Any] = json.loads(text)
    return topology
