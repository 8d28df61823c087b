"""The plane of V against A: the model and its tasks among the known samplers, as a picture and in characters. Only draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from synthgen.probe import thresholds as limit
from synthgen.probe.facts import ProbeFacts, ReferencePoint, Strip
from synthgen.report.figures import short
from synthgen.report.svg import WIDTHS, inline

SIDE = (600, 430)  # of the plane, units
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CLOSE = (0.2, 0.04)  # names whose points are nearer than this along A and V would cover one another
_ROW = 11  # of a strip, units per value


def picture(facts: ProbeFacts) -> str:
    """A to the right and V upwards: regions, the bound V = 2·A, known samplers, tasks, and the model with its intervals."""
    a, v = facts.lists.alignment, facts.lists.variability
    tasks = [
        _point(task.name, task.lists.alignment.value, task.lists.variability.value) for task in facts.tasks
    ]
    layers = [
        *_regions(),
        _data([{"a": 0.0, "v": 0.0}, {"a": 0.5, "v": 1.0}])
        .mark_line(color="var(--soft)", strokeDash=[2, 5], strokeWidth=1, aria=False)
        .encode(**_at()),
        *_known(facts.references),
        _data(tasks)
        .mark_circle(color="var(--after)", size=45, opacity=0.5)
        .encode(**_at(), description="said:N"),
    ]
    if None not in (a.low, a.high, v.low, v.high):
        cross = [
            {"a": a.low, "v": v.value, "a2": a.high, "v2": v.value},
            {"a": a.value, "v": v.low, "a2": a.value, "v2": v.high},
        ]
        rule = _data(cross).mark_rule(color="var(--after)", strokeWidth=2, aria=False)
        layers.append(rule.encode(**_at(), x2="a2:Q", y2="v2:Q"))
    model = _data([_point(facts.model, a.value, v.value)])
    layers += [
        model.mark_circle(color="var(--after)", size=240, stroke="var(--card)", opacity=1).encode(
            **_at(), description="said:N"
        ),
        model.mark_text(align="left", dx=13, dy=-11, fontWeight=700, aria=False).encode(
            **_at(), text="name:N"
        ),
    ]
    known = ", ".join(f"{p.name} {p.alignment:.2f} and {p.variability:.2f}" for p in facts.references)
    spoken = (
        f"V against A: {facts.model} at A {a.value:.2f} and V {v.value:.2f}, {facts.verdict.label}; "
        f"known samplers: {known}"
    )
    drawn = alt.layer(*layers).properties(width=SIDE[0], height=SIDE[1])
    return inline(drawn, spoken, "natural")


def strip(shown: Strip, values: Sequence[str]) -> str:
    """P_token along one list: a column per draw, a row per value in the stated order, what was drawn outlined."""
    labels = [short(value, 14) for value in values]
    rows = [f"{i:02d} {label}" for i, label in enumerate(labels)]  # distinct, and kept in order
    cells = [
        {"step": t + 1, "row": rows[i], "share": share}
        for t, row in enumerate(shown.p_token)
        for i, share in enumerate(row)
        if share >= 0.01
    ]
    drawn = [{"step": t + 1, "row": rows[i]} for t, i in enumerate(shown.draws)]
    n = len(shown.draws)
    every = [1, *range(8, n + 1, 8)]
    at: dict[str, Any] = {
        "x": alt.X(
            "step:O",
            scale=alt.Scale(domain=list(range(1, n + 1)), padding=0),
            axis=alt.Axis(values=every, grid=False, domain=False, labelAngle=0),
        ),
        "y": alt.Y(
            "row:N",
            scale=alt.Scale(domain=rows, padding=0),
            axis=alt.Axis(grid=False, domain=False, labelExpr="slice(datum.label, 3)", labelFontSize=10),
        ),
    }
    tone = alt.FillOpacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 1]))
    layers = [
        _data(cells).mark_rect(fill="var(--before)", aria=False).encode(**at, fillOpacity=tone),
        _data(drawn).mark_rect(fill=None, stroke="var(--after)", strokeWidth=1.5, aria=False).encode(**at),
    ]
    spoken = f"P_token along a list of {n} draws, wording {shown.wording}"
    height = max(3, len(values)) * _ROW + 20
    return inline(alt.layer(*layers).properties(width=WIDTHS["full"], height=height), spoken, "full")


def characters(facts: ProbeFacts, width: int = 61, height: int = 17, plain: bool = False) -> list[str]:
    """The same in lines of text: letters for the known samplers, `*` for tasks, `M` for the model."""
    grid = [[" "] * width for _ in range(height)]

    def put(a: float, v: float, mark: str) -> None:
        grid[round((1 - min(v, 1.0)) * (height - 1))][round(min(a, 1.0) * (width - 1))] = mark

    for row in range(height):
        for column in range(width):
            if _on_border(
                column / (width - 1), 1 - row / (height - 1), 0.5 / (width - 1), 0.5 / (height - 1)
            ):
                grid[row][column] = "." if plain else "·"
    for letter, point in zip(_LETTERS, facts.references, strict=False):
        put(point.alignment, point.variability, letter)
    for task in facts.tasks:
        put(task.lists.alignment.value, task.lists.variability.value, "*")
    put(facts.lists.alignment.value, facts.lists.variability.value, "M")
    side, corner, floor = ("|", "+", "-") if plain else ("│", "└", "─")
    lines = [f"{'V' if i == 0 else ' '} {side}{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    return [*lines, f"  {corner}{floor * width} A"]


def key(references: Sequence[ReferencePoint]) -> str:
    """What the letters stand for."""
    named = [f"{letter} {point.name}" for letter, point in zip(_LETTERS, references, strict=False)]
    return ", ".join(["M the model", "* its tasks", *named])


def _on_border(a: float, v: float, half_a: float, half_v: float) -> bool:
    """Whether a cell lies on the edge of the E-like or the D-like region."""
    e_edge = (abs(a - limit.ALIGNED) <= half_a and v <= limit.STABLE + half_v) or (
        abs(v - limit.STABLE) <= half_v and a <= limit.ALIGNED + half_a
    )
    d_edge = (abs(a - limit.MISALIGNED) <= half_a and v >= limit.UNSTABLE - half_v) or (
        abs(v - limit.UNSTABLE) <= half_v and a >= limit.MISALIGNED - half_a
    )
    return e_edge or d_edge


def _data(values: Sequence[Mapping[str, object]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(values)))


def _at() -> dict[str, Any]:
    """The two axes, from 0 to 1."""
    whole = alt.Scale(domain=[0, 1], nice=False)
    return {
        "x": alt.X("a:Q", scale=whole, axis=alt.Axis(tickCount=5, grid=False)),
        "y": alt.Y("v:Q", scale=whole, axis=alt.Axis(tickCount=5, grid=False)),
    }


def _point(name: str, a: float, v: float, does: str = "") -> dict[str, object]:
    return {"name": short(name, 24), "a": a, "v": v, "said": f"{name}: {does}A {a:.3f}, V {v:.3f}"}


def _regions() -> list[alt.Chart]:
    """Where a model counts as E-like and as D-like, each with its name in a corner that stays free."""
    boxes = (
        ("E-like", 0.0, limit.ALIGNED, 0.0, limit.STABLE, "good", "left"),
        ("D-like", limit.MISALIGNED, 1.0, limit.UNSTABLE, 1.0, "bad", "right"),
    )
    layers = []
    for name, left, right, low, high, tone, side in boxes:
        box = _data([{"a": left, "a2": right, "v": low, "v2": high}])
        layers.append(
            box.mark_rect(fill=f"var(--{tone}-bg)", aria=False).encode(**_at(), x2="a2:Q", y2="v2:Q")
        )
        corner = {"a": left if side == "left" else right, "v": high, "name": name}
        word = _data([corner]).mark_text(
            align=side, baseline="top", dx=6 if side == "left" else -6, dy=8,
            fontWeight=600, color=f"var(--{tone})", aria=False,
        )  # fmt: skip
        layers.append(word.encode(**_at(), text="name:N"))
    return layers


def _known(points: Sequence[ReferencePoint]) -> list[alt.Chart]:
    """The known samplers, each with its name to the right; above the point where another's name stands there."""
    layers = [
        _data([_point(p.name, p.alignment, p.variability, f"{p.does}; ") for p in points])
        .mark_point(fill="var(--card)", stroke="var(--soft)", size=55, strokeWidth=1.5, opacity=1)
        .encode(**_at(), description="said:N")
    ]
    for crowded, dx, dy, align in ((False, 8, 1, "left"), (True, 0, -11, "center")):
        found = [
            _point(p.name, p.alignment, p.variability) for p in points if _is_crowded(p, points) is crowded
        ]
        text = _data(found).mark_text(align=align, dx=dx, dy=dy, color="var(--soft)", aria=False)
        layers.append(text.encode(**_at(), text="name:N"))
    return layers


def _is_crowded(point: ReferencePoint, others: Sequence[ReferencePoint]) -> bool:
    return any(
        other is not point
        and 0 <= other.alignment - point.alignment < _CLOSE[0]
        and abs(other.variability - point.variability) < _CLOSE[1]
        for other in others
    )
