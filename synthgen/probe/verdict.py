"""Figures of the lists → a verdict: E-like, D-like or between, and what the model seems to do instead of sampling.

The thresholds and their reasons stand in `thresholds.py`; they, and so the verdict, are synthgen's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from synthgen.probe import thresholds as limit

if TYPE_CHECKING:
    from synthgen.probe.facts import ListFigures
    from synthgen.probe.figures import Estimate

Label = Literal["E-like", "D-like", "between"]
Pattern = Literal[
    "samples",
    "nearly samples",
    "balances",
    "jitters",
    "jumps",
    "sticks",
    "drifts",
    "collapsed",
    "own distribution",
]

SAYS: dict[Pattern, str] = {
    "samples": "P_token stays close to the stated distribution at every step: it samples",
    "nearly samples": "P_token is near the stated distribution, but not steadily so",
    "balances": "P_token is not the stated distribution, yet the result comes out right: the draws make up for each other "
    "inside the list, which is balancing, not sampling",
    "jitters": "P_token jumps about the stated distribution from step to step; only on average is it right",
    "jumps": "P_token jumps from step to step, and the result is off",
    "sticks": "it repeats its last value far more often than chance would",
    "drifts": "P_token slides along the list: its beginning and its end follow different distributions",
    "collapsed": "P_token stays on a few values, whatever is stated",
    "own distribution": "P_token is steady, but it is another distribution than the stated one",
}


@dataclass(frozen=True)
class Verdict:
    """What kind of sampler it is; `others` are the labels that the figures' intervals also allow."""

    label: Label
    pattern: Pattern
    others: tuple[Label, ...]

    @property
    def sentence(self) -> str:
        """The pattern in words."""
        return SAYS[self.pattern]


def judge(figures: ListFigures) -> Verdict:
    """The verdict on figures over all tasks."""
    label = label_of(figures.alignment.value, figures.variability.value)
    corners = {label_of(a, v) for a in _ends(figures.alignment) for v in _ends(figures.variability)}
    if {"E-like", "D-like"} <= corners:
        corners.add("between")  # which lies in the middle
    order: tuple[Label, ...] = ("E-like", "between", "D-like")
    return Verdict(
        label, _pattern(label, figures), tuple(other for other in order if other in corners - {label})
    )


def label_of(alignment: float, variability: float) -> Label:
    """Where a point of the plane belongs."""
    if alignment <= limit.ALIGNED and variability <= limit.STABLE:
        return "E-like"
    if alignment >= limit.MISALIGNED and variability >= limit.UNSTABLE:
        return "D-like"
    return "between"


def _pattern(label: Label, figures: ListFigures) -> Pattern:
    a, v, state = figures.alignment.value, figures.variability.value, figures.result.state
    is_sharp = figures.sharpness.value <= limit.SHARP
    sticks = figures.autocorrelation is not None and figures.autocorrelation.value >= limit.STICKS
    if label == "E-like":
        return "samples"
    if state == "closer than chance" or (state == "within noise" and is_sharp):
        return "balances"
    if sticks and v > limit.STABLE:
        return "sticks"
    if figures.drift.value >= limit.DRIFTS and v < limit.UNSTABLE:
        return "drifts"
    if state == "within noise" and v >= limit.UNSTABLE:
        return "jitters"
    if v >= limit.UNSTABLE:
        return "jumps"
    if a <= limit.ALIGNED or (a < limit.MISALIGNED and state == "within noise"):
        return "nearly samples"
    return "collapsed" if is_sharp else "own distribution"


def _ends(estimate: Estimate) -> tuple[float, ...]:
    ends = (estimate.low, estimate.value, estimate.high)
    return tuple(end for end in ends if end is not None)
