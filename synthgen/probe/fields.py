"""A recipe's own prompt: P_token of each declared field after prefixes that the model wrote itself, against the target.

The prefixes are the leading values of the model's own answers. The mean P_token over them is what the field would look like
in a long run of records: it has no sampling noise of its own beyond the choice of prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthgen.braces import parse
from synthgen.declared import Declared
from synthgen.engines.protocol import Request
from synthgen.errors import RecipeError
from synthgen.job import Job
from synthgen.plan import BASE, Plan
from synthgen.probe import figures as f
from synthgen.probe.answers import collect, leading_values
from synthgen.probe.facts import Entropies, FieldFacts, RecipeFacts, plain
from synthgen.probe.steps import NextValue, Scorer, Step
from synthgen.probe.tasks import Floats
from synthgen.stats import entropy_chao_wang_jost, tv
from synthgen.target_trie import AnswerTokens

MOST_SCORED = 4096  # values scored per field, all prefixes together
FEWEST_PREFIXES = 4
N_RESAMPLED = 500
NO_FIELD = (
    "the recipe declares no distribution of its own record's fields, so only the stated tasks were probed"
)


@dataclass(frozen=True, eq=False)
class _Field:
    """A declared field: where it stands, its values, their probabilities."""

    position: int
    values: tuple[str, ...]
    target: Floats  # (k,)


def probe_fields(scorer: Scorer, job: Job, n_answers: int, seed: int) -> RecipeFacts:
    """Ask the recipe's prompt `n_answers` times, then score every declared field after what was answered."""
    recipe, names = job.recipe, job.schema.names
    reference = recipe.reference()
    declared = {
        name: shares for name, shares in reference.shares.items() if name in names and len(shares) > 1
    }
    answers = _answers(scorer, job, n_answers, seed) if declared else []
    n_whole = sum(len(values) == len(names) for values in answers)
    rng = np.random.default_rng([seed, 1])
    fields = [_declared(names.index(name), shares) for name, shares in declared.items()]
    reached = [field for field in fields if _prefixes(field, answers)]
    facts = [
        _field_facts(scorer, job, field, answers, rng)
        for field in sorted(reached, key=lambda field: field.position)
    ]
    lost = ", ".join(names[field.position] for field in fields if field not in reached)
    note = f"no answer got as far as {lost}" if lost else "" if declared else NO_FIELD
    return RecipeFacts(
        recipe.name, job.prompt.user, recipe.generate.temperature, len(answers), n_whole, tuple(facts), note
    )


def _answers(scorer: Scorer, job: Job, n: int, seed: int) -> list[list[str]]:
    """The leading values of the model's own answers, as many as can be trusted."""
    plan = Plan(2**62, seed + 1, ((BASE, 1.0),), 2**62)  # seeds only
    done = collect(
        scorer.engine, [Request(i, job.prompt.ids, scorer.adapter, plan.seed_of(i, 0)) for i in range(n)]
    )
    n_fields = len(job.schema.fields)
    found = []
    for i in range(n):
        values = parse(done[i].text, n_fields, done[i].finish_reason == "length")
        found.append(list(values) if isinstance(values, tuple) else leading_values(done[i].text, n_fields)[0])
    return found


def _declared(position: int, declared: Mapping[str, float]) -> _Field:
    shares = {value: share for value, share in declared.items() if share > 0}
    target = np.array(list(shares.values()))
    return _Field(position, tuple(shares), target / target.sum())


def _field_facts(
    scorer: Scorer, job: Job, field: _Field, answers: Sequence[Sequence[str]], rng: np.random.Generator
) -> FieldFacts:
    spec = job.schema.fields[field.position]
    prefixes = _prefixes(field, answers)
    distinct = tuple(dict.fromkeys(prefixes))
    is_last = field.position == len(job.schema.fields) - 1
    tokens = AnswerTokens(job.prompt, job.tokenizer)
    scored = scorer.next_values(tokens, field.values, [Step(prefix, is_last) for prefix in distinct])
    known: Mapping[tuple[str, ...], NextValue] = dict(zip(distinct, scored, strict=True))
    shares = np.array([known[prefix].shares for prefix in prefixes])  # (prefixes, k)
    given = _targets_after(job, field, prefixes)
    outside = [known[prefix].outside for prefix in prefixes]
    mean = shares.mean(axis=0)
    counts = _counts(field, answers)
    rows = [(row[None], target) for row, target in zip(shares, given, strict=True)]
    return FieldFacts(
        name=spec.name,
        label=spec.label,
        values=field.values,
        target=plain(field.target),
        token=plain(mean),
        distance=_distance(shares, field.target, len(distinct), rng),
        alignment=_over(prefixes, [f.alignment(*row) for row in rows]),
        dependence=float(np.mean([tv(row, mean) for row in shares])),
        outside=_over(prefixes, outside),
        result=f.result([(counts, field.target)], rng),
        temperature=f.best_temperature(rows),
        entropies=Entropies(
            float(f.entropies(shares).mean()),
            entropy_chao_wang_jost(counts) if counts.sum() else None,
            float(f.entropies(field.target[None])[0]),
        ),
        n_prefixes=len(distinct),
    )


def _prefixes(field: _Field, answers: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """What stood before the field in the model's own answers, fewer of them for a field of many values."""
    found = [tuple(values[: field.position]) for values in answers if len(values) >= field.position]
    return found[: max(FEWEST_PREFIXES, MOST_SCORED // len(field.values))]


def _targets_after(job: Job, field: _Field, prefixes: Sequence[tuple[str, ...]]) -> Floats:
    """What is declared after each prefix, (prefixes, k): a table's row where the field is given another one."""
    declared, name = _declared_tables(job), job.schema.names[field.position]
    rows = np.tile(field.target, (len(prefixes), 1))
    for i, prefix in enumerate(prefixes):
        if declared is None:
            break
        try:
            found = declared.given(name, dict(zip(job.schema.names, prefix, strict=False)))
        except KeyError:  # the model wrote a value that has no row, or the parent stands behind the field
            continue
        row = np.array([(found or {}).get(value, 0.0) for value in field.values])
        if row.sum() > 0:
            rows[i] = row / row.sum()
    return rows


def _declared_tables(job: Job) -> Declared | None:
    """The recipe's declarations, if all its adapters agree on them."""
    try:
        source = job.recipe.declared()
    except RecipeError:
        return None
    return None if source is None else source.declared


def _counts(field: _Field, answers: Sequence[Sequence[str]]) -> f.Ints:
    place = {value: i for i, value in enumerate(field.values)}
    said = [values[field.position] for values in answers if len(values) > field.position]
    hits = np.array([place[value] for value in said if value in place], dtype=np.int64)
    return np.bincount(hits, minlength=len(field.values))


def _over(prefixes: Sequence[tuple[str, ...]], figure: Sequence[float]) -> f.Estimate:
    """A mean over prefixes; exact, without an interval, where all are the same."""
    if len(set(prefixes)) < 2:
        return f.Estimate(float(np.mean(figure)))
    return f.mean_over(list(enumerate(figure)))


def _distance(shares: Floats, target: Floats, n_distinct: int, rng: np.random.Generator) -> f.Estimate:
    """TV of the mean P_token to the target, with a bootstrap interval over prefixes."""
    value = tv(shares.mean(axis=0), target)
    if n_distinct < 2:
        return f.Estimate(value)
    n = len(shares)
    weights: npt.NDArray[np.float64] = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLED) / n
    found = np.abs(weights @ shares - target).sum(axis=1) / 2
    low, high = np.quantile(found, [0.025, 0.975])
    return f.Estimate(value, float(low), float(high))
