"""The facts of a dataset: frozen records that the reports draw and that report.json holds.

One owner for every figure: terminal, HTML, card and JSON only read these. `check` refuses what cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Literal

from synthgen import stats
from synthgen.errors import SynthgenError
from synthgen.report.reliability import RunFacts

Kind = Literal["closed", "open", "text", "number", "date"]
State = Literal["within noise", "borderline", "off"]
FORMAT = 1  # of report.json


@dataclass(frozen=True)
class FieldInfo:
    """What is declared of a column."""

    name: str
    label: str
    kind: Kind
    derived: bool = False


@dataclass(frozen=True)
class TopValue:
    """A frequent value."""

    value: str
    n: int
    share: float


@dataclass(frozen=True)
class Distance:
    """A measured distance beside what n draws from the target itself would show.

    `limit` is the floor's quantile at 1 − 5 %/(number of fields tested): all fields of a perfect dataset
    together stay under their limits with a chance of at least 95 %.
    """

    value: float | None  # None: infinite (KL, when records lie outside the target's support)
    floor_mean: float
    floor_p95: float
    limit: float


@dataclass(frozen=True)
class TargetFacts:
    """How far one column is from its declared distribution."""

    k: int  # values with a positive target probability
    n_reference: int | None  # draws behind the target if it is itself an estimate; None: exact
    tv: Distance
    js: Distance
    kl: Distance  # KL(data ‖ target)
    wasserstein: float | None  # in the unit of the values (days for dates); ordered fields only
    share_outside: float  # of records whose value has target probability 0
    n_unseen: int  # target values that no record has

    @property
    def state(self) -> State:
        """Whether noise alone explains the TV distance."""
        tv = self.tv.value or 0.0
        if tv <= self.tv.floor_p95:
            return "within noise"
        return "borderline" if tv <= self.tv.limit else "off"

    @property
    def excess(self) -> float:
        """TV beyond the floor's 95 % point; negative when below it."""
        return (self.tv.value or 0.0) - self.tv.floor_p95


@dataclass(frozen=True)
class Sample:
    """One column of one table."""

    n: int
    n_missing: int
    coverage: int  # distinct values
    entropy_plugin: float  # nats, like all entropies here
    entropy_miller_madow: float
    entropy_chao_wang_jost: float
    entropy_interval: (
        tuple[float, float] | None
    )  # 95 %, of Chao–Wang–Jost; None: not estimable from so few repeats
    perplexity: float  # exp of the Chao–Wang–Jost entropy
    sample_coverage: float  # Good–Turing
    chao1: float
    rarefied: dict[str, float]  # expected coverage among the first m = "100", "1000", … draws
    top: tuple[TopValue, ...]
    text: TextFigures | None = None


@dataclass(frozen=True)
class TextFigures:
    """Figures of a text column; distinct-n from the same number of records before and after."""

    n_records: int
    mean_chars: float
    mean_words: float
    distinct_1: float
    distinct_2: float


@dataclass(frozen=True)
class EqualN:
    """Before and after at the same number of records, the larger table rarefied exactly."""

    n: int
    coverage_before: float
    coverage_after: float
    entropy_before: float  # plug-in
    entropy_after: float


@dataclass(frozen=True)
class Bar:
    """One bar of a field's picture; shares of records."""

    label: str
    before: float | None
    after: float
    target: float | None


@dataclass(frozen=True)
class Chart:
    """`values`: one bar per value, in order. `ranks`: shares of the most common values, of n records each."""

    kind: Literal["values", "ranks"]
    bars: tuple[Bar, ...]
    n: int | None = None


@dataclass(frozen=True)
class FieldFacts:
    """Everything known of one column, declared or derived."""

    info: FieldInfo
    after: Sample
    before: Sample | None = None
    at_equal_n: EqualN | None = None
    target: TargetFacts | None = None  # of the data
    target_before: TargetFacts | None = None  # of the untuned model's sample
    no_target: str | None = None  # why there is none although one was declared
    chart: Chart | None = None

    @property
    def verdict(self) -> str:
        """One phrase: within noise, borderline, or off by how much; empty without a target."""
        if self.target is None:
            return ""
        return f"off by {written(self.target.excess)}" if self.target.state == "off" else self.target.state


