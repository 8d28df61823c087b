"""Recipe → PlanSummary: what a run would do, said before it starts. What `synthgen check` shows.

Light: loads no model, no tokenizer and no table; target functions and marginals are asked for three tuples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synthgen.plan import Plan
from synthgen.recipe import BASE, TABLE_SUFFIXES, AdapterSpec, Recipe

if TYPE_CHECKING:
    from synthgen.schema import FieldSpec, RecordSchema

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
class AdapterRow:
    """One adapter, or the untuned model."""

    name: str
    source: Literal["tuned on", "ready-made", "untuned"]
    targets: str  # where its targets come from, or its folder
    fields: tuple[str, ...]
    share: float  # of the records; 0: tuned but not used
    samples: tuple[tuple[str, ...], ...]  # three target tuples


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
    gates: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def plan_summary(recipe: Recipe, n: int, out: Path | None = None) -> PlanSummary:
    """What `recipe.run(n)` would do; draws a few target tuples to see that they fit the schema.

    Raises:
        RecipeError: the targets do not fit the schema.
    """
    schema = recipe.record_schema()
    plan = Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    shares = dict(recipe.mix)
    rows = [_adapter_row(recipe, name, spec, shares.get(name, 0.0)) for name, spec in recipe.adapters.items()]
    if BASE in shares:
        rows.append(AdapterRow(BASE, "untuned", recipe.model, (), shares[BASE], ()))
    return PlanSummary(
        recipe=str(recipe.path or "recipe"),
        fingerprint=recipe.fingerprint,
        schema=schema.name,
        model=recipe.model,
        fields=tuple(_field_row(spec, spec in schema.derived) for spec in (*schema.fields, *schema.derived)),
        prompt=_message(recipe, schema),
        adapters=tuple(rows),
        engine=chosen_engine(recipe.generate.engine),
        n=n,
        n_shards=plan.n_shards,
        out=str(out or recipe.out_dir),
        gates=tuple(_gates(recipe)),
        notes=tuple(f"adapter {row.name} is tuned but in no mix" for row in rows if not row.share),
    )


def chosen_engine(engine: str) -> str:
    """The engine that a run would take on this machine, by what is installed."""
    from synthgen.engines import choose

    return choose(engine)


def _message(recipe: Recipe, schema: RecordSchema) -> str:
    from synthgen.braces import instruct

    if recipe.prompt and recipe.prompt.text:
        return recipe.prompt.text
    return instruct(schema, recipe.prompt.instruction if recipe.prompt else None)


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
        return AdapterRow(name, "ready-made", spec.use, (), share, ())
    if isinstance(spec.targets, str) and spec.targets.endswith(TABLE_SUFFIXES):
        return AdapterRow(name, "tuned on", spec.targets, recipe.fields_of(name) or (), share, ())
    import numpy as np

    where = spec.targets if isinstance(spec.targets, str) else "marginals in the recipe"
    source = recipe.targets_of(name)
    rng = np.random.default_rng(recipe.seed)
    targets = source.draw(rng, N_SAMPLES)
    n = min(N_SAMPLES, len(targets.values))
    chosen = rng.choice(len(targets.values), size=n, replace=False, p=targets.weights)
    return AdapterRow(name, "tuned on", where, source.fields, share, tuple(targets.values[i] for i in chosen))


def _gates(recipe: Recipe) -> list[str]:
    lines = []
    for name, limits in recipe.gates.items():
        if not isinstance(limits, dict):
            lines.append(f"{name} at least {limits:g}")
            continue
        words = {"entropy": "at least", "coverage": "at least"}
        lines += [
            f"{name} {measure} {words.get(measure, 'at most')} {limit:g}" for measure, limit in limits.items()
        ]
    return lines
