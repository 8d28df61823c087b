"""Recipe → PlanSummary: what a run would do, said before it starts. What `synthgen check` shows.

Light: loads no model, no tokenizer and no table; target functions and marginals are asked for three tuples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synthgen.plan import N_BEFORE, Plan
from synthgen.quota import most_refused
from synthgen.recipe import BASE, TABLE_SUFFIXES, AdapterSpec, Method, Recipe, TaskSpec, UniqueSpec
from synthgen.recipe_checks import MOST_RATES
from synthgen.recipe_tasks import is_own, message, task_schema, task_words
from synthgen.remedy import other_sampling
from synthgen.speeds import Estimate, estimate
from synthgen.styles import worded
from synthgen.tuning_config import Scope
from synthgen.unique import check_support

if TYPE_CHECKING:
    from synthgen.schema import FieldSpec

N_SAMPLES = 3


@dataclass(frozen=True)
class FieldRow:
    """One column of the dataset."""

    name: str
    label: str
    kind: str
    values: str  # "Female, Male, Non-binary", "0 to 110", "text"
    derived: bool


@dataclass(frozen=True)
class PromptRow:
    """One of the prompts that an adapter is tuned on."""

    message: str | None  # None: the recipe's own
    schema: str
    targets: str  # where they come from
    fields: tuple[str, ...]
    share: float  # of the adapter's loss
    samples: tuple[tuple[str, ...], ...]  # three target tuples


@dataclass(frozen=True)
class AdapterRow:
    """One adapter, or the untuned model."""

    name: str
    source: Literal["tuned", "ready-made", "untuned"]
    place: str  # a ready-made adapter's folder, or the model
    share: float  # of the records; 0: not used
    scope: Scope | None = None  # of a tuned one
    prompts: tuple[PromptRow, ...] = ()  # that it is tuned on
    method: Method = "lora"


@dataclass(frozen=True)
class PlanSummary:
    """What a run of `n` records would do."""

    recipe: str
    fingerprint: str
    schema: str
    model: str
    fields: tuple[FieldRow, ...]
    prompt: str  # the message, before the model's chat template
    adapters: tuple[AdapterRow, ...]
    engine: str
    n: int
    n_shards: int
    out: str
    remedies: tuple[str, ...]
    unique: tuple[str, ...]
    gates: tuple[str, ...]
    notes: tuple[str, ...]
    estimate: Estimate | None  # of the time that it takes here; None: nothing was measured yet

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def plan_summary(recipe: Recipe, n: int, out: Path | None = None) -> PlanSummary:
    """What `recipe.run(n)` would do; draws a few target tuples to see that they fit the schema.

    Raises:
        RecipeError: the targets do not fit the schema, or there are fewer unique records than `n`.
    """
    schema = recipe.record_schema()
    check_support(recipe, n)
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    shares = dict(recipe.mix)
    rows = [_adapter_row(recipe, name, spec, shares.get(name, 0.0)) for name, spec in recipe.adapters.items()]
    if BASE in shares:
        rows.append(AdapterRow(BASE, "untuned", recipe.model, shares[BASE]))
    return PlanSummary(
        recipe=str(recipe.path or "recipe"),
        fingerprint=recipe.fingerprint,
        schema=schema.name,
        model=recipe.model,
        fields=tuple(_field_row(spec, spec in schema.derived) for spec in (*schema.fields, *schema.derived)),
        prompt=worded(message(schema, recipe.prompt), recipe.generate.ask),
        adapters=tuple(rows),
        engine=_engine(recipe),
        n=n,
        n_shards=plan.n_shards,
        out=str(out or recipe.out_dir),
        remedies=tuple(_remedies(recipe)),
        unique=tuple(_unique(rule) for rule in recipe.unique),
        gates=tuple(_gates(recipe)),
        notes=tuple(_notes(recipe, n, rows)),
        estimate=time_estimate(recipe, n),
    )


def time_estimate(recipe: Recipe, n: int, engine: str | None = None) -> Estimate | None:
    """How long a run of `n` records will take here, by the recipe's engine or another; None if nothing was measured."""
    return estimate(recipe, _engine(recipe, engine), n, N_BEFORE)


