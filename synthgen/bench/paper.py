"""The five published experiments, one after the other, and the page of their results. Read it as a table of contents.

Zhang et al., Forcing Diffuse Distributions out of Language Models, COLM 2024, arXiv 2404.10859. Adapters and cells are
kept in a work folder, so that the same command goes on where it was stopped; a section that is finished stays on
the page when only other experiments are run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from synthgen.bench import biographies, ranges, retention, single, six_tasks
from synthgen.bench.cells import Cell
from synthgen.bench.lab import EXPERIMENTS, Lab
from synthgen.bench.page import write_page
from synthgen.bench.section import Section
from synthgen.bench.stamp import stamp
from synthgen.errors import Incomplete, RecipeError
from synthgen.files import write_text, writing

_SECTION: TypeAdapter[Section] = TypeAdapter(Section)


@dataclass(frozen=True)
class Experiment:
    """How its cells are measured, and what they say."""

    run: Callable[[Lab], Sequence[Cell]]
    section: Callable[[Sequence[Cell]], Section]


ALL = {
    single.NUMBER: Experiment(single.run, single.section),
    ranges.NUMBER: Experiment(ranges.run, ranges.section),
    six_tasks.NUMBER: Experiment(six_tasks.run, six_tasks.section),
    biographies.NUMBER: Experiment(biographies.run, biographies.section),
    retention.NUMBER: Experiment(retention.run, retention.section),
}


def run_paper(lab: Lab) -> Path:
    """Run the experiments that the options name and write the page; returns its path.

    Raises:
        Incomplete: the time is up; what is finished is on the page, and the same command goes on.
        RecipeError: no such experiment, or a recipe is wrong.
    """
    if unknown := [number for number in lab.options.only if number not in ALL]:
        known = ", ".join(map(str, EXPERIMENTS))
        raise RecipeError(f"--only {unknown[0]}: no such experiment; expected some of {known}, such as 1,3")
    try:
        for number in sorted(set(lab.options.only)):
            experiment = ALL[number]
            section = experiment.section(experiment.run(lab))
            _keep(lab, replace(section, made=f"`{lab.options.command}`, {stamp()['date']}"))
    except Incomplete:
        _write(lab)
        raise
    return _write(lab)


def _write(lab: Lab) -> Path:
    """The page of all finished sections."""
    sections = [found for number in ALL if (found := _kept(lab, number)) is not None]
    options = lab.options
    return write_page(sections, options.out, f"paper-{lab.label}", lab.model_name, options.command, stamp())


def _keep(lab: Lab, section: Section) -> None:
    path = _path(lab, section.number)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, _SECTION.dump_json(section, indent=1).decode())


def _kept(lab: Lab, number: int) -> Section | None:
    """A section that was finished for this very model; None if there is none, or another version wrote it."""
    try:
        return _SECTION.validate_json(_path(lab, number).read_bytes())
    except (OSError, ValidationError):
        return None


def _path(lab: Lab, number: int) -> Path:
    return lab.work / "sections" / f"{number}-{lab.fingerprint.replace('/', '--')}.json"
