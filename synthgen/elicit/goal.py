"""What a search is after, and what it tells: prompts with the tries of their targets; steps; an outcome.

Light, and the same for soft and hard prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from synthgen.prompt import Prompt, Tokenizer
from synthgen.trie import TokenTrie

StoppedBy = Literal["kl", "stale", "steps"]


@dataclass(frozen=True)
class Goal:
    """One prompt, without what is searched, and the target of its answers; `share` of the loss, all sum to 1."""

    label: str
    prompt: Prompt
    tokenizer: Tokenizer
    trie: TokenTrie
    share: float = 1.0


@dataclass(frozen=True)
class SearchStep:
    """One step of a search, as progress shows it; figures in nats."""

    step: int  # over all restarts
    n_steps: int
    loss: float  # the best so far
    optimum: float
    kl: float | None  # None where the trie holds a sample of the target only
    elapsed_s: float
    kl_by_field: Mapping[str, float] = field(default_factory=dict)
    kl_by_prompt: Mapping[str, float] = field(default_factory=dict)


OnStep = Callable[[SearchStep], None]


def silent(_: SearchStep) -> None:
    """Tell nobody."""
