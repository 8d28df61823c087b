"""One engine made of several: deaths cost time and nothing else, up to a bound that is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Request
from synthgen.engines.supervised import IN_A_ROW, IN_ALL, LEAST_CAPACITY, SupervisedEngine
from synthgen.errors import EngineDied, EngineError, Incomplete


class Mortal(FakeEngine):
    """Answers ten at a time; ends by an error after `lives_for` completions."""

    def __init__(self, lives_for: int | None, death: Exception, capacity: int) -> None:
        super().__init__(lambda request, rng: f"{{{rng.integers(1000)}}}", capacity=capacity)
        self.lives_for, self.death = lives_for, death
        self.asked: list[Request] = []
        self.n_closed = 0

    def submit(self, requests: Sequence[Request]) -> None:
        self.asked += requests
        super().submit(requests)

    def poll(self) -> list[Completion]:
        if self.lives_for is not None and self._n_done >= self.lives_for and self._queue:
            raise self.death
        wide, self.capacity = self.capacity, 10
        done = super().poll()
        self.capacity = wide
        return done

    def close(self) -> None:
        self.n_closed += 1


def lives(*spans: int | None, death: Exception | None = None) -> tuple[Callable[[int], Mortal], list[Mortal]]:
    """A function that opens engines of these life spans in turn, and the list of those it has opened."""
    opened: list[Mortal] = []
    following: Iterator[int | None] = iter(spans)

    def open_engine(capacity: int) -> Mortal:
        opened.append(Mortal(next(following), death or EngineDied("engine mortal: gone"), capacity))
        return opened[-1]

    return open_engine, opened


def ask(engine: SupervisedEngine, n: int) -> dict[int, Completion]:
    engine.submit([Request(i, (1,), None, i) for i in range(n)])
    done: list[Completion] = []
    while finished := engine.poll():
        done += finished
    assert sorted(one.id for one in done) == list(range(n))
    return {one.id: one for one in done}


def test_every_request_is_answered_once_and_as_without_deaths() -> None:
    whole = ask(SupervisedEngine(lives(None)[0], 50), 95)
    open_engine, opened = lives(20, 0, 40, None)
    notes: list[str] = []
    engine = SupervisedEngine(open_engine, 50, notes.append)
    assert "restarts" not in engine.info.settings
    assert ask(engine, 95) == whole
    assert [len(one.asked) for one in opened] == [95, 75, 75, 35]
    assert engine.info.settings["restarts"] == 3
    engine.close()
    assert [one.n_closed for one in opened] == [1, 1, 1, 1]
    assert notes == [f"engine mortal: gone; opening a fresh engine (restart {i})" for i in (1, 2, 3)]


def test_deaths_without_an_answer_are_bounded() -> None:
    open_engine, opened = lives(10, *[0] * 50)
    engine = SupervisedEngine(open_engine, 50)
    says = (
        r"engine mortal: gone; so it went 4 times, 4 in a row without an answer; .*run the same command again"
    )
    with pytest.raises(EngineDied, match=says):
        ask(engine, 30)
    assert len(opened) == 1 + IN_A_ROW


def test_deaths_at_the_start_are_bounded_too() -> None:
    n_opened = 0

    def open_engine(capacity: int) -> FakeEngine:
        nonlocal n_opened
        n_opened += 1
        raise EngineDied("engine mortal: stillborn")

    with pytest.raises(EngineDied, match="stillborn; so it went 4 times"):
        SupervisedEngine(open_engine, 50)
    assert n_opened == 1 + IN_A_ROW


def test_deaths_between_answers_are_bounded_over_the_run() -> None:
    open_engine, opened = lives(*[10] * 50)
    with pytest.raises(EngineDied, match=f"so it went {IN_ALL + 1} times, 1 in a row"):
        ask(SupervisedEngine(open_engine, 50), 1000)
    assert len(opened) == 1 + IN_ALL


def test_failed_requests_are_no_progress() -> None:
    class Failing(Mortal):
        def poll(self) -> list[Completion]:
            return [Completion(one.id, "", "error", 0, detail="x") for one in super().poll()]

    opened: list[Failing] = []

    def open_engine(capacity: int) -> Failing:
        opened.append(Failing(10, EngineDied("engine mortal: gone"), capacity))
        return opened[-1]

    with pytest.raises(EngineDied):
        ask(SupervisedEngine(open_engine, 50), 1000)
    assert len(opened) == 1 + IN_A_ROW


def test_out_of_memory_halves_what_is_held_at_once() -> None:
    open_engine, opened = lives(10, 20, 10, None, death=EngineDied("engine mortal: full", out_of_memory=True))
    notes: list[str] = []
    engine = SupervisedEngine(open_engine, 50, notes.append)
    ask(engine, 100)
    assert [one.capacity for one in opened] == [50, 25, LEAST_CAPACITY, LEAST_CAPACITY]
    assert engine.capacity == LEAST_CAPACITY
    assert "with 25 requests at once instead of 50 (restart 1)" in notes[0]
    assert "requests at once" not in notes[2]
    small, opened = lives(0, None, death=EngineDied("engine mortal: full", out_of_memory=True))
    ask(SupervisedEngine(small, 4), 10)
    assert [one.capacity for one in opened] == [4, 4]


@pytest.mark.parametrize("error", [EngineError("mixed up"), Incomplete("stopped"), KeyboardInterrupt()])
def test_only_deaths_are_worth_another_try(error: Exception) -> None:
    open_engine, opened = lives(0, None, death=error)
    with pytest.raises(type(error)):
        ask(SupervisedEngine(open_engine, 50), 5)
    assert len(opened) == 1
