"""Self-checks: facts that cannot be are refused before anyone reads them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from synthgen import stats
from synthgen.errors import SynthgenError
from synthgen.report.figures import (
    Dependence,
    EqualN,
    Facts,
    FieldFacts,
    Sample,
    TargetFacts,
    TextFigures,
    short,
)


def check_facts(facts: Facts) -> None:
    """Raise SynthgenError, naming field and figure, for anything that cannot be."""
    run = facts.run
    run.check()
    if run.accepted is not None and run.accepted != facts.n_records:
        raise SynthgenError(f"run: accepted {run.accepted}, but the table has {facts.n_records} rows")
    for entry in facts.fields:
        _check_field(entry, facts)
    if facts.joint is not None:
        for pair in (*facts.joint.pairs, *facts.joint.drift):
            _check_dependence(pair)
    if facts.duplicate_rate is not None:
        _shares("records", [("share that repeats an earlier one", facts.duplicate_rate)])
    for seen in (facts.seen_records, facts.seen_before):
        if seen is not None:
            _shares("novelty", [("share of records seen in tuning", seen)])
    for both in facts.pairs.pairs if facts.pairs else ():
        where = f"{both.a} and {both.b}, together"
        _shares(where, [("TV", both.tv.value or 0.0), ("p-value", both.p_value)])


def _check_field(entry: FieldFacts, facts: Facts) -> None:
    name = entry.info.name
    _check_sample(entry.after, f"{name}, after", facts.n_records)
    if entry.before is not None:
        _check_sample(entry.before, f"{name}, before", facts.n_before)
    if entry.at_equal_n is not None:
        _check_equal_n(entry.at_equal_n, f"{name}, at equal n")
    for target, when in ((entry.target, "after"), (entry.target_before, "before")):
        if target is not None:
            _check_target(target, f"{name}, {when}")
    for novelty in (entry.novelty, entry.novelty_before):
        if novelty is not None:
            _shares(name, [("share of records seen in tuning", novelty.share_of_records)])
            _shares(name, [("share of values seen in tuning", novelty.share_of_values)])
            _shares(name, [("likeness to tuned text", novelty.nearest or 0.0)])
    if entry.places is not None and entry.places.n_placed + entry.places.n_unknown != facts.n_records:
        raise SynthgenError(
            f"{name}: {entry.places.n_placed} placed and {entry.places.n_unknown} unknown places do not add "
            f"up to {facts.n_records} records"
        )


def _check_dependence(pair: Dependence) -> None:
    where = f"{pair.a} and {pair.b or 'record order'}"
    _shares(where, [("Cramér's V", pair.cramers_v), ("p-value", pair.p_value)])
    if not -1e-9 <= pair.corrected <= pair.mutual_information + 1e-9:
        raise SynthgenError(
            f"{where}: corrected mutual information {pair.corrected:g} lies outside 0 to the plug-in "
            f"{pair.mutual_information:g}"
        )


def _check_text(text: TextFigures, where: str) -> None:
    shares = ("distinct_1", "distinct_2", "repeated_5grams", "near_duplicates")
    _shares(where, [(name.replace("_", "-"), getattr(text, name)) for name in shares])
    _shares(where, [(f"share of opening {short(t.value)!r}", t.share) for t in text.openings])
    if text.compression < 0:
        raise SynthgenError(f"{where}: compression ratio {text.compression:g} is below 0")


def _check_sample(sample: Sample, where: str, n: int | None) -> None:
    if sample.n != n:
        raise SynthgenError(f"{where}: counts add up to {sample.n}, the table has {n} rows; counts were lost")
    if not 1 <= sample.coverage <= sample.n:
        raise SynthgenError(
            f"{where}: coverage {sample.coverage} of {sample.n} records; expected 1 to {sample.n}"
        )
    stats.check_entropy(sample.entropy_plugin, sample.coverage, where)
    _shares(where, [("sample coverage", sample.sample_coverage)])
    _check_intervals(sample, where)
    _shares(where, [(f"share of {short(t.value)!r}", t.share) for t in sample.top])
    if sum(t.n for t in sample.top) > sample.n:
        raise SynthgenError(f"{where}: top values count {sum(t.n for t in sample.top)} of {sample.n} records")
    for top in sample.top:
        if not math.isclose(top.share, top.n / sample.n, rel_tol=1e-9):
            raise SynthgenError(
                f"{where}: share of {short(top.value)!r} is {top.share:g}, not {top.n}/{sample.n}"
            )
    if sample.text is not None:
        _check_text(sample.text, where)


def _check_intervals(sample: Sample, where: str) -> None:
    ends = [("entropy", sample.entropy_chao_wang_jost, *(sample.entropy_interval or (None, None)))]
    ends.append(("sample coverage", sample.sample_coverage, *sample.sample_coverage_interval))
    for what, value, low, high in ends:
        inside = (low is None or low <= value + 1e-9) and (high is None or value <= high + 1e-9)
        if not inside:
            raise SynthgenError(
                f"{where}: {what} {value:g} lies outside its interval, {low:g} to {high or math.inf:g}"
            )
    if not sample.coverage <= sample.fewest_values <= sample.chao1 + 1e-9:
        raise SynthgenError(
            f"{where}: at least {sample.fewest_values} values; expected {sample.coverage} to {sample.chao1:g}"
        )


def _check_equal_n(equal: EqualN, where: str) -> None:
    for coverage, entropy, when in (
        (equal.coverage_before, equal.entropy_before, "before"),
        (equal.coverage_after, equal.entropy_after, "after"),
    ):
        if not 1 - 1e-6 <= coverage <= equal.n + 1e-6:
            raise SynthgenError(
                f"{where}, {when}: coverage {coverage:g} of {equal.n}; expected 1 to {equal.n}"
            )
        # the mean entropy of subsamples is at most ln of their mean coverage (Jensen)
        if not -1e-9 <= entropy <= math.log(max(coverage, 1.0)) + 1e-6:
            stats.check_entropy(entropy, coverage, f"{where}, {when}")


def _check_target(facts: TargetFacts, where: str) -> None:
    _shares(where, [("TV", facts.tv.value or 0.0), ("share outside the target", facts.share_outside)])
    _shares(where, [("p-value", facts.p_value)])
    if (facts.js.value or 0.0) > math.log(2) + 1e-9:
        raise SynthgenError(f"{where}: JS {facts.js.value:g} nats; it cannot pass ln 2")
    if facts.share_outside - 1e-9 > (facts.tv.value or 0.0):
        raise SynthgenError(
            f"{where}: TV {facts.tv.value:g} is below the share outside, {facts.share_outside:g}"
        )
    if facts.kl.value is None and facts.share_outside == 0:
        raise SynthgenError(f"{where}: KL is infinite although no record lies outside the target")


def _shares(where: str, shares: Iterable[tuple[str, float]]) -> None:
    for what, share in shares:
        if not -1e-12 <= share <= 1 + 1e-12:
            raise SynthgenError(f"{where}: {what} is {share:g}; a share lies between 0 and 1")
