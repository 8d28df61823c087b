"""What a tuning run is told: prompts with targets, and settings.

Light, so that whether an adapter is still good is decided without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synthgen.errors import RecipeError

if TYPE_CHECKING:
    from synthgen.prompt import Prompt, Tokenizer
    from synthgen.targets import TargetSource

BATCH_SIZE = 32  # answers sampled for a step of sft, unless said otherwise
ALGORITHM = 2  # raised when the same settings would give another adapter

Anchor = Literal["none", "structure", "full"]
Method = Literal["lora", "sft"]  # the exact loss over all targets, or plain cross-entropy on sampled answers
Schedule = Literal["constant", "linear"]
Scope = Literal["record", "any"]  # an adapter fits the prompts it was tuned on, or any prompt of its model

# These change how fast an adapter is made, or by how much rounding differs, not what is asked for.
_PACE = ("pack_nodes", "batch_tokens", "device", "bf16")
# Settings that say nothing where they are None or as usual, so that adapters without them are still known.
_USUAL = {"method": "lora", "batch_size": None, "tolerance": None, "tokens": None, "seconds": None}


@dataclass(frozen=True)
class TuningTask:
    """One prompt, where its targets come from, and how much it counts beside the adapter's other prompts."""

    prompt: Prompt
    source: TargetSource
    tokenizer: Tokenizer
    weight: float = 1.0
    n_targets: int | None = None  # None: the setting of the same name


def shares_of(tasks: Sequence[TuningTask]) -> list[float]:
    """Each prompt's share of the loss, sum 1."""
    total = sum(task.weight for task in tasks)
    return [task.weight / total for task in tasks]


def labels_of(tasks: Sequence[TuningTask]) -> list[str]:
    """A short name for each prompt: its schema's, numbered where several prompts ask for the same record."""
    names = [task.source.schema.name for task in tasks]
    return [
        f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


@dataclass(frozen=True)
class TuningConfig:
    """Settings of one adapter; a step is one optimiser step, over all targets of the prompts it takes."""

    rank: int = 4
    alpha: float | None = None  # None: 2 · rank
    lr: float = 2e-3
    schedule: Schedule = "linear"  # falls to 0 at `steps`; "constant" as published
    warmup_steps: int = 5
    steps: int = 120
    # 1: prompts take turns, as published. Measured on nano: five prompts at equal cost, 300 turns against 60 steps of
    # all five, have the KL of the three that know it at 0.006 against 0.107 on average.
    prompts_per_step: int = 1
    weight_decay: float = 0.01
    adam_eps: float = 1e-5
    clip_norm: float = 1.0

    method: Method = "lora"
    batch_size: int | None = None  # answers sampled for a step; sft only, None: `BATCH_SIZE`
    n_targets: int = 210  # of a fixed list; where tuples are fresh, at most this many per step
    fresh_per_step: int = 96
    fresh: bool | None = None  # new tuples at every step; None: where the source can, and gamma is not set

    gamma: float | None = None  # stop once a pass's loss ≤ (1 + gamma) · optimum; a fixed list only
    kl: float | None = None  # stop once every prompt's KL (of declared fields), at its last turn, is ≤ this
    patience: int | None = None  # stop after this many looks at held-out tuples without a gain
    # Stop once the TV of every declared field, exact, given target prefixes, is ≤ this at a look; by field, of these
    # alone. Goes on in further rounds (see pace.py) while that helps.
    tolerance: float | dict[str, float] | None = None
    tokens: int | None = None  # stop once the steps have evaluated so many, with gradient, padding included
    seconds: float | None = None  # stop once the steps have taken so long, looks left out

    anchor: Anchor = "full"
    anchor_weight: float = 1.0
    anchor_pool: int = 256  # answers sampled from the base model before tuning
    anchor_contexts: int = 16  # of them per step

    look_every: int | None = None  # steps between looks (held-out, health); None: a quarter of `steps`
    n_heldout: int = 128
    health_samples: int = 64  # whole answers sampled per look; 0: format is not watched
    format_floor: float = 0.9  # of the base model's format rate; under it tuning stops and goes back
    max_new_tokens: int = 160

    start: str | None = None  # folder of an adapter whose weights it starts from; None: a fresh one
    seed: int = 0
    device: str | None = None  # None: CUDA if there is one
    bf16: bool | None = None  # autocast of large tries; None: on CUDA, and on CPUs that multiply in it
    pack_nodes: int | None = None  # None: by the trie, see `packing`
    batch_tokens: int = 1024

    def __post_init__(self) -> None:
        if self.gamma is not None and self.fresh:
            raise RecipeError(
                "stop.gamma needs a fixed target list, but fresh is true; remove one of them "
                "(fresh tuples stop by kl, by held-out tuples or by steps)"
            )
        if problem := self._contradiction():
            raise RecipeError(f"tuning: {problem}")
        for name in ("rank", "steps", "prompts_per_step", "n_targets", "pack_nodes", "batch_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"tuning: {name} is {value!r}; expected a whole number from 1")

    def _contradiction(self) -> str | None:
        """Two settings that cannot stand together, and what to do; None if there are none."""
        if self.method == "sft":
            exact = [f"stop.{key}" for key in ("gamma", "kl", "tolerance") if getattr(self, key) is not None]
            if exact:
                return f"{exact[0]} needs the exact loss of method lora; let sft stop by steps, tokens, seconds or patience"
            if self.anchor != "none":
                return "method sft is the plain baseline, without an anchor; write anchor: none"
        elif self.batch_size is not None:
            return "batch_size is of method sft; the exact loss takes all targets in a step (n_targets)"
        if self.tolerance is not None:
            also = [
                f"stop.{key}" for key in ("patience", "tokens", "seconds") if getattr(self, key) is not None
            ]
            if also:
                return f"stop.tolerance decides how long to go on, and so does {also[0]}; keep one of them"
        return None

    @property
    def lora_alpha(self) -> float:
        """LoRA's scale numerator."""
        return self.alpha if self.alpha is not None else 2 * self.rank

    @property
    def look_steps(self) -> int:
        """Steps between looks."""
        return self.look_every or max(1, -(-self.steps // 4))

    def settings(self) -> dict[str, Any]:
        """What decides the adapter, as JSON values; pace and device left out, a start by its weights' hash."""
        settings = {"algorithm": ALGORITHM} | {k: v for k, v in asdict(self).items() if k not in _PACE}
        for key, usual in _USUAL.items():
            if settings[key] == usual:
                del settings[key]
        if self.start is None:
            del settings["start"]
        else:
            from synthgen.adapters import weights_sha256

            settings["start"] = weights_sha256(Path(self.start))
        return settings

    def is_fresh(self, source_is_fresh: bool) -> bool:
        """Whether tuples are drawn anew at every step."""
        if self.fresh is None:
            return source_is_fresh and self.gamma is None
        return self.fresh and source_is_fresh


def task_facts(tasks: Sequence[TuningTask], config: TuningConfig) -> list[dict[str, Any]]:
    """What decides an adapter about each of its prompts, as JSON values."""
    return [
        {
            "prompt": task.prompt.fingerprint,
            "targets": task.source.fingerprint,
            "n_targets": task.n_targets or config.n_targets,
            "share": share,
        }
        for task, share in zip(tasks, shares_of(tasks), strict=True)
    ]


def tuning_fingerprint(model_fingerprint: str, tasks: Sequence[TuningTask], config: TuningConfig) -> str:
    """Hash of everything that decides an adapter: the same hash, the same adapter, up to rounding."""
    facts = {
        "model": model_fingerprint,
        "prompts": task_facts(tasks, config),
        "settings": config.settings(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
