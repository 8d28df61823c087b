"""An engine that outlives its deaths: what died unanswered is asked again of a fresh engine, a bounded number of times.

To whoever uses it, it is one engine: every request is answered exactly once, with its id and its seed, so a death
costs time and no attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from synthgen.engines import memory
from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineDied

IN_A_ROW = 3  # restarts without an answer in between
IN_ALL = 20  # restarts of one run
LEAST_CAPACITY = 16  # requests at once, however little memory there is
REMEDY = "mend what it complains of, or take another engine (generate.engine)"


class SupervisedEngine:
    """Engines of one kind, one after the other.

    Where memory ran out, the fresh engine holds half as many requests at once, `LEAST_CAPACITY` at least.
    `info.settings["restarts"]` counts the restarts, if there were any.
    """

    def __init__(
        self,
        open_engine: Callable[[int], Engine],
        capacity: int,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Open the first engine: `open_engine` gets the capacity and gives back an engine that passed its checks.

        Raises:
            EngineDied: it died too often.
            SynthgenError: whatever else `open_engine` raises; only deaths are worth another try.
        """
        self.capacity = capacity
        self._open_engine, self._note = open_engine, note
        self._in_flight: dict[int, Request] = {}
        self._n_restarts = self._n_in_a_row = 0
        self._open()

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; EngineError for an adapter not given at the start."""
        self._engine.submit(requests)
        self._in_flight.update((request.id, request) for request in requests)

    def poll(self) -> list[Completion]:
        """Work until at least one request has finished, if need be by a fresh engine; [] only if nothing is queued.

        Raises:
            EngineDied: too often; the message says how often and why.
        """
        while True:
            try:
                completions = self._engine.poll()
                break
            except EngineDied as death:
                self._engine.close()
                self._count(death)
                self._open()
        for completion in completions:
            self._in_flight.pop(completion.id, None)
        if any(completion.finish_reason != "error" for completion in completions):
            self._n_in_a_row = 0
        return completions

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """As the engine's own; a death is not retried here."""
        return self._engine.score(prompt_ids, answers, adapter)

    def close(self) -> None:
        """Close the engine of the day; calling it twice is fine."""
        self._engine.close()

    def _open(self) -> None:
        """Open an engine, the next one if it dies at that, and ask it what is unanswered."""
        while True:
            try:
                self._engine = self._open_engine(self.capacity)
                break
            except EngineDied as death:
                self._count(death)
        self._engine.submit(list(self._in_flight.values()))
        self.capacity, info = self._engine.capacity, self._engine.info
        settings = {**info.settings, "restarts": self._n_restarts} if self._n_restarts else info.settings
        self.info = replace(info, settings=settings)

    def _count(self, death: EngineDied) -> None:
        """Allow one more restart, and tell of it; EngineDied if there were enough."""
        if self._n_in_a_row == IN_A_ROW or self._n_restarts == IN_ALL:
            raise EngineDied(
                f"{death}; so it went {self._n_restarts + 1} times, {self._n_in_a_row + 1} in a row without an "
                f"answer; {memory.REMEDY if death.out_of_memory else REMEDY}, then run the same command again to go on",
                death.out_of_memory,
            ) from death
        self._n_in_a_row += 1
        self._n_restarts += 1
        less = max(min(self.capacity, LEAST_CAPACITY), self.capacity // 2)
        fewer = ""
        if death.out_of_memory and less < self.capacity:
            fewer = f" with {less} requests at once instead of {self.capacity}"
            self.capacity = less
        self._note(f"{death}; opening a fresh engine{fewer} (restart {self._n_restarts})")
