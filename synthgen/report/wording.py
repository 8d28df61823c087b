"""How figures are written: one spelling for terminal, HTML and card, so that they can be compared."""

from __future__ import annotations

from synthgen.report.figures import (
    Dependence,
    Distance,
    Facts,
    FieldFacts,
    Novelty,
    Places,
    TargetFacts,
    TextFigures,
)
from synthgen.report.figures import written as distance
from synthgen.report.sidebyside import Cell

__all__ = ["METHOD", "MISSING", "SIDE_BY_SIDE", "TEXT_FIGURES", "arrow", "association", "cell", "compared_at"]
__all__ += ["count", "coverage"]
__all__ += ["dependence", "distance", "drift", "entropy", "floor", "joint_note", "nats", "novelty", "p_value"]
__all__ += ["placed", "seconds", "sentence", "share", "text_figure", "tv", "verdicts"]
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
        "Chao, Wang & Jost 2013, with a bias-corrected bootstrap interval (nominally 95 %; in simulation too narrow for long tails, down to "
        "66 % at n = 100, and wider than need be for uniform fields: bench/report_intervals.py). exp H is the number of "
        "equally likely values with that entropy.",
    ),
    ("sample coverage", "Good–Turing, 1 − f1/n: the share of the source's mass on values already seen."),
    (
        "p",
        "Goodness of fit by parametric bootstrap: how often as many draws from the declared target show at least "
        "this TV, (1 + simulated that do)/(1 + simulated). One p-value per field: of many, some are small by chance.",
    ),
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
        "text",
        "Tokens are separated by white space; before and after have the same number of records, 1,000 at most. "
        "distinct-1, distinct-2: different tokens, or pairs of them, over all. Compression: UTF-8 bytes per byte "
        "after zlib. Repeated 5-grams: share of sequences of five tokens that also stand in another record. "
        "Near-duplicates: share of records whose 5-character shingles overlap by a Jaccard index of 0.8 or more "
        "with another record's. Openings: the first three tokens.",
    ),
    (
        "dependence",
        "Mutual information I = Σ p̂(a,b) ln p̂(a,b)/p̂(a)p̂(b), less its mean under independence. Cramér's V, "
        "bias-corrected (Bergsma 2013), from 0 to 1. Tested by the χ² law of 2n·I where all expected counts "
        "reach 20, else by 200 random tables with the same margins and a gamma curve through their mean and "
        "variance. Called real below 5 % over the number of pairs; drift, below 5 % over the number of fields.",
    ),
    (
        "novelty",
        "Share of records, and of distinct values, that stand in the tuples the model was tuned on. For text: the "
        "mean Jaccard index of 5-character shingles with the most alike tuned text, 500 of each at most.",
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


# ── text, novelty, places, dependence ─────────────────────────────────────────────────────────────

TEXT_FIGURES = {
    "mean characters": "mean_chars",
    "mean tokens": "mean_words",
    "distinct-1": "distinct_1",
    "distinct-2": "distinct_2",
    "compression": "compression",
    "repeated 5-grams": "repeated_5grams",
    "near-duplicates": "near_duplicates",
}


def text_figure(before: TextFigures | None, after: TextFigures, name: str) -> str:
    """One figure of a text column, before → after."""

    def write(figures: TextFigures) -> str:
        value = float(getattr(figures, TEXT_FIGURES[name]))
        if name in ("repeated 5-grams", "near-duplicates"):
            return share(value)
        return distance(value) if name.startswith("distinct") else f"{value:.1f}"

    return arrow(write(before) if before else "", write(after))


def novelty(figures: Novelty) -> list[tuple[str, str]]:
    """What was seen in tuning."""
    pairs = [
        ("records seen in tuning", share(figures.share_of_records)),
        ("values seen in tuning", share(figures.share_of_values)),
    ]
    if figures.nearest is not None:
        pairs.append(("likeness to tuned text", distance(figures.nearest)))
    return pairs


def placed(places: Places) -> str:
    """How much of a field the map shows."""
    total = places.n_placed + places.n_unknown
    drawn = sum(place.n for place in places.points)
    text = f"{share(places.n_placed / total)} of {count(total)} records name a place known to GeoNames"
    if drawn < places.n_placed:
        return f"{text}; the {count(len(places.points))} most frequent places are drawn."
    return f"{text}: {count(len(places.points))} places."


def association(pair: Dependence) -> str:
    """Cramér's V, two decimals."""
    return f"{pair.cramers_v:.2f}"


def p_value(value: float) -> str:
    """A p-value, three decimals."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def dependence(facts: Facts) -> str:
    """How many pairs of fields depend on each other, and the strongest."""
    if facts.joint is None or not facts.joint.pairs:
        return ""
    real = sorted((p for p in facts.joint.pairs if p.is_real), key=lambda p: (-p.cramers_v, p.a, p.b))
    total = len(facts.joint.pairs)
    if not real:
        return f"dependence: none seen in {total} pairs of fields"
    listed = ", ".join(
        f"{facts.field(p.a).info.label} × {facts.field(p.b).info.label} {association(p)}" for p in real[:3]
    )
    return f"dependence: {len(real)} of {total} pairs of fields; strongest (Cramér's V): {listed}"


def drift(facts: Facts) -> str:
    """Whether any field changes along the record order."""
    if facts.joint is None or not facts.joint.drift:
        return ""
    real = sorted((d for d in facts.joint.drift if d.is_real), key=lambda d: -(d.worst_tv or 0.0))
    total = len(facts.joint.drift)
    if not real:
        return f"drift: none seen in {total} fields, over ten blocks of the record order"
    listed = ", ".join(
        f"{facts.field(d.a).info.label} (block {d.worst_block} of 10 off by TV {distance(d.worst_tv)})"
        for d in real[:3]
    )
    return f"drift along the record order: {len(real)} of {total} fields: {listed}"


def joint_note(facts: Facts) -> str:
    """What the dependence was computed on."""
    if facts.joint is None:
        return ""
    how: dict[str, list[str]] = {}
    for name, grouping in facts.joint.grouped.items():
        how.setdefault(grouping, []).append(facts.field(name).info.label)
    grouped = "; ".join(f"{', '.join(labels)}: {grouping}" for grouping, labels in how.items())
    return f"From {count(facts.joint.n)} records. {grouped}".strip()


# ── several tables ────────────────────────────────────────────────────────────────────────────────

SIDE_BY_SIDE = "distinct values · entropy in nats, both at equal n · TV to the target with its noise floor"


def cell(figures: Cell) -> list[str]:
    """One field of one table: coverage, entropy, and TV (floor) where there is a target."""
    parts = [count(figures.coverage), nats(figures.entropy)]
    if figures.target is not None:
        parts.append(f"{distance(figures.target.tv.value)} ({floor(figures.target.tv)})")
    return parts
