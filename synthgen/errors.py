"""Every error synthgen raises on purpose.

    SynthgenError            exit code 1: a fault of the run
    ├── RecipeError          exit code 2: the recipe, schema, target or command line is wrong
    ├── GateError            exit code 3: the data is not what was asked for
    ├── Incomplete           exit code 4: stopped early, resumable by the same command
    ├── EngineError          1: the engine cannot start, or answers with the wrong adapter
    │   └── EngineDied       1: it died or hung while it worked; a fresh one may go on
    ├── AdapterError         2: an adapter does not belong to this model, prompt or rank
    ├── TuningError          1: tuning made nothing better, so there is no adapter
    └── SinkError            1: the output folder cannot be written, or is another run's

A message is one line: place, what was found, what was expected, the remedy. A fault of a record is
no error at all: it is a `Rejection`, and is written down (see validation.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class SynthgenError(Exception):
    """Base of the tree; the command line prints its message as one line and exits with `exit_code`."""

    exit_code = 1
    summary: Mapping[str, object] | None = None  # what the run had done by then, for machines


class RecipeError(SynthgenError):
    """One or more faults in what the user wrote; `problems` holds one line per fault."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class GateError(SynthgenError):
    """A gate of the recipe failed; the data stays on disk, marked as failed (no `_SUCCESS`)."""

    exit_code = 3


class Incomplete(SynthgenError):
    """The run stopped before the last record; the same command continues it."""

    exit_code = 4
    by_signal = False  # told to stop, rather than short of records


class EngineError(SynthgenError):
    """The engine could not start, died, or failed its canary."""


class EngineDied(EngineError):
    """The engine died, hung, or ran out of memory; what it had not answered can be asked of a fresh one."""

    def __init__(self, message: str, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory  # then the fresh one is asked for less at once


class AdapterError(SynthgenError):
    """An adapter does not fit the base model, the prompt or the engine."""

    exit_code = 2


class TuningError(SynthgenError):
    """Tuning came to an end with nothing better than the untuned model."""


class SinkError(SynthgenError):
    """The output folder cannot be used."""
