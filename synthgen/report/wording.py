"""How figures are written: one spelling for terminal, HTML and card, so that they can be compared."""

from __future__ import annotations

from synthgen.report.figures import Distance, Facts, FieldFacts, TargetFacts
from synthgen.report.figures import written as distance

__all__ = [
    "METHOD",
    "MISSING",
    "arrow",
    "compared_at",
    "count",
    "coverage",
    "distance",
    "entropy",
    "floor",
    "nats",
]
__all__ += ["seconds", "sentence", "share", "tv", "verdicts"]
MISSING = "–"

# What each figure is, for whoever reads a report without this project at hand.
METHOD = (
    (
        "coverage",
        "Number of distinct values. Before and after are compared at the same number of records, the larger "
        "table rarefied exactly: Σ 1 − C(n−c, m)/C(n, m).",
    ),
    (
        "entropy",
        "In nats. Plug-in: −Σ p̂ ln p̂, rarefied where before and after are compared. Estimate of the source: "
        "Chao, Wang & Jost 2013, with a bias-corrected bootstrap interval (95 %). exp H is the number of "
        "equally likely values with that entropy.",
    ),
    ("sample coverage", "Good–Turing, 1 − f1/n: the share of the source's mass on values already seen."),
    (
        "TV, JS, KL",
        "Distance between the data and the declared target. TV = ½ Σ |p̂ − p|, the share of records that "
        "would have to change; JS and KL(data ‖ target) in nats. KL is infinite when a record lies outside.",
    ),
    (
        "floor",
        "The same distance for as many draws from the target itself, simulated; 95 % of such draws stay at "
        "or below it. Off: above the limit that all tested fields together keep with 95 % chance."
        " Borderline: between the two, where one good field in twenty is expected.",
    ),
    (
        "exact KL",
        "KL(target ‖ model) = leak + shape, computed on the token trie without sampling: leak is the mass "
        "outside the target set, shape how it is spread inside.",
    ),
    (
        "distinct-1, distinct-2",
        "Distinct whitespace tokens, or pairs of them, over all, from equal numbers of records.",
    ),
)


def count(value: float | None) -> str:
    """Whole number with thousands separators."""
    return MISSING if value is None else f"{value:,.0f}"


def nats(value: float | None) -> str:
    """Entropy or divergence, two decimals."""
    return MISSING if value is None else f"{value:.2f}"


def share(value: float | None) -> str:
    """Percent with one decimal, two below 0.1 %."""
    if value is None:
        return MISSING
    return f"{value * 100:.2f} %" if 0 < value < 0.001 else f"{value * 100:.1f} %"


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return MISSING
    minutes, rest = divmod(round(value), 60)
    return f"{value:.1f} s" if value < 100 else f"{minutes} min {rest:02d} s"


def arrow(before: str, after: str) -> str:
    """`before → after`, or the one that is known."""
    return after if before in ("", MISSING) else f"{before} → {after}"


def coverage(entry: FieldFacts) -> str:
    """Distinct values before → after at equal n, or of the data alone."""
    equal = entry.at_equal_n
    return (
        arrow(count(equal.coverage_before), count(equal.coverage_after))
        if equal
        else count(entry.after.coverage)
    )


def entropy(entry: FieldFacts) -> str:
    """Plug-in entropy before → after at equal n, or of the data alone."""
    equal = entry.at_equal_n
    return (
        arrow(nats(equal.entropy_before), nats(equal.entropy_after))
        if equal
        else nats(entry.after.entropy_plugin)
    )


def tv(entry: FieldFacts) -> str:
    """TV to the target before → after."""
    return _before_after(entry.target_before, entry.target)


def _before_after(before: TargetFacts | None, after: TargetFacts | None) -> str:
    if after is None:
        return ""
    return arrow(distance(before.tv.value) if before else "", distance(after.tv.value))


def floor(figure: Distance) -> str:
    """The floor's 95 % point."""
    return distance(figure.floor_p95)


def compared_at(facts: Facts) -> str:
    """At how many records before and after are compared; empty without a before."""
    sizes = {entry.at_equal_n.n for entry in facts.fields if entry.at_equal_n}
    return f"at {count(min(sizes))} records each" if sizes else ""


def sentence(facts: Facts) -> str:
    """The headline, written as a sentence."""
    return f"{facts.headline[0].upper()}{facts.headline[1:]}."


def verdicts(facts: Facts) -> str:
    """How many fields with a target are within noise."""
    if not facts.tested:
        return "no field has a declared target"
    within = sum(entry.target is not None and entry.target.state == "within noise" for entry in facts.tested)
    return f"{within} of {len(facts.tested)} fields with a target within noise"
