"""The results page: Markdown, its figures as SVG files, and the same numbers as JSON. Only draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from synthgen.bench import published
from synthgen.bench.section import Ratio, Section, Table
from synthgen.files import write_json, write_text, writing
from synthgen.models import BUILT_IN

STAND_IN = (
    "**nano is a small stand-in of our own making, and these are its numbers, not a language model's.** What carries "
    "over to real models: that the recipes, the exact loss, the engines and every figure on this page work as one "
    "command; the direction of the effects of tuning a prompt on its own targets; what tuning six tasks in one "
    "adapter costs. What does not: the size of any effect; that a task left out gains at all, since nano's corpus was "
    "written by us, asks all six tasks in many wordings, and was broad before it was collapsed, so that what tuning "
    "brings back lies close to the surface; that unseen wordings work, since wordings like them are in the corpus; "
    "names, places and professions it can say at all (some hundreds to a thousand each); retention on unrelated requests, "
    "which it cannot answer to begin with. For those, run the same command on a model of your own: "
    "`synthgen bench paper --model recipes/paper/gemma-7b-it.yaml`."
)
REAL = (
    "The published figures beside ours were measured on other revisions, prompts and target lists than these: compare "
    "the ratios, and only roughly. Below are the settings that the recipe names; weights and activations are bfloat16 on "
    "a GPU where the published runs used fp32."
)


def write_page(
    sections: Sequence[Section], out: Path, name: str, model: str, command: str, stamp: Mapping[str, object]
) -> Path:
    """Write `<name>.md`, `<name>.json` and the folder of figures `<name>/`; returns the page. SinkError if it cannot."""
    page = out / f"{name}.md"
    with writing(page):
        (out / name).mkdir(parents=True, exist_ok=True)
        for section in sections:
            for figure in section.figures:
                write_text(out / name / figure.file, figure.svg)
        write_text(page, render(sections, name, model, command, stamp))
        write_json(out / f"{name}.json", as_json(sections, model, command, stamp))
    return page


def as_json(
    sections: Sequence[Section], model: str, command: str, stamp: Mapping[str, object]
) -> dict[str, object]:
    """Everything on the page, measured and published numbers apart."""
    return {
        "model": model,
        "command": command,
        **stamp,
        "verdicts": [asdict(verdict) for section in sections for verdict in section.verdicts],
        "ratios": [_ratio_json(ratio) for section in sections for ratio in section.ratios],
        "experiments": {str(section.number): {"made": section.made, **section.facts} for section in sections},
    }


def render(
    sections: Sequence[Section], name: str, model: str, command: str, stamp: Mapping[str, object]
) -> str:
    """The page in Markdown; figures are looked for in the folder `name` beside it."""
    parts = [
        f"# The published experiments on {model}",
        f"`{command}`\n\n{_stamp_line(stamp)}",
        f"After {published.SOURCE}. Intervals are 95 %: over seeds (Student) where there are several, else within the "
        "seed (jackknife); both are in the JSON file beside this page. Entropy is in nats. Conditions are compared at "
        "equal numbers of answers. Published numbers stand in tables and columns of their own.",
        STAND_IN if model == BUILT_IN else REAL,
    ]
    if verdicts := [verdict for section in sections for verdict in section.verdicts]:
        rows = tuple((v.goal, v.found, "reached" if v.reached else "**not reached**") for v in verdicts)
        parts.append(_table(Table("Goals, judged by the numbers below", ("goal", "found", ""), rows)))
    if ratios := [ratio for section in sections for ratio in section.ratios]:
        parts.append(_table(_ratios(ratios)))
    for section in sections:
        parts += [
            f"## {section.number}. {section.title}",
            *([f"{section.made}."] if section.made else []),
            *section.text,
        ]
        parts += [_table(table) for table in section.tables]
        parts += [f"![{figure.title}]({name}/{figure.file})" for figure in section.figures]
    return "\n\n".join(parts) + "\n"


def _ratios(ratios: Sequence[Ratio]) -> Table:
    """After over before, ours beside the published ones."""
    rows = []
    for ratio in ratios:
        theirs = (ratio.published.get(model) for model in published.MODELS)
        rows.append(
            (
                ratio.label,
                ratio.measure,
                ratio.ours.text(),
                *("–" if x is None else f"{x:.2f}" for x in theirs),
            )
        )
    return Table(
        "How many times larger: after tuning over before",
        ("what", "measure", "here, measured", *(f"{model}, published" for model in published.MODELS)),
        tuple(rows),
    )


def _table(table: Table) -> str:
    lines = [
        f"**{table.title}**",
        "",
        _row(table.head),
        _row(["---"] * len(table.head)),
        *map(_row, table.rows),
    ]
    return "\n".join([*lines, *(["", table.note] if table.note else [])])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _stamp_line(stamp: Mapping[str, object]) -> str:
    versions = stamp["versions"]
    assert isinstance(versions, Mapping)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{stamp['date']}; {stamp['machine']}; Python {stamp['python']}; {shown}"


def _ratio_json(ratio: Ratio) -> dict[str, object]:
    return {
        "what": ratio.label,
        "measure": ratio.measure,
        "measured": ratio.ours.to_json(),
        "published": ratio.published,
    }
