"""Published experiment 2: ranges and wordings. Tuned on 1–10 and 1–100, asked in other words and for other ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

from synthgen.bench.cells import Cell
from synthgen.bench.draw import Series, curves
from synthgen.bench.estimates import Estimate, over_seeds
from synthgen.bench.lab import Lab, Trial
from synthgen.bench.questions import Question
from synthgen.bench.section import Figure, Section, Table, Verdict, adapter_line, of, percent
from synthgen.prompt import Prompt, build_prompt
from synthgen.recipe import Recipe
from synthgen.tuning_config import TuningTask

NUMBER = 2
OWN = "Generate a random number between {low} and {high}. "
WORDINGS = (  # none of them is tuned on
    "Tell me a random number from {low} to {high}. ",
    "Pick any whole number between {low} and {high}, both included. ",
    "I need a random integer from {low} to {high}. ",
    "Think of a number between {low} and {high}. ",
    "Please choose a random whole number from {low} to {high}. ",
)
ENDING = "Output only the number, between two curly braces, like this: {{number}}."
HIGHS = (10, 20, 50, 100, 200, 500, 1000)
SHIFTED = ((11, 20), (54, 104), (154, 204), (450, 500), (901, 1000))
TUNED = ("tuned on 1–10", "tuned on 1–100", "tuned on both")
CONDITIONS = ("baseline", *TUNED)
ASKED_IN_ALL_WORDINGS = (10, 100, 1000)


def run(lab: Lab) -> list[Cell]:
    """The base model and three adapters, each asked every question, for all seeds."""
    recipe = adapters(lab.recipe("ranges"))
    asked = questions(lab, recipe)
    trials = []
    for seed in lab.seeds:
        trials.append(Trial(NUMBER, "baseline", seed, asked))
        tuned = lab.tuned(recipe, seed)
        trials += [Trial(NUMBER, _condition(name), seed, asked, tuned[name]) for name in recipe.adapters]
    return lab.measured(trials)


def adapters(recipe: Recipe) -> Recipe:
    """The recipe's adapter, and one for each of its two prompts alone, at as many passes."""
    both = recipe.adapters["ranges"]
    prompts, steps = both.prompts or [], both.steps or 1
    alone = {
        f"to-{high}": both.model_copy(
            update={"prompts": [prompt], "steps": max(1, round(steps / len(prompts)))}
        )
        for high, prompt in zip((10, 100), prompts, strict=True)
    }
    return recipe.model_copy(update={"adapters": {**alone, "ranges": both}})


def questions(lab: Lab, recipe: Recipe) -> tuple[Question, ...]:
    """Own words for every range, other words for some, own words for shifted ranges."""
    example = lab.job(recipe).tasks["ranges"][0]

    def one(task: str, words: str, low: int, high: int) -> Question:
        support = frozenset(str(i) for i in range(low, high + 1))
        prompt = _prompt(example, (words + ENDING).format(low=low, high=high))
        return Question(f"{low}–{high}", task, example.source.schema, prompt, support)

    return (
        *(one("own words", OWN, 1, high) for high in HIGHS),
        *(
            one(f"wording {i}", words, 1, high)
            for i, words in enumerate(WORDINGS, 1)
            for high in ASKED_IN_ALL_WORDINGS
        ),
        *(one("shifted", OWN, low, high) for low, high in SHIFTED),
    )


def section(cells: Sequence[Cell]) -> Section:
    """Entropy by range, by wording, and of shifted ranges."""
    by_range = [
        (label, *(_entropy(cells, c, "own words", label).text() for c in CONDITIONS), _most(label), *_inside(cells, "own words", label))
        for label in _labels(cells, "own words")
    ]  # fmt: skip
    by_wording = [
        (words.strip().format(low=1, high="N"), label, *(_entropy(cells, c, f"wording {i}", label).text() for c in CONDITIONS), _most(label))
        for i, words in enumerate(WORDINGS, 1)
        for label in _labels(cells, f"wording {i}")
    ]  # fmt: skip
    shifted = [
        (label, *(_entropy(cells, c, "shifted", label).text() for c in CONDITIONS), _most(label), *_inside(cells, "shifted", label))
        for label in _labels(cells, "shifted")
    ]  # fmt: skip
    head = (*CONDITIONS, "ideal, ln of the range")
    asides = ("in range, baseline", "in range, tuned on both")
    tuned = [cell for cell in cells if cell.condition != "baseline"]
    n = min(tally.n for cell in cells for tally in cell.tallies)
    return Section(
        NUMBER,
        "Ranges and wordings",
        (
            "Tuned on two prompts, *a random number between 1 and 10* and *between 1 and 100* (each alone, and both), "
            "then asked in five other wordings, for ranges up to 1–1,000, and for ranges that do not begin at 1. "
            "Entropy in nats of well-formed answers, in the range or not.",
            f"Tuning: {adapter_line(tuned)}.",
        ),
        (
            Table(
                f"Entropy by range, own words ({n:,} answers or more)",
                ("range", *head, *asides),
                tuple(by_range),
            ),
            Table("Entropy in five unseen wordings", ("wording", "range", *head), tuple(by_wording)),
            Table("Entropy of shifted ranges", ("range", *head, *asides), tuple(shifted)),
        ),
        (_by_range(cells), _by_wording(cells)),
        verdicts=(_wordings_verdict(cells),),
        facts={"entropy_nats": _facts(cells), "tuning": [cell.content["adapter"] for cell in tuned]},
    )


