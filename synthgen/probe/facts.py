"""The facts of a probe: frozen records that page and terminal draw, and that probe.json holds.

One owner for every figure. Distances are total variations from 0 to 1, entropies are in nats; a bound that is None means
that there is no interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from synthgen.probe import figures as f
from synthgen.probe.tasks import Floats
from synthgen.probe.verdict import Verdict

FORMAT = 1  # of probe.json
Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Entropies:
    """Spread in nats: mean entropy of P_token, of the draws' source (Chao–Wang–Jost), and of the task; means over tasks."""

    token: float
    result: float | None  # None: no draw in the support
    task: float


@dataclass(frozen=True)
class ListFigures:
    """One long list of draws per answer."""

    alignment: f.Estimate  # A
    variability: f.Estimate  # V
    drift: f.Estimate  # between the halves of a list
    outside: f.Estimate  # mass outside the support
    sharpness: f.Estimate  # entropy of P_token over the task's
    result: f.Result  # of single lists
    autocorrelation: f.Estimate | None
    runs: f.Runs | None
    temperature: f.Temperature
    entropies: Entropies
    own_share: float  # of the draws that the model wrote itself, in the form asked for
    endings: Mapping[str, int]  # why its own lists ended


@dataclass(frozen=True)
class SingleFigures:
    """Independent single draws."""

    alignment: f.Estimate
    outside: f.Estimate
    sharpness: f.Estimate
    spread: float  # mean TV of the wordings' P_token from their mean
    result: f.Result | None  # of the draws of one wording; None: no draw in the support
    temperature: f.Temperature
    entropies: Entropies
    answered_share: float  # of the model's own answers that were one value of the support


@dataclass(frozen=True)
class Strip:
    """One list to look at: P_token at every step, and what was drawn."""

    wording: str
    p_token: tuple[Numbers, ...]  # (n, k)
    draws: tuple[int, ...]


@dataclass(frozen=True)
class TaskFacts:
    """One task in both protocols; distributions are over `values`."""

    name: str
    values: tuple[str, ...]
    target: Numbers
    lists: ListFigures
    singles: SingleFigures
    list_token: Numbers  # mean P_token over all steps
    list_result: Numbers
    single_token: Numbers  # mean over wordings
    single_result: Numbers | None
    strip: Strip


@dataclass(frozen=True)
class FieldFacts:
    """A declared field of a recipe: P_token after prefixes that the model wrote, against the declared distribution."""

    name: str
    label: str
    values: tuple[str, ...]
    target: Numbers
    token: Numbers  # mean P_token: what the model would give in the long run
    distance: f.Estimate  # TV of that mean to the target
    alignment: f.Estimate  # A: mean over prefixes of TV(P_token, target)
    dependence: float  # mean TV of P_token to its mean: how much the fields before it matter
    outside: f.Estimate
    result: f.Result | None  # of the model's own answers
    temperature: f.Temperature
    entropies: Entropies
    n_prefixes: int


@dataclass(frozen=True)
class RecipeFacts:
    """The recipe's own prompt."""

    name: str
    prompt: str
    temperature: float  # that it generates with; P_token is at temperature 1
    n_answers: int
    n_whole: int  # answers with all fields
    fields: tuple[FieldFacts, ...]
    note: str  # why there are none; empty if there are


@dataclass(frozen=True)
class ReferencePoint:
    """A known sampler on the plane, simulated on the same tasks."""

    name: str
    does: str
    alignment: float
    variability: float
    drift: float
    result_state: str
    verdict: str


@dataclass(frozen=True)
class Advice:
    """What to do, in plain words, and the figure that says so."""

    topic: str
    text: str
    figure: str


@dataclass(frozen=True)
class ProbeFacts:
    """Everything that a probe found."""

    model: str
    adapter: str | None
    run: Mapping[str, object]  # engine, settings, versions, time
    lists: ListFigures
    singles: SingleFigures
    verdict: Verdict
    tasks: tuple[TaskFacts, ...]
    references: tuple[ReferencePoint, ...]
    recipe: RecipeFacts | None
    advice: tuple[Advice, ...]
    steps: tuple[Mapping[str, object], ...]  # P_token at every step of every list and single question

    def to_dict(self) -> dict[str, object]:
        """What probe.json holds."""
        return {"format": FORMAT, **asdict(self)}

    def summary(self) -> dict[str, object]:
        """The one line for machines."""
        a, v = self.lists.alignment, self.lists.variability
        found: dict[str, object] = {
            "model": self.model,
            "adapter": self.adapter,
            "verdict": self.verdict.label,
            "pattern": self.verdict.pattern,
            "also_possible": list(self.verdict.others),
            "alignment": round(a.value, 4),
            "alignment_interval": [a.low, a.high],
            "variability": round(v.value, 4),
            "variability_interval": [v.low, v.high],
            "result_tv": round(self.lists.result.value, 4),
            "result_floor": [self.lists.result.floor_low, self.lists.result.floor_high],
            "single_alignment": round(self.singles.alignment.value, 4),
            "outside": round(self.singles.outside.value, 4),
        }
        if self.recipe is not None:
            found["fields"] = {field.name: round(field.distance.value, 4) for field in self.recipe.fields}
        return found | {key: self.run[key] for key in ("engine", "elapsed_s") if key in self.run}


def plain(values: Floats) -> Numbers:
    """A vector for JSON."""
    return tuple(round(float(value), 6) for value in values)
