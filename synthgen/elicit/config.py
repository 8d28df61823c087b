"""What a search for a prompt is told, without torch: a tuning run's settings, and a few of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from synthgen.errors import RecipeError
from synthgen.tuning_config import Schedule, TuningConfig

Kind = Literal["soft-prompt", "hard-prompt"]
Position = Literal["prefix", "infix"]

FOUND = "{found}"  # where a template takes the words that are searched …
PROMPT = "{prompt}"  # … and the message that they are added to
TEMPLATE = f"{PROMPT}\n{FOUND}"


@dataclass(frozen=True)
class SoftConfig(TuningConfig):
    """A soft prompt's settings. `lr` counts in the root mean square of the model's token embeddings.

    `rank` and `alpha` mean nothing here.
    """

    lr: float = 0.1
    schedule: Schedule = "linear"
    steps: int = 300
    weight_decay: float = 0.0
    adam_eps: float = 1e-8
    n_virtual: int = 16  # trained vectors
    position: Position = "prefix"  # before the whole prompt, as PEFT has it; infix: behind the user's message
    restarts: int = 1  # searches from other random tokens, of which the best is kept

    def __post_init__(self) -> None:
        super().__post_init__()
        _from_one("n_virtual", self.n_virtual)
        _from_one("restarts", self.restarts)

    def settings(self) -> dict[str, Any]:
        """As a tuning run's, marked as a soft prompt's."""
        return {"method": "soft-prompt"} | super().settings()


@dataclass(frozen=True)
class HardConfig(TuningConfig):
    """A hard prompt's settings: greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043), never going up.

    A step proposes `n_candidates` prompts that differ in one token, drawn from the `top_k` tokens of each place that
    the gradient likes best, and takes the best of them if it is better. Few candidates from few tokens go furthest: on
    nano, 1,920 of them brought four next-token targets to a mean KL of 6.9 nats as 20 steps of 96 out of the best 64
    tokens, 4.0 as 60 of 32, and 3.0 as 60 of 32 out of the best 16.
    """

    steps: int = 100
    n_targets: int = 16  # a fixed list: every step compares prompts on the same answers
    fresh: bool | None = False
    anchor: Literal["none", "structure", "full"] = "none"
    n_tokens: int = 12  # tokens that are searched
    template: str = TEMPLATE
    readable: bool = False  # words of letters only
    restarts: int = 2
    n_candidates: int = 32
    top_k: int = 16
    stale_steps: int = 20  # without a gain, after which a search ends

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("n_tokens", "restarts", "n_candidates", "top_k", "stale_steps"):
            _from_one(name, getattr(self, name))
        if problem := template_problem(self.template):
            raise RecipeError(f"template: {problem}")

    def settings(self) -> dict[str, Any]:
        """As a tuning run's, marked as a hard prompt's."""
        return {"method": "hard-prompt"} | super().settings()


def template_problem(template: str) -> str | None:
    """What is wrong with a template, in words; None if nothing is."""
    n_found, n_prompt = template.count(FOUND), template.count(PROMPT)
    if n_found != 1:
        return (
            f"found {n_found} times {FOUND!r} in {template!r}; expected it once, where the searched words go"
        )
    if n_prompt > 1:
        return f"found {n_prompt} times {PROMPT!r} in {template!r}; expected it once, or not at all"
    return None


def _from_one(name: str, value: int) -> None:
    if value < 1:
        raise RecipeError(f"elicit: {name} is {value!r}; expected a whole number from 1")
