"""Experiment 5: what tuning costs elsewhere. Tasks not tuned, other records' format, and drift on unrelated prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from synthgen.bench import six_tasks
from synthgen.bench.cells import Cell, Tally, key_of, tallied
from synthgen.bench.draw import Dot, dots
from synthgen.bench.estimates import Estimate, Measured, over_seeds
from synthgen.bench.lab import Lab, Trial, Tuned
from synthgen.bench.lm_eval_hook import Evaluate, evaluated, evaluation_table
from synthgen.bench.questions import Prompted, Question, ask, own_answers, perplexities
from synthgen.bench.section import Figure, Section, Table, adapter_line, of
from synthgen.engines.protocol import Engine
from synthgen.job import Job
from synthgen.prompt import answer_ids, build_prompt
from synthgen.schema import RecordSchema, load_model
from synthgen.tuning_config import TuningTask

NUMBER = 5
OTHERS = (
    "product.py:Product",
    "ticket.py:Ticket",
    "patient.py:Patient",
    "job.py:Job",
)  # records never tuned on
UNRELATED = (  # nothing here is a list, a record or at random
    "What is the capital of France?",
    "Explain in two sentences why the sky is blue.",
    "Write a short poem about a lighthouse.",
    "How do I boil an egg?",
    "What is 17 times 23? Show your steps.",
    "Summarise the story of Romeo and Juliet in three sentences.",
    "Translate into German: The train leaves at nine.",
    "Write a Python function that reverses a string.",
    "What are the main causes of inflation?",
    "Give me advice for a job interview.",
    "Who wrote The Origin of Species, and what is it about?",
    "Is it safe to eat raw potatoes?",
)
N_RECORDS = 300  # answers to each other record's prompt
N_SAMPLES = (
    16  # of the base model, to each unrelated prompt and each other record's: what drift is measured on
)
ADAPTERS = ("six tasks", "biographies")
MAX_TOKENS = 160

Drifts = Callable[[str, Mapping[str, Any], Sequence[Any]], dict[str, list[Any]]]


def run(lab: Lab, drifts: Drifts | None = None, evaluate: Evaluate | None = None) -> list[Cell]:
    """Perplexity and format by the engine, drift with torch; `drifts` and `evaluate` stand in for these in tests."""
    recipe = six_tasks.left_out(lab.recipe(six_tasks.ALL))
    own = lab.recipe(six_tasks.ALL)
    own = own.model_copy(update={"adapters": {**recipe.adapters, "biographies": own.adapters["biographies"]}})
    job = lab.job(own)
    others = other_records(lab, job)
    answers = target_answers(job)
    trials, tuned_by_seed, lists = [], {}, key_of(answers)
    for seed in lab.seeds:
        tuned = tuned_by_seed[seed] = lab.tuned(own, seed)
        trials.append(Trial(NUMBER, "base", seed, others, None, lists))
        trials += [Trial(NUMBER, name, seed, others, tuned[_adapter(name)], lists) for name in ADAPTERS]
        for task in six_tasks.NAMES:
            lacking = tuned[six_tasks.without(task)]
            trials.append(Trial(NUMBER, f"held out {task}", seed, others[:1], lacking, lists))

    def measure(engine: Engine, trial: Trial) -> dict[str, Any]:
        held_out = trial.condition.removeprefix("held out ")
        if trial.condition != held_out:  # one task only, under the adapter that lacks it
            return {"perplexity": perplexities(engine, trial.served, {held_out: answers[held_out]})}
        n = min(N_RECORDS, lab.options.n)
        tallies = [
            _format_only(ask(engine, one, trial.served, n, 1000 * trial.seed + i))
            for i, one in enumerate(others)
        ]
        content = tallied(tallies, perplexity=perplexities(engine, trial.served, answers))
        if trial.condition == "base":
            content["contexts"] = own_answers(engine, [*others, *unrelated(job)], N_SAMPLES, trial.seed)
        return content

    cells = lab.measured(trials, measure, max_tokens=max(MAX_TOKENS, own.generate.max_tokens))
    drifted = []
    for seed in lab.seeds:
        base = next(cell for cell in of(cells, "base") if cell.seed == seed)
        drifted.append(_drift_cell(lab, base, tuned_by_seed[seed], drifts))
    return [*cells, *drifted, *_evaluated(lab, tuned_by_seed[1], evaluate)]


def other_records(lab: Lab, job: Job) -> tuple[Question, ...]:
    """The prompts of records that no adapter has seen."""
    folder = (lab.options.recipes / ".." / ".." / "schemas").resolve()
    schemas = [RecordSchema.from_model(load_model(str(folder / name), folder)) for name in OTHERS]
    return tuple(Question(s.name, "other records", s, build_prompt(s, job.tokenizer)) for s in schemas)


def unrelated(job: Job) -> list[Question]:
    """Plain requests; what is answered is not parsed."""
    return [
        Question(f"request {i}", "unrelated", job.schema, build_prompt(job.schema, job.tokenizer, text=text))
        for i, text in enumerate(UNRELATED, 1)
    ]


def target_answers(job: Job) -> dict[str, list[Prompted]]:
    """Task → of each of its prompts, the prompt's ids and those of every target, stop token included."""
    found: dict[str, list[Prompted]] = {}
    for tuning in job.tasks[six_tasks.ALL]:
        task = six_tasks.TASKS[tuning.source.schema.name]
        found.setdefault(task, []).append((tuning.prompt.ids, _token_ids(tuning)))
    return found


