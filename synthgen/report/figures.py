"""The facts of a dataset: frozen records that the reports draw and that report.json holds.

One owner for every figure: terminal, HTML, card and JSON only read these. `check` refuses what cannot be.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from synthgen.errors import SynthgenError
from synthgen.report.reliability import RunFacts
from synthgen.seen import Seen
from synthgen.together import Together

Kind = Literal["closed", "open", "text", "number", "date"]
State = Literal["within noise", "borderline", "off"]
FORMAT = 1  # of report.json
FAMILY_LEVEL = 0.025  # chance of any false alarm among the tests of one family, at most


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

    `limit` is the floor's quantile at 1 − 2.5 %/(number of tests in the family): all fields of a perfect dataset
    together stay under their limits with a chance of at least 97.5 %.
    """

    value: float | None  # None: infinite (KL, when records lie outside the target's support)
    floor_mean: float
    floor_p95: float
    limit: float

    @property
    def state(self) -> State:
        """Whether noise alone explains it."""
        value = math.inf if self.value is None else self.value
        if value <= self.floor_p95:
            return "within noise"
        return "borderline" if value <= self.limit else "off"

    @property
    def excess(self) -> float:
        """What is beyond the floor's 95 % point; negative when below it."""
        return (math.inf if self.value is None else self.value) - self.floor_p95

    @property
    def verdict(self) -> str:
        """One phrase: within noise, borderline, or off by how much."""
        return f"off by {written(self.excess)}" if self.state == "off" else self.state


@dataclass(frozen=True)
class TargetFacts:
    """How far one column is from its declared distribution."""

    k: int  # values with a positive target probability
    n_reference: int | None  # draws behind the target if it is itself an estimate; None: exact
    tv: Distance
    js: Distance
    kl: Distance  # KL(data ‖ target)
    wasserstein: Distance | None  # in the unit of the values (days for dates); ordered fields only
    share_outside: float  # of records whose value has target probability 0
    n_unseen: int  # target values that no record has
    p_value: float  # of the TV distance: parametric bootstrap, (1 + simulated ≥ observed)/(1 + simulated)

    @property
    def state(self) -> State:
        """Whether noise alone explains the TV distance."""
        return self.tv.state

    @property
    def excess(self) -> float:
        """TV beyond the floor's 95 % point; negative when below it."""
        return self.tv.excess


@dataclass(frozen=True)
class Sample:
    """One column of one table."""

    n: int
    n_missing: int
    coverage: int  # distinct values
    entropy_plugin: float  # nats, like all entropies here
    entropy_miller_madow: float
    entropy_chao_wang_jost: float
    entropy_interval: tuple[float, float | None] | None  # 95 %, of Chao–Wang–Jost; upper end None: unknown
    perplexity: float  # exp of the Chao–Wang–Jost entropy
    sample_coverage: float  # Good–Turing
    sample_coverage_interval: tuple[float, float]  # 95 %
    chao1: float
    fewest_values: int  # lower end of Chao1's 95 % interval
    rarefied: dict[str, float]  # expected coverage of m = "10", "20", "50", "100", … of the draws
    top: tuple[TopValue, ...]
    text: TextFigures | None = None


@dataclass(frozen=True)
class TextFigures:
    """Figures of a text column; distinct-n from the same number of records before and after."""

    n_records: int
    mean_chars: float
    mean_words: float  # whitespace-separated, like every token here
    distinct_1: float
    distinct_2: float
    compression: float  # bytes per byte after zlib, all texts in one stream
    repeated_5grams: float  # share of 5-word sequences that stand in more than one record
    near_duplicates: float  # share of records at least 0.8 alike to another one
    openings: tuple[TopValue, ...]  # first three words, most repeated first


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
    """One bar of a field's picture; shares of records, with 95 % intervals where the bar is a value."""

    label: str
    before: float | None
    after: float
    target: float | None
    before_interval: tuple[float, float] | None = None
    after_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chart:
    """`values`: one bar per value, in order. `ranks`: shares of the most common values, of n records each."""

    kind: Literal["values", "ranks"]
    bars: tuple[Bar, ...]
    n: int | None = None


@dataclass(frozen=True)
class Novelty:
    """How much of a column stands in the tuples that the model was tuned on."""

    n_seen: int  # distinct values in those tuples
    share_of_records: float
    share_of_values: float
    nearest: float | None = None  # text only: mean likeness of the texts to the most alike tuned one
    nearest_among: float | None = None  # the same of the tuned texts to each other


