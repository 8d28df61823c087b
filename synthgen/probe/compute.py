"""Draws of one task, or of several → their facts. Nothing here is drawn or decided.

Wordings are what the intervals are taken over, so tasks that stand together must have the same wordings, equally often.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from synthgen.probe import figures as f
from synthgen.probe.draws import DrawnList, SingleDraws
from synthgen.probe.facts import Entropies, ListFigures, SingleFigures, Strip, TaskFacts, plain
from synthgen.probe.tasks import Floats, Task
from synthgen.stats import entropy_chao_wang_jost, tv


def list_figures(lists: Sequence[DrawnList], rng: np.random.Generator) -> ListFigures:
    """Figures of lists of one task, or of several that have equally many in every wording."""

    def over(figure: Sequence[float], high: float = 1.0) -> f.Estimate:
        return f.mean_over(
            [(drawn.wording, value) for drawn, value in zip(lists, figure, strict=True)], high=high
        )

    target = [drawn.task.target for drawn in lists]
    counts = [np.bincount(drawn.draws, minlength=len(drawn.task.values)) for drawn in lists]
    result = f.result(list(zip(counts, target, strict=True)), rng)
    assert result is not None  # a list has all its draws
    own = sum(drawn.n_own for drawn in lists)
    return ListFigures(
        alignment=over([f.alignment(drawn.shares, p) for drawn, p in zip(lists, target, strict=True)]),
        variability=over([f.variability(drawn.shares) for drawn in lists]),
        drift=over([f.drift(drawn.shares) for drawn in lists]),
        outside=over([float(drawn.outside.mean()) for drawn in lists]),
        sharpness=over(
            [f.sharpness(drawn.shares, p) for drawn, p in zip(lists, target, strict=True)], math.inf
        ),
        result=result,
        autocorrelation=_autocorrelation(lists),
        runs=f.runs_test((drawn.draws, f.two_groups(p)) for drawn, p in zip(lists, target, strict=True)),
        temperature=f.best_temperature([(drawn.shares, p) for drawn, p in zip(lists, target, strict=True)]),
        entropies=_entropies([(drawn.task, drawn.shares, c) for drawn, c in zip(lists, counts, strict=True)]),
        own_share=own / sum(len(drawn.draws) for drawn in lists),
        endings=dict(Counter(drawn.ended for drawn in lists).most_common()),
    )


def single_figures(singles: Sequence[SingleDraws], rng: np.random.Generator) -> SingleFigures:
    """Figures of single draws of one task, or of several in the same wordings."""

    def over(figure: Sequence[float], high: float = 1.0) -> f.Estimate:
        return f.mean_over(
            [(found.wording, value) for found, value in zip(singles, figure, strict=True)], high=high
        )

    rows = [(found.shares[None], found.task.target) for found in singles]
    of_task: dict[str, list[Floats]] = {}
    for found in singles:
        of_task.setdefault(found.task.name, []).append(found.shares)
    spread = [tv(shares, np.mean(group, axis=0)) for group in of_task.values() for shares in group]
    return SingleFigures(
        alignment=over([f.alignment(shares, target) for shares, target in rows]),
        outside=over([found.outside for found in singles]),
        sharpness=over([f.sharpness(shares, target) for shares, target in rows], math.inf),
        spread=float(np.mean(spread)),
        result=f.result([(found.counts, found.task.target) for found in singles], rng),
        temperature=f.best_temperature(rows),
        entropies=_entropies([(found.task, found.shares[None], found.counts) for found in singles]),
        answered_share=float(
            sum(found.counts.sum() for found in singles) / sum(found.n_asked for found in singles)
        ),
    )


def task_facts(
    task: Task, lists: Sequence[DrawnList], singles: Sequence[SingleDraws], rng: np.random.Generator
) -> TaskFacts:
    """One task's lists and single draws."""
    said = np.sum([found.counts for found in singles], axis=0)
    drawn = np.bincount(np.concatenate([found.draws for found in lists]), minlength=len(task.values))
    first = lists[0]
    return TaskFacts(
        task.name,
        task.values,
        plain(task.target),
        list_figures(lists, rng),
        single_figures(singles, rng),
        plain(np.concatenate([found.shares for found in lists]).mean(axis=0)),
        plain(drawn / drawn.sum()),
        plain(np.mean([found.shares for found in singles], axis=0)),
        plain(said / said.sum()) if said.sum() else None,
        Strip(first.wording, tuple(plain(row) for row in first.shares), tuple(first.draws.tolist())),
    )


def recorded(lists: Sequence[DrawnList], singles: Sequence[SingleDraws]) -> tuple[Mapping[str, object], ...]:
    """P_token at every step, with what was drawn, as plain numbers."""
    found: list[Mapping[str, object]] = [
        {
            "task": drawn.task.name,
            "protocol": "list",
            "wording": drawn.wording,
            "list": drawn.number,
            "draws": drawn.draws.tolist(),
            "p_token": [plain(row) for row in drawn.shares],
            "outside": plain(drawn.outside),
            "n_own": drawn.n_own,
            "ended": drawn.ended,
        }
        for drawn in lists
    ]
    found += [
        {
            "task": single.task.name,
            "protocol": "single",
            "wording": single.wording,
            "p_token": plain(single.shares),
            "outside": round(single.outside, 6),
            "counts": single.counts.tolist(),
            "n_asked": single.n_asked,
        }
        for single in singles
    ]
    return tuple(found)


def _autocorrelation(lists: Sequence[DrawnList]) -> f.Estimate | None:
    """Pooled over all lists; its interval over the wordings that have one."""
    whole = f.autocorrelation([drawn.draws for drawn in lists])
    if whole is None:
        return None
    wordings = dict.fromkeys(drawn.wording for drawn in lists)
    by_wording = [
        (w, f.autocorrelation([drawn.draws for drawn in lists if drawn.wording == w])) for w in wordings
    ]
    known = [(wording, value) for wording, value in by_wording if value is not None]
    spread = f.mean_over(known, low=-1.0)
    return f.Estimate(whole, spread.low, spread.high)


def _entropies(rows: Sequence[tuple[Task, Floats, f.Ints]]) -> Entropies:
    """Means over tasks; a task's draws are pooled for the entropy of their source."""
    tasks = {task.name: task for task, _, _ in rows}
    counts: dict[str, f.Ints] = {}
    for task, _, found in rows:
        counts[task.name] = counts.get(task.name, np.zeros_like(found)) + found
    said = [entropy_chao_wang_jost(found) for found in counts.values() if found.sum()]
    return Entropies(
        float(np.mean([f.entropies(shares).mean() for _, shares, _ in rows])),
        float(np.mean(said)) if len(said) == len(tasks) else None,
        float(np.mean([task.entropy_nats for task in tasks.values()])),
    )
