"""A found prompt measured once more as an engine serves it: exact KL from the engine's own log-probabilities. Light."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from synthgen.elicit.goal import Goal
from synthgen.elicit.hard_prompt import served_prompt
from synthgen.errors import EngineError

if TYPE_CHECKING:
    from synthgen.adapters import AdapterManifest
    from synthgen.engines.protocol import Engine

INVENTS = ("fake",)  # engines without a model: their log-probabilities are made up


def measuring(engine: str) -> str:
    """The name of an engine that can measure; EngineError for one without log-probabilities of a model."""
    from synthgen.engines import choose

    if (name := choose(engine)) in INVENTS:
        raise EngineError(no_log_probs(name))
    return name


def served_kl(engine: str, model: str, goal: Goal, folder: Path, manifest: AdapterManifest) -> float:
    """KL(p* ‖ p) in nats of a goal's target from what an engine, opened for this, gives its answers.

    Raises:
        EngineError: the engine gives no log-probabilities, or cannot start.
    """
    from synthgen.engines import open_process_engine
    from synthgen.engines.protocol import Sampling

    name = measuring(engine)
    adapters = {folder.name: folder} if manifest.kind == "soft-prompt" else {}
    prompt = served_prompt(manifest, goal.prompt, goal.tokenizer) if not adapters else goal.prompt
    opened = open_process_engine(name, model, adapters, Sampling(stop_ids=prompt.stop_ids))
    try:
        return scored_kl(opened, goal, prompt.ids, folder.name if adapters else None)
    finally:
        opened.close()


def scored_kl(engine: Engine, goal: Goal, prompt_ids: Sequence[int], adapter: str | None) -> float:
    """The same from an open engine.

    Raises:
        EngineError: the engine gives no log-probabilities.
    """
    leaves = np.flatnonzero(goal.trie.is_leaf)
    answers = [goal.trie.token[goal.trie.path(int(leaf))].tolist() for leaf in leaves]
    try:
        scores = engine.score(prompt_ids, answers, adapter)
    except NotImplementedError:
        raise EngineError(no_log_probs(engine.info.name)) from None
    weights = goal.trie.mass[leaves]
    log_probs = np.array([sum(score) for score in scores])
    return float((weights * (np.log(weights) - log_probs)).sum())


def no_log_probs(name: str) -> str:
    """What an engine that cannot score is refused with."""
    return (
        f"engine {name!r} gives no log-probabilities of a model, so no distance to a target can be measured on it; "
        "expected vllm or transformers"
    )
