"""Engines with planted faults, as workers open them: plain data that is pickled to another process."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.engines.serving import Serving
from synthgen.errors import AdapterError
from synthgen.progress import Progress


def roll(request: Request, rng: np.random.Generator) -> str:
    """A die that is loaded by its adapter, and falls off the table one time in ten."""
    if rng.random() < 0.1:
        return "{eleven}"
    return f"{{{rng.integers(1, 6) if request.adapter else rng.integers(5, 11)}}}"


class Mortal(FakeEngine):
    """Ends its process, as a kill would, after so many completions; only the first time."""

    def __init__(
        self, adapters: tuple[str, ...], latency_s: float, dies_after: int, grave: Path | None
    ) -> None:
        super().__init__(roll, adapters=adapters, capacity=16, latency_s=latency_s)
        self._left, self._grave = dies_after, grave

    def poll(self) -> list[Completion]:
        completions = super().poll()
        self._left -= len(completions)
        if self._grave is not None and self._left <= 0:
            try:
                self._grave.touch(exist_ok=False)
            except FileExistsError:
                self._grave = None
            else:
                os._exit(9)
        return completions


@dataclass(frozen=True)
class Planted(Serving):
    """Opens a `Mortal`; `grave` is the file that says that one has died, `refusal` what opening raises."""

    latency_s: float = 0.0
    dies_after: int = 0
    grave: Path | None = None
    refusal: str = ""

    def open(
        self, progress: Progress, stopping: Callable[[], bool] = lambda: False, log: Path | None = None
    ) -> Engine:
        if self.refusal:
            raise AdapterError(self.refusal)
        progress.note("opened")
        return Mortal(tuple(self.adapters), self.latency_s, self.dies_after, self.grave)