@dataclass(frozen=True)
class Facts:
    """What a dataset is, measured; fields in the order worst first."""

    n_records: int
    n_before: int | None
    fields: tuple[FieldFacts, ...]
    run: RunFacts
    seed: int
    skipped: dict[str, str] = field(default_factory=dict)  # columns not reported, and why

    @property
    def worst_field(self) -> str:
        """Name of the field furthest above its noise floor; without targets, the most concentrated one."""
        return self.fields[0].info.name

    @property
    def tested(self) -> tuple[FieldFacts, ...]:
        """Fields with a target."""
        return tuple(f for f in self.fields if f.target is not None)

    @property
    def headline(self) -> str:
        """The report in one sentence."""
        worst = self.fields[0]
        if worst.target is None:
            top = worst.after.top[0]
            where = f"{short(top.value)!r} in {top.share:.1%} of records"
            return f"most concentrated field: {worst.info.label}, {where}"
        tv = worst.target.tv
        figures = f"TV {written(tv.value)} to target (floor {written(tv.floor_p95)})"
        if all(f.target and f.target.state == "within noise" for f in self.tested):
            number = "the one field" if len(self.tested) == 1 else f"all {len(self.tested)} fields"
            return f"{number} with a target within noise; closest to its limit: {worst.info.label}, {figures}"
        return f"worst field: {worst.info.label}, {figures}"

    def field(self, name: str) -> FieldFacts:
        """The field of that name; SynthgenError if there is none."""
        for entry in self.fields:
            if entry.info.name == name:
                return entry
        known = ", ".join(f.info.name for f in self.fields)
        raise SynthgenError(f"{name!r} is no field of this report; it has {known}")

    def figure(self, name: str, measure: str) -> tuple[float | None, float | None]:
        """One figure and its noise floor (95 %), for gates.

        `measure` is tv, js or kl (no value without a target; inf when records lie outside its support), or
        entropy (plug-in, nats, a lower bound) or coverage (distinct values), which have no floor.
        """
        entry = self.field(name)
        match measure:
            case "tv" | "js" | "kl":
                if entry.target is None:
                    return None, None
                distance: Distance = getattr(entry.target, measure)
                return (math.inf if distance.value is None else distance.value), distance.floor_p95
            case "entropy":
                return entry.after.entropy_plugin, None
            case "coverage":
                return float(entry.after.coverage), None
            case _:
                return None, None

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types; `from_dict` reads them back. The verdicts are spelled out for other readers."""
        plain = asdict(self)
        for entry, record in zip(self.fields, plain["fields"], strict=True):
            record["verdict"] = entry.verdict
        return {
            "synthgen_report": FORMAT,
            "headline": self.headline,
            "worst_field": self.worst_field,
            **plain,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, object]) -> Facts:
        """Read what `to_dict` gave, through JSON or not; SynthgenError if it is something else."""
        from pydantic import TypeAdapter, ValidationError

        if raw.get("synthgen_report") != FORMAT:
            raise SynthgenError(
                f"expected a synthgen report of format {FORMAT}, found {raw.get('synthgen_report')!r}"
            )
        try:
            return TypeAdapter(cls).validate_python(raw)
        except ValidationError as error:
            first = error.errors()[0]
            raise SynthgenError(f"report: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def check(self) -> None:
        """Raise SynthgenError, naming field and figure, for anything that cannot be."""
        self.run.check()
        if self.run.accepted is not None and self.run.accepted != self.n_records:
            raise SynthgenError(f"run: accepted {self.run.accepted}, but the table has {self.n_records} rows")
        for entry in self.fields:
            name = entry.info.name
            _check_sample(entry.after, f"{name}, after", self.n_records)
            if entry.before is not None:
                _check_sample(entry.before, f"{name}, before", self.n_before)
            if entry.at_equal_n is not None:
                _check_equal_n(entry.at_equal_n, f"{name}, at equal n")
            for facts, when in ((entry.target, "after"), (entry.target_before, "before")):
                if facts is not None:
                    _check_target(facts, f"{name}, {when}")


def _check_sample(sample: Sample, where: str, n: int | None) -> None:
    if sample.n != n:
        raise SynthgenError(f"{where}: counts add up to {sample.n}, the table has {n} rows; counts were lost")
    if not 1 <= sample.coverage <= sample.n:
        raise SynthgenError(
            f"{where}: coverage {sample.coverage} of {sample.n} records; expected 1 to {sample.n}"
        )
    stats.check_entropy(sample.entropy_plugin, sample.coverage, where)
    _shares(where, [("sample coverage", sample.sample_coverage)])
    _shares(where, [(f"share of {short(t.value)!r}", t.share) for t in sample.top])
    if sum(t.n for t in sample.top) > sample.n:
        raise SynthgenError(f"{where}: top values count {sum(t.n for t in sample.top)} of {sample.n} records")
    for top in sample.top:
        if not math.isclose(top.share, top.n / sample.n, rel_tol=1e-9):
            raise SynthgenError(
                f"{where}: share of {short(top.value)!r} is {top.share:g}, not {top.n}/{sample.n}"
            )
    if sample.text is not None:
        _shares(where, [("distinct-1", sample.text.distinct_1), ("distinct-2", sample.text.distinct_2)])


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


def written(distance: float | None) -> str:
    """A distance or floor as every report writes it: three decimals, four when small, ∞ for None."""
    if distance is None:
        return "∞"
    return f"{distance:.3f}" if distance >= 0.00495 or distance == 0 else f"{distance:.4f}"


def short(text: str, width: int = 40) -> str:
    """Cut a text to a width, with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