def _wordings_verdict(cells: Sequence[Cell]) -> Verdict:
    pairs = [
        (f"wording {i}", label)
        for i in range(1, len(WORDINGS) + 1)
        for label in _labels(cells, f"wording {i}")
    ]
    higher = sum(
        _entropy(cells, "tuned on both", task, label).value > _entropy(cells, "baseline", task, label).value
        for task, label in pairs
    )
    found = f"entropy above the baseline in {higher} of {len(pairs)} unseen combinations of wording and range"
    return Verdict("tuning on two ranges carries over to unseen wordings", found, higher == len(pairs))


def _prompt(example: TuningTask, text: str) -> Prompt:
    return build_prompt(example.source.schema, example.tokenizer, text=text)


def _condition(adapter: str) -> str:
    return dict(zip(("to-10", "to-100", "ranges"), TUNED, strict=True))[adapter]


def _labels(cells: Sequence[Cell], task: str) -> list[str]:
    return [tally.label for tally in of(cells, "baseline")[0].of(task)]


def _entropy(cells: Sequence[Cell], condition: str, task: str, label: str) -> Estimate:
    at = min(tally.n for cell in cells for tally in cell.of(task) if tally.label == label)
    found = [next(t for t in cell.of(task) if t.label == label) for cell in of(cells, condition)]
    return over_seeds([tally.entropy(at) for tally in found])


def _inside(cells: Sequence[Cell], task: str, label: str) -> list[str]:
    shown = []
    for condition in ("baseline", "tuned on both"):
        found = [next(t for t in cell.of(task) if t.label == label) for cell in of(cells, condition)]
        shown.append(percent(over_seeds([tally.listed_rate for tally in found])))
    return shown


def _size(label: str) -> int:
    low, _, high = label.partition("–")
    return int(high) - int(low) + 1


def _most(label: str) -> str:
    return f"{math.log(_size(label)):.2f}"


def _by_range(cells: Sequence[Cell]) -> Figure:
    labels = _labels(cells, "own words")
    lines = [Series(c, tuple(_point(cells, c, "own words", label) for label in labels)) for c in CONDITIONS]
    svg = curves(
        "entropy of the answers, by range",
        "upper end of the range (log scale)",
        "nats",
        [*lines, _ideal(labels)],
        True,
    )
    return Figure("2-ranges.svg", "Entropy by range in the wording tuned on; bands are 95 % over seeds.", svg)


def _by_wording(cells: Sequence[Cell]) -> Figure:
    labels = _labels(cells, "wording 1")
    lines = []
    for condition in CONDITIONS:
        points = []
        for label in labels:
            cells_of = of(cells, condition)
            spread = [
                tally.entropy() for cell in cells_of for tally in cell.tallies
                if tally.label == label and tally.task.startswith("wording")
            ]  # fmt: skip
            middle = over_seeds(spread)
            points.append((float(_size(label)), middle.value, middle.low, middle.high))
        lines.append(Series(condition, tuple(points)))
    svg = curves(
        "entropy in five unseen wordings",
        "upper end of the range (log scale)",
        "nats",
        [*lines, _ideal(labels)],
        True,
    )
    return Figure(
        "2-wordings.svg", "Mean entropy in five unseen wordings; bands are 95 % over wordings and seeds.", svg
    )


def _point(cells: Sequence[Cell], condition: str, task: str, label: str) -> tuple[float, float, float, float]:
    found = _entropy(cells, condition, task, label)
    return float(_size(label)), found.value, found.low, found.high


def _ideal(labels: Sequence[str]) -> Series:
    sizes = [_size(label) for label in labels]
    return Series(
        "ideal", tuple((float(k), math.log(k), math.log(k), math.log(k)) for k in sizes), is_dashed=True
    )


def _facts(cells: Sequence[Cell]) -> dict[str, object]:
    tasks = list(dict.fromkeys(tally.task for tally in of(cells, "baseline")[0].tallies))
    return {
        task: {
            label: {c: _entropy(cells, c, task, label).to_json() for c in CONDITIONS}
            for label in _labels(cells, task)
        }
        for task in tasks
    }
