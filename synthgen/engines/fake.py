"""The engine without a model: seeded, instant, and able to fail on command. Public, for tests and dry runs.

A token is one byte of UTF-8, unless a tokenizer is given.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import cycle
from typing import Protocol

import numpy as np

from synthgen.engines.protocol import Completion, EngineInfo, FinishReason, Request, Sampling
from synthgen.errors import EngineDied, EngineError

Answer = Callable[[Request, np.random.Generator], str]  # request and its generator → what follows the prefix
Score = Callable[[str | None, Sequence[int], Sequence[int]], list[float]]  # adapter, prompt ids, answer ids


class TextCodec(Protocol):
    """Text to token ids and back."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids."""


class ByteCodec:
    """One token per byte of UTF-8."""

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of bytes; ids above 255 are left out, broken characters replaced."""
        return bytes(i for i in ids if i < 256).decode(errors="replace")


def canned(texts: Sequence[str]) -> Answer:
    """An answer function that hands out `texts` by request id, over and over."""
    return lambda request, _rng: texts[request.id % len(texts)]


class FakeEngine:
    """Answers requests from a function; what goes wrong is planted by argument.

    `answer` writes what follows the request's prefix, from a generator seeded by the request (by the adapter
    alone if the temperature is 0). Faults: `fail_rate` is the share of requests that end as "error",
    `die_after` the number of completions before `poll` raises EngineDied, `drop_after` the number after which
    requests vanish, `swap` which adapter answers for which, `swap_mixed` the same but only while requests of
    several adapters are queued. `seeds="engine"` ignores the requests' seeds.
    """

    def __init__(
        self,
        answer: Answer | Sequence[str],
        *,
        adapters: Sequence[str] = (),
        capacity: int = 256,
        sampling: Sampling | None = None,
        text: TextCodec | None = None,
        score: Score | None = None,
        fail_rate: float = 0.0,
        die_after: int | None = None,
        drop_after: int | None = None,
        swap: Mapping[str | None, str | None] | None = None,
        swap_mixed: Mapping[str | None, str | None] | None = None,
        latency_s: float = 0.0,
        seed: int = 0,
        honours_seeds: bool = True,
    ) -> None:
        self.info = EngineInfo("fake", "1", "cpu", "record" if honours_seeds else "engine")
        self.capacity = capacity
        self._answer = answer if callable(answer) else canned(answer)
        self._names: tuple[str | None, ...] = (None, *adapters)
        self._sampling = sampling or Sampling()
        self._text = text or ByteCodec()
        self._score = score
        self._fail_rate, self._die_after, self._drop_after = fail_rate, die_after, drop_after
        self._swap, self._swap_mixed = swap or {}, swap_mixed or {}
        self._latency_s = latency_s
        self._rng = np.random.default_rng(seed)
        self._seeds = np.random.default_rng([seed, 1])
        self._queue: deque[Request] = deque()
        self._n_done = 0

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; EngineError for an adapter not named at the start."""
        for request in requests:
            if request.adapter not in self._names:
                raise EngineError(f"engine fake: adapter {request.adapter!r} was not given at the start")
        self._queue.extend(requests)

    def poll(self) -> list[Completion]:
        """Answer what is queued, `capacity` requests at most."""
        if self._latency_s and self._queue:
            time.sleep(self._latency_s)
        mixed = len({request.adapter for request in self._queue}) > 1
        done: list[Completion] = []
        while self._queue and len(done) < self.capacity:
            if self._die_after is not None and self._n_done >= self._die_after:
                if done:
                    break
                raise EngineDied(f"engine fake: died after {self._n_done} completions, as it was told to")
            request = self._queue.popleft()
            self._n_done += 1
            if self._drop_after is None or self._n_done <= self._drop_after:
                done.append(self._complete(request, mixed))
        return done

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """From the `score` function; else every byte is equally likely, adapters a thousandth of a nat apart."""
        if adapter not in self._names:
            raise EngineError(f"engine fake: adapter {adapter!r} was not given at the start")
        if self._score is None:
            flat = -float(np.log(256)) - 0.001 * self._names.index(adapter)
            return [[flat] * len(answer) for answer in answers]
        return [self._score(adapter, prompt_ids, answer) for answer in answers]

    def close(self) -> None:
        """Drop what is queued."""
        self._queue.clear()

    def _complete(self, request: Request, mixed: bool) -> Completion:
        if self._rng.random() < self._fail_rate:
            return Completion(request.id, "", "error", 0, detail="planted failure")
        served = self._swap_mixed.get(request.adapter, request.adapter) if mixed else request.adapter
        served = self._swap.get(served, served)
        greedy = request.greedy or self._sampling.temperature == 0
        seed = request.seed if self.info.seeds == "record" else int(self._seeds.integers(2**63))
        rng = np.random.default_rng(0 if greedy else seed)
        answer = self._answer(replace(request, adapter=served), rng)
        ids, reason = self._cut(self._text.encode(answer))
        kept = ids[:-1] if ids and ids[-1] in self._sampling.stop_ids else ids
        text = self._text.decode([*request.prefix_ids, *kept])
        n_tokens = len(ids) + (
            reason == "stop" and len(kept) == len(ids)
        )  # an answer's end is a stop token too
        return Completion(request.id, text, reason, n_tokens, tuple(ids))

    def _cut(self, ids: list[int]) -> tuple[list[int], FinishReason]:
        stop = next((i for i, token in enumerate(ids) if token in self._sampling.stop_ids), len(ids))
        if stop >= self._sampling.max_tokens:
            return ids[: self._sampling.max_tokens], "length"
        return ids[: stop + 1], "stop"


_FIELD = re.compile(r"^\{([^{}\n]+)\}", re.MULTILINE)
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "flint", "grove", "heron", "iris", "jade")


def answers_by_hints(text: TextCodec) -> Answer:
    """An answer function of the right shape for any record prompt: values by the hints of its field lines.

    Behind a prefix it goes on with the fields that are not there yet.
    """

    @lru_cache(maxsize=64)
    def fields_of(prompt_ids: tuple[int, ...]) -> list[str]:
        return _FIELD.findall(text.decode(prompt_ids)) or ["Number - 0-9"]

    def answer(request: Request, rng: np.random.Generator) -> str:
        lines = [f"{{{_value(field, rng)}}}" for field in fields_of(request.prompt_ids)]
        begun = text.decode(request.prefix_ids)
        if not begun:
            return "\n".join(lines)
        rest = "".join(f"\n{line}" for line in lines[begun.count("}") :])
        return rest.removeprefix(begun.rpartition("}")[2])  # which may open the next field

    return answer


def _value(field: str, rng: np.random.Generator) -> str:
    label, _, hint = field.partition(" - ")
    hint = hint.rpartition(": ")[2]
    if "YYYY-MM-DD" in hint:
        day = f"{rng.integers(1940, 2010)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
        return day + (f" {rng.integers(24):02d}:{rng.integers(60):02d}" if "HH:MM" in hint else "")
    if bounds := re.fullmatch(r"(-?\d+)-(-?\d+)", hint):
        return str(rng.integers(int(bounds[1]), int(bounds[2]) + 1))
    if hint == "whole number":
        return str(rng.integers(1000))
    if hint == "number" or re.fullmatch(r"0\.0+", hint):
        return f"{rng.uniform(1, 100):.{len(hint) - 2 if hint != 'number' else 2}f}"
    if "/" in hint:
        return str(rng.choice(hint.split("/")))
    words = [
        word for word, _ in zip(cycle(rng.permutation(_WORDS)), range(1 + hint.count(",")), strict=False)
    ]
    return f"{label.lower()} " + ", ".join(words)
