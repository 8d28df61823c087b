"""What has been measured so far: one small JSON file per experiment, condition and seed, so that a run can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from synthgen.bench.estimates import Measured, coverage, entropy, share
from synthgen.files import write_text, writing


@dataclass(frozen=True)
class Tally:
    """The answers to one prompt: how many held their format, and how often each value came."""

    label: str  # of the prompt, within its experiment
    task: str  # the task that it belongs to
    attempted: int  # prompts answered once
    held: int  # of them, answers of the right form
    listed: Mapping[
        str, int
    ]  # values on the task's list; one per prompt, with further tries where one failed
    other: Mapping[str, int] = field(default_factory=dict)  # well-formed values that the list lacks
    n_listed: int = 0  # length of that list; 0: the task has none

    @cached_property
    def counts(self) -> dict[str, int]:
        """All well-formed values."""
        return {**self.listed, **self.other}

    @property
    def n(self) -> int:
        """Well-formed answers."""
        return sum(self.counts.values())

    @property
    def format_rate(self) -> Measured:
        """Of first answers."""
        return share(self.held, self.attempted)

    @property
    def listed_rate(self) -> Measured:
        """Of well-formed answers, those on the list."""
        return share(sum(self.listed.values()), self.n)

    def entropy(self, at: int | None = None) -> Measured:
        """Of all well-formed answers, or of as many as `at`; 0 without any."""
        return entropy(list(self.counts.values()), at) if self.n and at != 0 else Measured(0.0, 0.0)

    def coverage(self, at: int | None = None) -> Measured:
        """The same."""
        return coverage(list(self.counts.values()), at) if self.n and at != 0 else Measured(0.0, 0.0)

    def listed_coverage(self) -> Measured:
        """Distinct values on the list."""
        return coverage(list(self.listed.values())) if self.listed else Measured(0.0, 0.0)


@dataclass(frozen=True)
class Cell:
    """One condition of one experiment with one seed; `content` is JSON, `tallies` part of it in most."""

    experiment: int
    condition: str
    seed: int
    content: dict[str, Any]

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """The prompts' tallies."""
        return tuple(Tally(**tally) for tally in self.content.get("tallies", ()))

    def of(self, task: str) -> tuple[Tally, ...]:
        """The tallies of one task."""
        return tuple(tally for tally in self.tallies if tally.task == task)


def tallied(tallies: list[Tally], **more: object) -> dict[str, Any]:
    """A cell's content of these tallies."""
    return {"tallies": [asdict(tally) for tally in tallies], **more}


def key_of(*facts: object) -> str:
    """Sixteen hex digits that change when a cell would have to be measured again."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cells:
    """The folder of finished cells."""

    folder: Path

    def find(self, experiment: int, condition: str, seed: int, key: str) -> Cell | None:
        """A finished cell; None if there is none, or one that was measured otherwise."""
        try:
            found = json.loads(self._path(experiment, condition, seed).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not there, or not whole: it is measured again
            return None
        if not isinstance(found, dict) or found.get("key") != key:
            return None
        return Cell(experiment, condition, seed, found["content"])

    def keep(self, cell: Cell, key: str) -> Cell:
        """Write a cell down; SinkError where the disk refuses."""
        path = self._path(cell.experiment, cell.condition, cell.seed)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"key": key, "content": cell.content}, ensure_ascii=False) + "\n")
        return cell

    def _path(self, experiment: int, condition: str, seed: int) -> Path:
        name = condition.replace(" ", "-").replace("–", "-")
        return self.folder / f"{experiment}-{name}-s{seed}.json"
