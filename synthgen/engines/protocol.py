"""What an engine is asked and what it answers: the seam between the plan and any model server.

An engine takes requests, works on many at once and hands completions back as they finish, in any order.
Everything is keyed by record id, never by prompt text: in one run all prompts are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn; the same for every request of an engine. Nothing is taken from the model's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: no limit
    max_tokens: int = 160
    stop_ids: tuple[int, ...] = ()  # generation ends after any of these tokens
    min_p: float = 0.0  # least probability, as a part of the likeliest token's; 0: off (Nguyen et al. 2024)
    typical_p: float = 1.0  # mass of the locally typical tokens kept; 1: off (Meister et al. 2023)


@dataclass(frozen=True, slots=True)
class Request:
    """One record to generate."""

    id: int
    prompt_ids: tuple[int, ...]  # the chat template already applied
    adapter: str | None  # a name given to the engine at start; None is the base model
    seed: int  # 0 <= seed < 2**63; honoured if the engine's `seeds` is "record"
    prefix_ids: tuple[
        int, ...
    ] = ()  # answer tokens forced before the model goes on; part of the completion's text
    greedy: bool = False  # the likeliest token at every step, whatever the engine's sampling: for probes


@dataclass(frozen=True, slots=True)
class Completion:
    """The answer to one request: exactly one per request, with the request's id."""

    id: int
    text: str  # decoded answer without the stop token, prefix included
    finish_reason: FinishReason
    n_tokens: int  # generated tokens, the stop token included, the prefix not
    token_ids: tuple[int, ...] = ()
    detail: str = ""  # for "error": what went wrong with this request


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the manifest and the report say about the engine."""

    name: str  # "vllm", "transformers", "fake"
    version: str
    device: str  # "cpu", "cuda:NVIDIA H100", …
    seeds: Literal[
        "record", "engine"
    ]  # what a request's seed decides: its record, or nothing (one seed per engine)
    settings: dict[str, str | int | float | bool] = field(default_factory=dict)


class Engine(Protocol):
    """A model that generates; see engines/fake.py for the smallest one and tests/engines for the contract."""

    info: EngineInfo
    capacity: int  # requests worth holding at once; `submit` accepts more, but gains nothing

    def submit(self, requests: Sequence[Request]) -> None:
        """Queue requests; returns at once. Unknown adapters raise EngineError."""

    def poll(self) -> list[Completion]:
        """Work until at least one request has finished and return what has; [] only if nothing is queued."""

    def score(
        self, prompt_ids: Sequence[int], answers: Sequence[Sequence[int]], adapter: str | None = None
    ) -> list[list[float]]:
        """Natural-log probability of each answer token given the prompt and the answer's tokens before it."""

    def close(self) -> None:
        """Free the model; calling it twice is fine."""
