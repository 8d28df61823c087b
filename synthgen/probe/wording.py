"""How a probe's figures are written: one spelling for page and terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synthgen.probe import thresholds as limit
from synthgen.probe.advice import beside, p_value, percent, shown
from synthgen.probe.facts import (
    Entropies,
    FieldFacts,
    ListFigures,
    ProbeFacts,
    RecipeFacts,
    SingleFigures,
    TaskFacts,
)
from synthgen.probe.figures import Result

Pairs = list[tuple[str, str]]
LIST_HEADS = (
    "task", "A (95 %)", "V (95 %)", "drift", "outside", "TV of a list's result", "floor", "", "autocorrelation", "runs z", "p",
    "H token", "H draws", "H task", "own draws",
)  # fmt: skip
SINGLE_HEADS = (
    "task", "A (95 %)", "wordings apart", "outside", "TV of the result", "floor", "", "H token", "H draws", "H task",
    "best temperature", "A then", "answered",
)  # fmt: skip
FIELD_HEADS = (
    "field", "TV of mean P_token", "A (95 %)", "tied to what stands before", "outside", "TV of its answers", "floor", "",
    "H token", "H target", "best temperature", "A then", "prefixes",
)  # fmt: skip
REFERENCE_HEADS = ("sampler", "what it does", "A", "V", "drift", "result", "verdict")
ALL = "all tasks"
PLANE_NOTE = (
    "Filled: the model over all tasks, with its 95 % intervals; faint: its single tasks. Open: samplers whose law is known, "
    "simulated on the same tasks. Dotted: V = 2·A, above which nothing can be. The two regions are synthgen's own thresholds "
    f"(E-like: A ≤ {limit.ALIGNED:g} and V ≤ {limit.STABLE:g}; D-like: A ≥ {limit.MISALIGNED:g} and V ≥ "
    f"{limit.UNSTABLE:g}), not published ones."
)
METHOD = (
    (
        "P_token",
        "The model's probability of each stated value as the next one, renormalised over the stated values; a value's "
        "probability is the product of its tokens', closing brace included. Always at temperature 1 with nothing cut off.",
    ),
    ("mass outside", "What the model puts on anything else once the value's opening brace is written."),
    (
        "A",
        "Alignment: mean over steps of the total variation TV = ½ Σ |p − q| between P_token and the stated distribution.",
    ),
    ("V", "Variability: mean over neighbouring steps of the TV between their P_token."),
    ("drift", "TV between the mean P_token of a list's first half and of its second."),
    (
        "long lists",
        "The model writes them itself as far as it keeps to the form and the stated values. Where it breaks off, the next "
        "value is drawn from P_token and the list goes on: every list is an exact sample of the model, restricted to the "
        "stated values. Own draws: the share that it wrote itself.",
    ),
    (
        "single draws",
        "All have the same prompt, so P_token is exact; the draws are the model's own answers. Answered: those that were one "
        "stated value in the form asked for.",
    ),
    (
        "result and floor",
        "Mean TV of single lists (single draws: of all draws in one wording) to the stated distribution. Floor: between "
        "which values the results of 90 % of exact samplers with as many draws lie, simulated. Under it the draws make up "
        "for each other; above it they are off.",
    ),
    (
        "autocorrelation",
        "Of values without an order: how much more often a draw repeats the one before than in a random order of the same "
        "list, as a share of how much more it could.",
    ),
    (
        "runs",
        "Wald–Wolfowitz test: the values are cut into two groups of about equal stated chance, and stretches of the same "
        "group are counted; pooled over lists. z under 0: draws stick. Above: they take turns.",
    ),
    (
        "H",
        "Entropy in nats: mean over steps of P_token's, of the draws' source (Chao, Wang & Jost 2013), of what is stated.",
    ),
    (
        "intervals",
        "95 %, Student's t over the wordings (each the mean of its lists): what another wording might give. Of a recipe's "
        "field: over prefixes, by bootstrap for the TV of mean P_token.",
    ),
    (
        "best temperature",
        "Where P_token raised to 1/temperature, over the recorded steps, has the least A; exact where a value is one token, "
        "with the prefixes of temperature 1.",
    ),
    (
        "verdict",
        "D- and E-models: arXiv 2601.17865, whose own cut-offs are not known here. The regions, and the words for what a "
        "model does, are synthgen's own; their reasons stand in probe/thresholds.py.",
    ),
    (
        "a recipe's field",
        "P_token over the declared values after prefixes of the model's own answers. Its mean is what a long run of records "
        "would show. Tied to what stands before: mean TV between P_token after one prefix and that mean.",
    ),
)


def subject(facts: ProbeFacts) -> str:
    """What was probed."""
    return f"{facts.model} with {facts.adapter}" if facts.adapter else facts.model


def headline(facts: ProbeFacts) -> str:
    """The verdict in a sentence."""
    label = "Between D-like and E-like" if facts.verdict.label == "between" else facts.verdict.label
    return f"{label}: {facts.verdict.sentence}."


def verdict_note(facts: ProbeFacts) -> str:
    """How sure the verdict is."""
    others = facts.verdict.others
    if others:
        return (
            f"The intervals of A and V also allow: {', '.join(others)}. More wordings and lists would tell."
        )
    known = facts.lists.alignment.low is not None
    return "The intervals of A and V allow no other verdict." if known else "One wording only: no intervals."


def numbers(facts: ProbeFacts) -> Pairs:
    """The figures at the top."""
    lists, singles = facts.lists, facts.singles
    return [
        ("A, lists", shown(lists.alignment)),
        ("V, lists", shown(lists.variability)),
        ("A, single draws", shown(singles.alignment)),
        ("TV of a list's result", f"{lists.result.value:.3f}"),
        ("its noise floor", _floor(lists.result)),
        ("mass outside", f"{percent(lists.outside.value)} / {percent(singles.outside.value)}"),
    ]


def task_figures(task: TaskFacts) -> Pairs:
    """The figures of one task."""
    lists, singles = task.lists, task.singles
    return [
        ("A, lists", shown(lists.alignment)),
        ("V", shown(lists.variability)),
        ("A, single", shown(singles.alignment)),
        ("TV of a list's result", f"{lists.result.value:.3f}, {lists.result.state}"),
        ("noise floor", _floor(lists.result)),
        ("entropy of P_token / task", f"{lists.entropies.token:.2f} / {lists.entropies.task:.2f}"),
    ]


def list_rows(facts: ProbeFacts) -> Iterator[list[str]]:
    """A row per task, and one of all."""
    for name, lists in [*((task.name, task.lists) for task in facts.tasks), (ALL, facts.lists)]:
        yield [name, *list_cells(lists)]


def list_cells(lists: ListFigures) -> list[str]:
    """The cells under `LIST_HEADS`, but for the first."""
    repeats, runs = lists.autocorrelation, lists.runs
    return [
        shown(lists.alignment),
        shown(lists.variability),
        f"{lists.drift.value:.2f}",
        percent(lists.outside.value),
        *_result(lists.result),
        "–" if repeats is None else f"{repeats.value:+.2f}",
        "–" if runs is None else f"{runs.z:+.1f}",
        "–" if runs is None else p_value(runs.p_value),
        *_entropies(lists.entropies),
        percent(lists.own_share),
    ]


def single_rows(facts: ProbeFacts) -> Iterator[list[str]]:
    """A row per task, and one of all."""
    for name, singles in [*((task.name, task.singles) for task in facts.tasks), (ALL, facts.singles)]:
        yield [name, *_single_cells(singles)]


def _single_cells(singles: SingleFigures) -> list[str]:
    best = singles.temperature
    return [
        shown(singles.alignment),
        f"{singles.spread:.2f}",
        percent(singles.outside.value),
        *_result(singles.result),
        *_entropies(singles.entropies),
        f"{best.value:.2f}",
        f"{best.alignment:.2f}",
        percent(singles.answered_share),
    ]


def field_rows(recipe: RecipeFacts) -> Iterator[list[str]]:
    """A row per declared field."""
    for field in recipe.fields:
        entropies = _entropies(field.entropies)
        yield [
            field.label,
            shown(field.distance),
            shown(field.alignment),
            f"{field.dependence:.2f}",
            percent(field.outside.value),
            *_result(field.result),
            entropies[0],
            entropies[2],
            f"{field.temperature.value:.2f}",
            f"{field.temperature.alignment:.2f}",
            str(field.n_prefixes),
        ]


def field_figures(field: FieldFacts) -> Pairs:
    """The figures of one field."""
    return [
        ("TV of mean P_token", shown(field.distance)),
        ("A", shown(field.alignment)),
        ("mass outside", percent(field.outside.value)),
        ("TV of its answers", beside(field.result)),
    ]


def recipe_note(recipe: RecipeFacts) -> str:
    """What the fields' figures rest on."""
    told = f"{recipe.n_whole} of {recipe.n_answers} answers had all fields." if recipe.n_answers else ""
    if recipe.temperature != 1:
        told += f" The recipe generates at temperature {recipe.temperature:g}; P_token is at temperature 1."
    return " ".join(
        part
        for part in (told.strip(), f"{recipe.note[0].upper()}{recipe.note[1:]}." if recipe.note else "")
        if part
    )


def reference_rows(facts: ProbeFacts) -> Iterator[list[str]]:
    """A row per known sampler."""
    for point in facts.references:
        figures = (f"{value:.2f}" for value in (point.alignment, point.variability, point.drift))
        yield [point.name, point.does, *figures, point.result_state, point.verdict]


def run_rows(facts: ProbeFacts) -> Iterator[tuple[str, str]]:
    """How it was probed."""
    if facts.adapter:
        yield "adapter", facts.adapter
    for name, value in facts.run.items():
        if isinstance(value, Mapping):
            yield name, ", ".join(f"{key} {inner}" for key, inner in value.items())
        else:
            yield (
                name.replace("_", " ").removesuffix(" s") + (" (s)" if name.endswith("_s") else ""),
                str(value),
            )


def _result(result: Result | None) -> list[str]:
    return ["–", "–", "no draw"] if result is None else [f"{result.value:.3f}", _floor(result), result.state]


def _floor(result: Result) -> str:
    return f"{result.floor_low:.3f}–{result.floor_high:.3f}"


def _entropies(entropies: Entropies) -> list[str]:
    said = "–" if entropies.result is None else f"{entropies.result:.2f}"
    return [f"{entropies.token:.2f}", said, f"{entropies.task:.2f}"]