@dataclass(frozen=True)
class Place:
    """A place on the map and how many records name it."""

    name: str
    longitude: float  # degrees east
    latitude: float  # degrees north
    n: int


@dataclass(frozen=True)
class Places:
    """The most frequent places of a column; the rest is counted."""

    points: tuple[Place, ...]
    n_placed: int  # records whose place is known, drawn or not
    n_unknown: int


@dataclass(frozen=True)
class Dependence:
    """How much one column tells of another, or of the record order, beside what independence would show."""

    a: str
    b: str  # empty: the record order, in ten blocks
    mutual_information: float  # plug-in, nats
    corrected: float  # less its mean under independence, not below 0
    cramers_v: float  # bias-corrected, 0 to 1
    p_value: float
    is_simulated: bool  # the null by random tables with the same margins; else by the χ² law
    n_tests: int  # tests of the same family, for the limit 2.5 %/n_tests
    worst_block: int | None = None  # of the record order: the block furthest from the whole, from 1
    worst_tv: float | None = None

    @property
    def is_real(self) -> bool:
        """Whether noise alone does not explain it, the whole family of tests considered."""
        return self.p_value < FAMILY_LEVEL / self.n_tests


@dataclass(frozen=True)
class Joint:
    """Dependence between columns and along the record order, from a random sample of rows."""

    n: int  # rows used
    fields: tuple[str, ...]  # in the table's order
    grouped: dict[str, str]  # how columns of many values were made few
    pairs: tuple[Dependence, ...]
    drift: tuple[Dependence, ...]


@dataclass(frozen=True)
class PairTarget:
    """How far two columns together are from their declared joint distribution."""

    a: str
    b: str
    k: int  # combinations of grouped values with a positive target probability
    tv: Distance
    tv_before: float | None  # of the untuned model's sample
    p_value: float  # parametric bootstrap


@dataclass(frozen=True)
class PairTargets:
    """Every pair of the fields whose joint distribution is declared, worst first."""

    n: int  # rows used
    n_reference: int | None  # draws behind the joint distribution if it is itself an estimate; None: exact
    fields: tuple[str, ...]  # in the table's order
    grouped: dict[str, str]  # how columns of many values were made few
    pairs: tuple[PairTarget, ...]


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
    novelty: Novelty | None = None
    novelty_before: Novelty | None = None  # of the untuned model's sample
    places: Places | None = None

    @property
    def verdict(self) -> str:
        """One phrase: within noise, borderline, or off by how much; empty without a target."""
        return "" if self.target is None else self.target.tv.verdict


@dataclass(frozen=True)
class Facts:
    """What a dataset is, measured; fields in the order worst first."""

    n_records: int
    n_before: int | None
    fields: tuple[FieldFacts, ...]
    run: RunFacts
    seed: int
    skipped: dict[str, str] = field(default_factory=dict)  # columns not reported, and why
    joint: Joint | None = None
    pairs: PairTargets | None = None
    seen_records: float | None = None  # share of records whose tuned fields are together a tuned tuple
    seen_before: float | None = None  # the same of the untuned model's sample
    duplicate_rate: float | None = None  # share of records equal to an earlier one in all declared fields
    # The declared distributions themselves: kept beside report.json, not in it.
    reference: dict[str, dict[str, float]] = field(default_factory=dict, compare=False, repr=False)
    reference_draws: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    together: Together | None = field(default=None, compare=False, repr=False)
    seen: tuple[Seen, ...] = field(default=(), compare=False, repr=False)

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
        beside = ("reference", "reference_draws", "together", "seen")
        plain = asdict(replace(self, reference={}, reference_draws={}, together=None, seen=()))
        plain = {name: value for name, value in plain.items() if name not in beside}
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
        from synthgen.report.checks import check_facts

        check_facts(self)


def written(distance: float | None) -> str:
    """A distance or floor as every report writes it: three decimals, four when small, ∞ for None."""
    if distance is None:
        return "∞"
    return f"{distance:.3f}" if distance >= 0.00495 or distance == 0 else f"{distance:.4f}"


def short(text: str, width: int = 40) -> str:
    """Cut a text to a width, with an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"