def _engine(recipe: Recipe, engine: str | None = None) -> str:
    return chosen_engine(engine or recipe.generate.engine, recipe.generate.typical_p < 1)


def chosen_engine(engine: str, typical: bool = False) -> str:
    """The engine that a run would take on this machine, by what is installed."""
    from synthgen.engines import choose

    return choose(engine, typical)


def _field_row(spec: FieldSpec, derived: bool) -> FieldRow:
    return FieldRow(spec.name, spec.label, spec.kind + ("?" if spec.optional else ""), _values(spec), derived)


def _values(spec: FieldSpec) -> str:
    from synthgen.schema import text_of

    if spec.support is None:
        return spec.description or "open"
    if len(spec.support) > 12:
        return f"{spec.support[0]} to {spec.support[-1]}"
    return ", ".join(text_of(value) for value in spec.support)


def _adapter_row(recipe: Recipe, name: str, spec: AdapterSpec, share: float) -> AdapterRow:
    if spec.use is not None:
        return AdapterRow(name, "ready-made", spec.use, share)
    whole = sum(task.weight for task in spec.tasks)
    prompts = tuple(
        _prompt_row(recipe, name, i, task, task.weight / whole) for i, task in enumerate(spec.tasks)
    )
    return AdapterRow(name, "tuned", "", share, spec.scope, prompts, spec.method)


def _prompt_row(recipe: Recipe, name: str, number: int, task: TaskSpec, share: float) -> PromptRow:
    schema = task_schema(recipe, task)
    text = None if is_own(recipe, task) else message(schema, task_words(recipe, task))
    where = task.targets if isinstance(task.targets, str) else "marginals in the recipe"
    if where.endswith(TABLE_SUFFIXES):
        return PromptRow(text, schema.name, where, tuple(task.fields or ()), share, ())
    import numpy as np

    source = recipe.targets_of(name, number)
    rng = np.random.default_rng(recipe.seed)
    targets = source.draw(rng, N_SAMPLES)
    n = min(N_SAMPLES, len(targets.values))
    chosen = rng.choice(len(targets.values), size=n, replace=False, p=targets.weights)
    samples = tuple(targets.values[i] for i in chosen)
    return PromptRow(text, schema.name, where, source.fields, share, samples)


def _remedies(recipe: Recipe) -> list[str]:
    """What is done beside tuning, as far as it is known without reading a table."""
    spec, lines = recipe.generate, []
    if spec.balance != "none":
        of = ", ".join(spec.balance_fields) if spec.balance_fields else "the declared fields"
        lines.append(f"balance {of}: {spec.balance}")
    if spec.ask != "plain":
        lines.append(f"ask: {spec.ask}")
    return lines + [f"{key} {value:g}" for key, value in other_sampling(spec).items()]


def _notes(recipe: Recipe, n: int, rows: list[AdapterRow]) -> Iterator[str]:
    yield from (f"adapter {row.name} is tuned but in no mix" for row in rows if not row.share)
    if recipe.generate.balance == "quota":
        most = most_refused(n, recipe.generate.max_attempts)
        yield f"answers whose places are taken by quota are drawn again, {most:,} times in all at most"


def _unique(rule: UniqueSpec) -> str:
    if rule.near is None:
        return f"{rule.label} exactly"
    return f"{rule.label} up to a likeness of {rule.near:g}"


def _gates(recipe: Recipe) -> list[str]:
    lines = []
    for name, limits in recipe.gates.items():
        if not isinstance(limits, dict):
            lines.append(f"{name} {'at most' if name in MOST_RATES else 'at least'} {limits:g}")
            continue
        words = {"entropy": "at least", "coverage": "at least"}
        lines += [
            f"{name} {measure} {words.get(measure, 'at most')} {limit:g}" for measure, limit in limits.items()
        ]
    return lines
