"""Hard prompts by greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043, algorithm 1), never going up.

The gradient of the loss by the one-hot tokens says which single swaps look good; a batch of them is evaluated
exactly, and the best is taken if it is better. A candidate counts only if its text is read back as its tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthgen.elicit.config import HardConfig
from synthgen.elicit.frame import Frame, HardFrame, first_words, searchable
from synthgen.elicit.goal import Goal, OnStep, SearchStep, StoppedBy, silent
from synthgen.elicit.objective import cross_entropies, embed, gradients
from synthgen.errors import RecipeError

_DRAWS = 8  # candidates drawn for each that is wanted; most fail to be read back in some tokenizers

Ids = tuple[int, ...]


@dataclass(frozen=True)
class HardFound:
    """The best tokens, and what they reach; losses in nats."""

    ids: Ids
    start: float  # of the random tokens that the best restart began with
    loss: float
    restarts: tuple[float, ...]  # the loss of every restart
    steps: int
    stopped_by: StoppedBy  # the best restart
    curve: tuple[SearchStep, ...]
    elapsed_s: float


def search_hard(
    model: Any,
    goals: Sequence[Goal],
    config: HardConfig,
    on_step: OnStep = silent,
    allowed: Sequence[int] | None = None,
) -> HardFound:
    """The best of `config.restarts` searches; `allowed` saves looking for the searchable tokens again.

    Raises:
        RecipeError: no tokens may be searched, or none are read back as themselves.
    """
    started = time.perf_counter()
    if allowed is None:
        allowed = searchable(goals[0].tokenizer, config.readable)
    if not allowed:
        raise RecipeError("elicit: found no token of letters only in this vocabulary; leave `readable` out")
    search = _Search(model, goals, config, allowed)
    found: list[tuple[float, Ids, float, StoppedBy]] = []
    curve: list[SearchStep] = []
    for restart in range(config.restarts):
        rng = np.random.default_rng([config.seed, restart])
        ids = first_words(search.frames, allowed, config.n_tokens, rng)
        loss = start = search.losses([ids])[0]
        stopped_by: StoppedBy = "steps"
        n_stale = 0
        for _ in range(config.steps):
            if config.kl is not None and loss - search.optimum <= config.kl:
                stopped_by = "kl"
                break
            if n_stale >= config.stale_steps:
                stopped_by = "stale"
                break
            candidates = search.candidates(ids, rng)
            losses = search.losses(candidates)
            best = int(np.argmin(losses)) if candidates else -1
            n_stale += 1
            if candidates and losses[best] < loss:
                ids, loss, n_stale = candidates[best], losses[best], 0
            curve.append(search.step(len(curve) + 1, min([loss, *(f[0] for f in found)]), started))
            on_step(curve[-1])
        found.append((loss, ids, start, stopped_by))
        if stopped_by == "kl":
            break
    loss, ids, start, stopped_by = min(found, key=lambda entry: entry[0])
    return HardFound(
        ids, start, loss, tuple(entry[0] for entry in found), len(curve), stopped_by, tuple(curve),
        time.perf_counter() - started,
    )  # fmt: skip


class _Search:
    """Losses and candidates of token sequences, over all goals."""

    def __init__(self, model: Any, goals: Sequence[Goal], config: HardConfig, allowed: Sequence[int]) -> None:
        self.model, self.goals, self.config = model, goals, config
        self.frames = [HardFrame(goal.prompt.user, config.template, goal.tokenizer) for goal in goals]
        self.optimum = sum(goal.share * goal.trie.entropy() for goal in goals)
        self.is_exact = all(goal.trie.exact for goal in goals)
        table = model.get_input_embeddings().weight
        self._barred = torch.full((len(table),), -torch.inf, device=table.device)
        self._barred[torch.tensor(list(allowed), device=table.device)] = 0.0
        self._top_k = min(config.top_k, len(allowed))

    def losses(self, candidates: Sequence[Ids]) -> list[float]:
        """Cross-entropy of the goals behind each of the candidates."""
        if not candidates:
            return []
        total = np.zeros(len(candidates))
        for goal, frame in zip(self.goals, self._frames(candidates[0]), strict=True):
            ids = torch.tensor([frame.around(one) for one in candidates], device=self.model.device)
            found = cross_entropies(
                self.model,
                embed(self.model, ids),
                goal.trie,
                None,
                self.config.pack_nodes,
                self.config.batch_tokens,
            )
            total += goal.share * found.double().cpu().numpy()
        return [float(loss) for loss in total]

    def candidates(self, ids: Ids, rng: np.random.Generator) -> list[Ids]:
        """Distinct sequences that differ from `ids` in one token and are read back as they are."""
        top = self._top(ids).cpu().numpy()  # (n, k)
        found: dict[Ids, None] = {}
        for _ in range(_DRAWS * self.config.n_candidates):
            if len(found) == self.config.n_candidates:
                break
            place = int(rng.integers(len(ids)))
            token = int(top[place, rng.integers(top.shape[1])])
            one = (*ids[:place], token, *ids[place + 1 :])
            if token != ids[place] and one not in found and all(frame.fits(one) for frame in self.frames):
                found[one] = None
        return list(found)

    def step(self, step: int, loss: float, started: float) -> SearchStep:
        """What progress shows."""
        kl = loss - self.optimum if self.is_exact else None
        n_steps = self.config.steps * self.config.restarts
        return SearchStep(step, n_steps, loss, self.optimum, kl, time.perf_counter() - started)

    def _top(self, ids: Ids) -> Tensor:
        """(n, k) tokens that would lower the loss most at each place, to first order."""
        slope = torch.zeros(len(ids), device=self.model.device)[:, None]
        for goal, frame in zip(self.goals, self._frames(ids), strict=True):
            prompt = embed(self.model, torch.tensor([frame.around(ids)], device=self.model.device))
            _, found = gradients(
                self.model, prompt, goal.trie, None, self.config.pack_nodes, self.config.batch_tokens
            )
            n_before = len(frame.before)
            slope = slope + goal.share * found[0, n_before : n_before + len(ids)].float()
        table = self.model.get_input_embeddings().weight.detach().float()  # a common factor changes no order
        top: Tensor = (self._barred - slope @ table.T).topk(self._top_k, dim=-1).indices
        return top

    def _frames(self, ids: Ids) -> list[Frame]:
        frames = [frame.frame(ids) for frame in self.frames]
        assert all(frame is not None for frame in frames)
        return [frame for frame in frames if frame is not None]
