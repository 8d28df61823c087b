"""An engine whose next value is decided by a function of the values before it: every figure can be known beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synthgen.braces import join
from synthgen.engines.fake import ByteCodec
from synthgen.engines.protocol import Completion, EngineInfo, Request
from synthgen.probe.questions import Question
from synthgen.probe.samplers import Law

STOP = 256
END = "\n>"  # of every prompt
Next = Callable[[tuple[int, ...], tuple[str, ...]], Mapping[str, float]]  # prompt ids, values before → shares
OUTSIDE = "zzz"  # what is said instead of a value of the support


class ByteTokenizer(ByteCodec):
    """A token is a byte; the chat template marks the end of the message."""

    stop_ids = (STOP,)
    vocab_size = 257

    def chat(self, user: str) -> str:
        return f"{user}{END}"


class ScriptedEngine:
    """Answers and scores by one function; `n_values` are the values of a prompt's answer, `leak` the mass outside."""

    def __init__(
        self, next_value: Next, n_values: Callable[[tuple[int, ...]], int], leak: float = 0.0
    ) -> None:
        self.info = EngineInfo("scripted", "1", "cpu", "record")
        self.capacity = 64
        self._next, self._n_values, self._leak = next_value, n_values, leak
        self._queue: list[Request] = []
        self._known: dict[tuple[tuple[int, ...], tuple[str, ...], str], list[float]] = {}
        self.n_scored = 0

    def submit(self, requests: Sequence[Request]) -> None:
        self._queue.extend(requests)

    def poll(self) -> list[Completion]:
        done, self._queue = self._queue[: self.capacity], self._queue[self.capacity :]
        return [self._complete(request) for request in done]

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        self.n_scored += len(answers)
        prompt, opened = self._split(tuple(prompt_ids))
        return [self._log_probs(prompt, opened + bytes(answer).decode())[len(opened) :] for answer in answers]

    def close(self) -> None:
        self._queue.clear()

    def _complete(self, request: Request) -> Completion:
        rng = np.random.default_rng(request.seed)
        values: list[str] = []
        for _ in range(self._n_values(request.prompt_ids)):
            shares = self._next(request.prompt_ids, tuple(values))
            outside = rng.random() < self._leak
            values.append(OUTSIDE if outside else str(rng.choice(list(shares), p=list(shares.values()))))
        text = join(values)
        return Completion(request.id, text, "stop", len(text) + 1, (*text.encode(), STOP))

    def _split(self, ids: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """The prompt, and the part of an answer that was handed over behind it."""
        text = bytes(ids).decode()
        end = text.index(END) + len(END)
        return ids[:end], text[end:]

    def _log_probs(self, prompt_ids: tuple[int, ...], text: str) -> list[float]:
        """Braces and line breaks between values are certain."""
        found: list[float] = []
        before: tuple[str, ...] = ()
        for line in text.split("\n"):
            found += [0.0] * ((1 if before else 0) + len(line[:1]))  # the line break and the opening brace
            if len(line) > 1:
                found += self._value(prompt_ids, before, line[1:])
            before += (line[1:-1],)
        return found

    def _value(self, prompt_ids: tuple[int, ...], before: tuple[str, ...], closed: str) -> list[float]:
        """A byte of a value, the last being its closing brace, has the mass of the values that go on with it."""
        place = (prompt_ids, before, closed)
        if place not in self._known:
            shares = self._next(prompt_ids, before)
            masses = [(1 - self._leak) * _begins(shares, closed[: i + 1]) for i in range(len(closed))]
            pairs = zip([1.0, *masses], masses, strict=False)
            self._known[place] = [
                math.log(now / was) if was > 0 and now > 0 else -math.inf for was, now in pairs
            ]
        return self._known[place]


def _begins(shares: Mapping[str, float], typed: str) -> float:
    return sum(share for value, share in shares.items() if f"{value}}}".startswith(typed))


def by_law(law: Law, asked: Sequence[Question], n_draws: int, leak: float = 0.0) -> ScriptedEngine:
    """An engine that follows a law on the stated tasks."""
    known = {question.prompt.ids: question for question in asked}

    def n_values(prompt_ids: tuple[int, ...]) -> int:
        return n_draws if known[prompt_ids].protocol == "list" else 1

    def next_value(prompt_ids: tuple[int, ...], before: tuple[str, ...]) -> Mapping[str, float]:
        task = known[prompt_ids].task
        history = [task.values.index(value) for value in before if value in task.values]
        shares = law(task, history, n_values(prompt_ids))
        return dict(zip(task.values, shares.tolist(), strict=True))

    return ScriptedEngine(next_value, n_values, leak)