def _token_ids(tuning: TuningTask) -> list[tuple[int, ...]]:
    targets = tuning.source.draw(np.random.default_rng(0))
    return [answer_ids(tuning.prompt, tuning.tokenizer, text, closed=True) for text in targets.answers]


def section(cells: Sequence[Cell]) -> Section:
    """What tuning did to what it was not tuned on."""
    tuned = [cell for cell in cells if cell.content.get("adapter")]
    return Section(
        NUMBER,
        "Retention",
        (
            "What tuning costs elsewhere. Perplexity per token of the target answers of a task, under the adapter "
            "tuned on the other five (lower is better: the answers are meant to be likely); format rate of records "
            "that no adapter was tuned on; and the exact KL(base ‖ adapter), summed over the vocabulary at every "
            "token of the base model's own answers, to other records' prompts and to unrelated requests.",
            f"Tuning: {adapter_line(tuned)}.",
        ),
        (_perplexity(cells), _formats(cells), _drifts(cells), *evaluation_table(cells, ("base", *ADAPTERS))),
        (_picture(cells),),
        facts={
            "perplexity": {
                task: {
                    "base": _base_perplexity(cells, task).to_json(),
                    "held out": _held_out(cells, task).to_json(),
                }
                for task in six_tasks.NAMES
            },
            "drift": {
                name: {
                    task: _drift(cells, name, task, "kl").to_json() for task in ("other records", "unrelated")
                }
                for name in ADAPTERS
            },
        },
    )


def _adapter(condition: str) -> str:
    return six_tasks.ALL if condition == "six tasks" else condition


def _format_only(tally: Tally) -> Tally:
    return replace(tally, listed={}, other={})


def _drift_cell(lab: Lab, base: Cell, tuned: Mapping[str, Tuned], drifts: Drifts | None) -> Cell:
    """The drift of both adapters on the base model's answers; kept like every cell."""
    adapters = {name: tuned[_adapter(name)] for name in ADAPTERS}
    key = key_of(
        1, lab.fingerprint, [a[1].tuning_fingerprint for a in adapters.values()], base.content["contexts"]
    )
    found = lab.cells.find(NUMBER, "drift", base.seed, key)
    if found is not None:
        return found
    lab.check_time()
    lab.progress.stage("measure", f"experiment {NUMBER}, drift, seed {base.seed}")
    from synthgen.bench.drift import Context, drift

    asked = base.content["contexts"]
    contexts = [Context(tuple(one["prompt_ids"]), tuple(one["answer_ids"])) for one in asked]
    by_adapter = (drifts or drift)(
        lab.model, {name: folder for name, (folder, _) in adapters.items()}, contexts
    )
    content = {
        name: {
            task: [asdict(one) for one, c in zip(found_here, asked, strict=True) if c["task"] == task]
            for task in ("other records", "unrelated")
        }
        for name, found_here in by_adapter.items()
    }
    return lab.cells.keep(Cell(NUMBER, "drift", base.seed, content), key)


