"""What a tuning run is told; light, so that whether an adapter is still good is decided without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from synthgen.errors import RecipeError

ALGORITHM = 1  # raised when the same settings would give another adapter

Anchor = Literal["none", "structure", "full"]
Schedule = Literal["constant", "linear"]

# These change how fast an adapter is made, or by how much rounding differs, not what is asked for.
_PACE = ("pack_nodes", "batch_tokens", "device", "bf16")


@dataclass(frozen=True)
class TuningConfig:
    """Settings of one adapter; a step is one optimiser step on one prompt, over all of its targets."""

    rank: int = 4
    alpha: float | None = None  # None: 2 · rank
    lr: float = 2e-3
    schedule: Schedule = "linear"  # falls to 0 at `steps`; "constant" as published
    warmup_steps: int = 5
    steps: int = 120
    weight_decay: float = 0.01
    adam_eps: float = 1e-5
    clip_norm: float = 1.0

    n_targets: int = 210  # of a fixed list; where tuples are fresh, at most this many per step
    fresh_per_step: int = 96
    fresh: bool | None = None  # new tuples at every step; None: where the source can, and gamma is not set

    gamma: float | None = None  # stop once a pass's loss ≤ (1 + gamma) · optimum; a fixed list only
    kl: float | None = None  # stop once KL (of the declared fields, where tuples are samples) ≤ this, nats
    patience: int | None = None  # stop after this many looks at held-out tuples without a gain

    anchor: Anchor = "full"
    anchor_weight: float = 1.0
    anchor_pool: int = 256  # answers sampled from the base model before tuning
    anchor_contexts: int = 16  # of them per step

    look_every: int | None = None  # steps between looks (held-out, health); None: a quarter of `steps`
    n_heldout: int = 128
    health_samples: int = 64  # whole answers sampled per look; 0: format is not watched
    format_floor: float = 0.9  # of the base model's format rate; under it tuning stops and goes back
    max_new_tokens: int = 160

    seed: int = 0
    device: str | None = None  # None: CUDA if there is one
    bf16: bool | None = None  # autocast of large tries; None: on CUDA, and on CPUs that multiply in it
    pack_nodes: int = 256
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.gamma is not None and self.fresh:
            raise RecipeError(
                "stop.gamma needs a fixed target list, but fresh is true; remove one of them "
                "(fresh tuples stop by kl, by held-out tuples or by steps)"
            )
        for name in ("rank", "steps", "n_targets", "pack_nodes", "batch_tokens"):
            if getattr(self, name) < 1:
                raise RecipeError(
                    f"tuning: {name} is {getattr(self, name)!r}; expected a whole number from 1"
                )

    @property
    def lora_alpha(self) -> float:
        """LoRA's scale numerator."""
        return self.alpha if self.alpha is not None else 2 * self.rank

    @property
    def look_steps(self) -> int:
        """Steps between looks."""
        return self.look_every or max(1, -(-self.steps // 4))

    def settings(self) -> dict[str, Any]:
        """What decides the adapter, as JSON values; pace and device left out."""
        return {k: v for k, v in asdict(self).items() if k not in _PACE}

    def is_fresh(self, source_is_fresh: bool) -> bool:
        """Whether tuples are drawn anew at every step."""
        if self.fresh is None:
            return source_is_fresh and self.gamma is None
        return self.fresh and source_is_fresh


def tuning_fingerprint(
    model_fingerprint: str,
    prompt_fingerprints: Sequence[str],
    target_fingerprints: Sequence[str],
    config: TuningConfig,
) -> str:
    """Hash of everything that decides an adapter: the same hash, the same adapter, up to rounding."""
    facts = {
        "algorithm": ALGORITHM,
        "model": model_fingerprint,
        "prompts": list(prompt_fingerprints),
        "targets": list(target_fingerprints),
        "settings": config.settings(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
