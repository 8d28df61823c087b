"""Published experiment 1: single tasks. A random number and a baby name, before and after tuning on that very prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from synthgen.bench import published
from synthgen.bench.cells import Cell, Tally, tallied
from synthgen.bench.draw import Bars, Series, bars, curves
from synthgen.bench.estimates import pooled
from synthgen.bench.lab import Lab, Trial
from synthgen.bench.section import (
    Figure,
    Ratio,
    Section,
    Table,
    adapter_line,
    estimate,
    growth,
    least_n,
    of,
    percent,
    read_coverage,
    read_entropy,
    read_format,
    read_listed,
)
from synthgen.tables import read_table, read_weights

NUMBER = 1
RECIPES = {
    published.NUMBER: ("random-number", "number"),
    published.NAMES: ("baby-names", "names"),
}  # with adapter
RANKS = 200


def run(lab: Lab) -> list[Cell]:
    """Baseline, tuned and natural, of both tasks and all seeds."""
    trials: list[Trial] = []
    natural: list[Cell] = []
    for task, (file, adapter) in RECIPES.items():
        recipe = lab.recipe(file)
        target = targets(lab, task)
        questions = lab.questions(recipe, adapter, task)
        questions = tuple(replace(one, label=task, support=frozenset(target)) for one in questions)
        for seed in lab.seeds:
            tuned = lab.tuned(recipe, seed)[adapter]
            trials.append(Trial(NUMBER, f"{task} baseline", seed, questions))
            trials.append(Trial(NUMBER, f"{task} tuned", seed, questions, tuned))
            natural.append(drawn(task, target, lab.options.n, seed))
    return [*lab.measured(trials), *natural]


def targets(lab: Lab, task: str) -> dict[str, float]:
    """What is meant: every number alike; the register that the 200 names were drawn from."""
    if task == published.NUMBER:
        return {str(i): 0.1 for i in range(1, 11)}
    return register(lab)


def register(lab: Lab) -> dict[str, float]:
    """Baby name → share."""
    path = lab.options.recipes / "lists" / "register.csv"
    columns = read_table(path)
    return dict(zip(map(str, columns["name"]), read_weights(path, columns["weight"]), strict=True))


def drawn(task: str, target: Mapping[str, float], n: int, seed: int) -> Cell:
    """`n` draws from the target itself: what no model can beat but by luck."""
    shares = np.array(list(target.values()))
    counts = np.random.default_rng([NUMBER, seed]).multinomial(n, shares / shares.sum())
    listed = {value: int(count) for value, count in zip(target, counts, strict=True) if count}
    return Cell(NUMBER, f"{task} natural", seed, tallied([Tally(task, task, n, n, listed, {}, len(target))]))


def section(cells: Sequence[Cell]) -> Section:
    """Both tasks beside the published numbers."""
    rows, theirs, ratios = [], [], []
    for task in RECIPES:
        at = least_n(cells, task)
        for condition in ("baseline", "tuned", "natural"):
            name = f"{task} {condition}"
            rows.append(
                (
                    task,
                    condition,
                    estimate(cells, name, task, read_entropy, at).text(),
                    estimate(cells, name, task, read_coverage, at).text(0),
                    percent(estimate(cells, name, task, read_format, at)),
                    percent(estimate(cells, name, task, read_listed, at)),
                )
            )
        for model, pair in published.SINGLE[task].items():
            entropy = "–" if pair.entropy is None else f"{pair.entropy[0]:.2f} → {pair.entropy[1]:.2f}"
            theirs.append((task, model, entropy, f"{pair.coverage[0]:g} → {pair.coverage[1]:g}"))
        theirs.append(
            (task, "natural", f"{published.NATURAL[task][0]:.2f}", f"{published.NATURAL[task][1]:g}")
        )
        pairs = published.SINGLE[task].items()
        before, after = f"{task} baseline", f"{task} tuned"
        ratios += [
            Ratio(f"{task}, tuned on it", "entropy", growth(cells, before, after, task, read_entropy, at),
                  {model: pair.entropy_ratio for model, pair in pairs}),
            Ratio(f"{task}, tuned on it", "coverage", growth(cells, before, after, task, read_coverage, at),
                  {model: pair.coverage_ratio for model, pair in pairs}),
        ]  # fmt: skip
    tuned = [cell for cell in cells if cell.condition.endswith("tuned")]
    n = least_n(cells, published.NUMBER), least_n(cells, published.NAMES)
    return Section(
        NUMBER,
        "Single tasks",
        (
            "Each prompt is tuned alone; *natural* are draws from the target itself: whole numbers all alike, names "
            "from the register (recipes/paper/make_lists.py) of which tuning sees 200 draws.",
            f"Tuning: {adapter_line(tuned)}.",
        ),
        (
            Table(
                f"Measured: entropy (nats) and coverage of {n[0]:,} numbers and {n[1]:,} names",
                ("task", "condition", "entropy", "coverage", "format rate", "on the list"),
                tuple(rows),
                "For names the list is the whole register: other names are real ones too, or garbled.",
            ),
            Table(
                f"Published ({published.SOURCE}), of 1,000",
                ("task", "model", "entropy", "coverage"),
                tuple(theirs),
            ),
        ),
        (_numbers(cells), _names(cells)),
        tuple(ratios),
        facts={
            "at": dict(zip(RECIPES, n, strict=True)),
            "tuning": [cell.content["adapter"] for cell in tuned],
        },
    )


def _numbers(cells: Sequence[Cell]) -> Figure:
    shown = []
    for condition in ("baseline", "tuned"):
        counts = pooled([cell.tallies[0].counts for cell in of(cells, f"{published.NUMBER} {condition}")])
        total = sum(counts.values())
        shares = tuple(counts.get(str(i), 0) / total for i in range(1, 11))
        shown.append(Bars(condition, shares))
    svg = bars("share of each number from 1 to 10", [str(i) for i in range(1, 11)], shown, 0.1, "all alike")
    return Figure(
        "1-numbers.svg", "A random number from 1 to 10: share of each answer, all seeds together.", svg
    )


def _names(cells: Sequence[Cell]) -> Figure:
    lines = []
    for condition in ("baseline", "tuned", "natural"):
        counts = pooled([cell.tallies[0].counts for cell in of(cells, f"{published.NAMES} {condition}")])
        total = sum(counts.values())
        points = [(float(i), n / total) for i, n in enumerate(list(counts.values())[:RANKS], 1)]
        lines.append(
            Series(condition, tuple((x, y, y, y) for x, y in points), is_dashed=condition == "natural")
        )
    svg = curves(
        "share of each name, by rank",
        "rank of the name (log scale)",
        "share (log scale)",
        lines,
        log_x=True,
        log_y=True,
    )
    return Figure("1-names.svg", "Baby names: share of the most frequent name, the second, and so on.", svg)
