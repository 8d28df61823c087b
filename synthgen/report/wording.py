"""How figures are written: one spelling for terminal, HTML and card, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from synthgen.report.figures import (
    Dependence,
    Distance,
    Facts,
    FieldFacts,
    Novelty,
    PairTarget,
    Places,
    TargetFacts,
    TextFigures,
)
from synthgen.report.figures import written as distance
from synthgen.report.sidebyside import Cell

__all__ = [
    "MISSING",
    "SIDE_BY_SIDE",
    "SPELLING",
    "TEXT_FIGURES",
    "arrow",
    "association",
    "between",
    "cell",
    "compared_at",
    "count",
    "coverage",
    "dependence",
    "distance",
    "drift",
    "entropy",
    "findings",
    "finer",
    "floor",
    "joint_note",
    "length",
    "memorised",
    "nats",
    "novelty",
    "p_value",
    "pair_tv",
    "pairs",
    "pairs_note",
    "placed",
    "seconds",
    "sentence",
    "share",
    "spelling",
    "tenths",
    "text_figure",
    "tv",
    "verdicts",
]
MISSING = "–"

SPELLING = "in other tokens than the tokenizer's own, which exact KL leaves out"


def count(value: float | None) -> str:
    """Whole number with thousands separators."""
    return MISSING if value is None else f"{value:,.0f}"


def length(value: float | None) -> str:
    """A Wasserstein distance in the unit of its values, three significant digits."""
    return MISSING if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def tenths(value: float | None) -> str:
    """An expected number of values, one decimal below 1,000."""
    return MISSING if value is None else f"{value:,.1f}" if value < 999.95 else f"{value:,.0f}"


def finer(value: float | None) -> str:
    """Entropy beside its interval, three decimals."""
    return MISSING if value is None else f"{value:.3f}"


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


def novelty(before: Novelty | None, after: Novelty) -> list[tuple[str, str]]:
    """What was seen in tuning, before → after."""
    old = before.share_of_records if before else None
    pairs = [
        ("records seen in tuning", arrow(share(old), share(after.share_of_records))),
        ("values seen in tuning", share(after.share_of_values)),
    ]
    if after.nearest is not None:
        among = f" (tuned texts among themselves {distance(after.nearest_among)})"
        pairs.append(
            (
                "likeness to tuned text",
                distance(after.nearest) + (among if after.nearest_among is not None else ""),
            )
        )
    return pairs


def memorised(facts: Facts) -> str:
    """How much of the data stands in the tuples of tuning: whole, and in the fields without a target."""
    if facts.seen_records is None:
        return ""
    fields = [entry for entry in facts.fields if entry.novelty is not None and entry.target is None]
    listed = ", ".join(
        f"{entry.info.label} {dict(novelty(entry.novelty_before, entry.novelty))['records seen in tuning']}"
        for entry in fields
        if entry.novelty is not None
    )
    whole = arrow(share(facts.seen_before), share(facts.seen_records))
    return f"seen in tuning: {whole} of records as whole tuples" + (
        f"; by open field {listed}" if listed else ""
    )


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
    return f"dependence: seen in {len(real)} of {total} pairs of fields; strongest (Cramér's V): {listed}"


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


def pairs(facts: Facts) -> str:
    """How many pairs of fields follow their declared joint distribution, and the worst."""
    if facts.pairs is None or not facts.pairs.pairs:
        return ""
    found = facts.pairs.pairs
    within = sum(pair.tv.state == "within noise" for pair in found)
    worst = found[0]
    names = f"{facts.field(worst.a).info.label} × {facts.field(worst.b).info.label}"
    return (
        f"joint target: {within} of {len(found)} pairs of fields within noise; worst: {names} "
        f"TV {pair_tv(worst)} (floor {floor(worst.tv)}), {worst.tv.verdict}"
    )


def pair_tv(pair: PairTarget) -> str:
    """TV of a pair to its joint target, before → after."""
    return arrow("" if pair.tv_before is None else distance(pair.tv_before), distance(pair.tv.value))


def spelling(facts: Facts) -> str:
    """How many answers were written in other tokens than the tokenizer's own."""
    run = facts.run
    return "" if run.other_spelling is None else f"{share(run.other_spelling)} of {count(run.n_spelled)}"


def between(low: float | None, high: float | None, write: Callable[[float | None], str]) -> str:
    """An interval, or the bound that is known of it."""
    if low is None:
        return MISSING
    return f"≥ {write(low)}" if high is None else f"{write(low).removesuffix(' %')}–{write(high)}"


def findings(facts: Facts) -> list[str]:
    """What is found beyond single fields, a line each: joint target, dependence, drift, what was memorised."""
    return [line for line in (pairs(facts), dependence(facts), drift(facts), memorised(facts)) if line]


def joint_note(facts: Facts) -> str:
    """What the dependence was computed on."""
    return "" if facts.joint is None else _note(facts, facts.joint.n, facts.joint.grouped)


def pairs_note(facts: Facts) -> str:
    """What the distances to the joint target were computed on."""
    return "" if facts.pairs is None else _note(facts, facts.pairs.n, facts.pairs.grouped)


def _note(facts: Facts, n: int, grouped: Mapping[str, str]) -> str:
    how: dict[str, list[str]] = {}
    for name, grouping in grouped.items():
        how.setdefault(grouping, []).append(facts.field(name).info.label)
    listed = "; ".join(f"{', '.join(labels)}: {grouping}" for grouping, labels in how.items())
    return f"From {count(n)} records. {listed}".strip()


# ── several tables ────────────────────────────────────────────────────────────────────────────────

SIDE_BY_SIDE = "distinct values · entropy in nats, both at equal n · TV to the target with its noise floor"


def cell(figures: Cell) -> list[str]:
    """One field of one table: coverage, entropy, and TV (floor) where there is a target."""
    parts = [count(figures.coverage), nats(figures.entropy)]
    if figures.target is not None:
        tv = figures.target.tv
        state = "" if tv.state == "within noise" else f" {tv.state}"
        parts.append(f"{distance(tv.value)} ({floor(tv)}){state}")
    return parts