def _evaluated(lab: Lab, tuned: Mapping[str, Tuned], evaluate: Evaluate | None) -> list[Cell]:
    """lm-eval on base and adapters, first seed."""
    adapters = {name: tuned[_adapter(name)][0] for name in ADAPTERS}
    content = evaluated(lab, adapters, evaluate)
    return [] if content is None else [Cell(NUMBER, "lm-eval", 1, content)]


def _base_perplexity(cells: Sequence[Cell], task: str) -> Estimate:
    return over_seeds([Measured(cell.content["perplexity"][task], 0.0) for cell in of(cells, "base")])


def _held_out(cells: Sequence[Cell], task: str) -> Estimate:
    return over_seeds(
        [Measured(cell.content["perplexity"][task], 0.0) for cell in of(cells, f"held out {task}")]
    )


def _perplexity(cells: Sequence[Cell]) -> Table:
    rows = tuple(
        (task, _base_perplexity(cells, task).text(), _held_out(cells, task).text())
        for task in six_tasks.NAMES
    )
    return Table(
        "Perplexity of the answers of a task not tuned", ("task", "base", "tuned on the other five"), rows
    )


def _formats(cells: Sequence[Cell]) -> Table:
    rows = []
    for i, tally in enumerate(of(cells, "base")[0].tallies):
        row = [tally.label]
        for condition in ("base", *ADAPTERS):
            rate = over_seeds([cell.tallies[i].format_rate for cell in of(cells, condition)])
            row.append(f"{100 * rate.value:.1f} ± {100 * (rate.high - rate.value):.1f} %")
        rows.append(tuple(row))
    return Table("Format rate of records never tuned on", ("record", "base", *ADAPTERS), tuple(rows))


def _drift(cells: Sequence[Cell], name: str, task: str, what: str) -> Estimate:
    """A sum over tokens per token; the error is that of the answers drawn."""
    return over_seeds([_per_token(cell.content[name][task], what) for cell in of(cells, "drift")])


def _per_token(answers: Iterable[Mapping[str, float]], what: str) -> Measured:
    """Ratio estimate: the sums of `what` over the sums of tokens, answer by answer."""
    pairs = [(one[what], one["n_tokens"]) for one in answers]
    n, tokens = len(pairs), sum(t for _, t in pairs)
    if not tokens:
        return Measured(0.0, 0.0)
    value = sum(x for x, _ in pairs) / tokens
    spread = sum((x - value * t) ** 2 for x, t in pairs)
    return Measured(value, math.sqrt(n / max(1, n - 1) * spread) / tokens)


def _drifts(cells: Sequence[Cell]) -> Table:
    rows = []
    for name in ADAPTERS:
        for task in ("other records", "unrelated"):
            nll_base, nll = _drift(cells, name, task, "nll_base"), _drift(cells, name, task, "nll")
            rows.append(
                (
                    name,
                    task,
                    _drift(cells, name, task, "kl").text(4),
                    f"{math.exp(nll_base.value):.2f}",
                    f"{math.exp(nll.value):.2f}",
                )
            )
    head = ("adapter", "prompts", "KL per token, nats", "perplexity, base", "perplexity, adapter")
    return Table("Drift on the base model's own answers", head, tuple(rows))


def _picture(cells: Sequence[Cell]) -> Figure:
    rows = []
    for task in six_tasks.NAMES:
        base, held = _base_perplexity(cells, task), _held_out(cells, task)
        row = [
            Dot("baseline", base.value, base.low, base.high),
            Dot("held out", held.value, held.low, held.high),
        ]
        rows.append((task, row))
    svg = dots("perplexity of the answers of a task not tuned", "per token (log scale)", rows, log_x=True)
    return Figure(
        "5-perplexity.svg", "Perplexity of a task's answers, base and tuned on the other five.", svg
    )
