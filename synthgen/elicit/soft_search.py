"""Soft prompts by gradient descent on their vectors, many at once: restarts of one target, or targets of a study.

Every row has its own vectors and loss, and nothing is shared between rows: Adam works number by number. A row keeps
the vectors of its least loss.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synthgen.elicit.config import SoftConfig
from synthgen.elicit.frame import Frame
from synthgen.elicit.goal import OnStep, SearchStep, StoppedBy, silent
from synthgen.elicit.objective import cross_entropies, embed, gradients
from synthgen.elicit.soft_model import embedding_scale, random_vectors
from synthgen.pace import learning_rate
from synthgen.trie import TokenTrie

GAIN = 1e-3  # relative fall of the mean loss's excess that counts as one
STALE_STEPS = 50  # without a gain, after which a search ends


@dataclass(frozen=True, eq=False)
class SoftFound:
    """The best vectors of every row, (B, n, H), and what they reach; losses in nats, (B,)."""

    vectors: Tensor
    start: Tensor
    losses: Tensor
    steps: int
    stopped_by: StoppedBy
    curve: tuple[SearchStep, ...]
    elapsed_s: float


def search_soft(
    model: Any,
    frame: Frame,
    trie: TokenTrie,
    config: SoftConfig,
    masses: Tensor | None = None,
    on_step: OnStep = silent,
) -> SoftFound:
    """Descend from random tokens: `config.restarts` rows of one target, or one row for each of `masses`, (B, N).

    Ends when the best row (with `masses`: every row) is at `config.kl`, or the mean loss falls no more.
    """
    started = time.perf_counter()
    n_rows = config.restarts if masses is None else len(masses)
    vectors = torch.stack(
        [random_vectors(model, config.n_virtual, config.seed + row) for row in range(n_rows)]
    )
    around = [
        embed(model, torch.tensor(ids, dtype=torch.long, device=model.device))
        for ids in (frame.before, frame.after)
    ]
    before, after = (part.float().expand(n_rows, -1, -1) for part in around)
    n_before = before.shape[1]
    place = slice(n_before, n_before + config.n_virtual)
    optimum = _optimum(trie, masses, n_rows, vectors.device)
    rate = config.lr * embedding_scale(model)
    optimizer = torch.optim.Adam([vectors.requires_grad_()], lr=rate, eps=config.adam_eps)
    watch = _Watch(config, optimum, all_rows=masses is not None)
    stopped_by: StoppedBy = "steps"
    curve: list[SearchStep] = []
    for step in range(1, config.steps + 1):
        prompts = torch.cat([before, vectors.detach(), after], 1).to(model.dtype)
        losses, slopes = gradients(model, prompts, trie, masses, config.pack_nodes, config.batch_tokens)
        verdict = watch.saw(losses, vectors)
        curve.append(watch.step(step, time.perf_counter() - started))
        on_step(curve[-1])
        if verdict is not None:
            stopped_by = verdict
            break
        vectors.grad = slopes[:, place].float()
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate(config, step) / config.lr
        optimizer.step()
    if stopped_by == "steps":
        prompts = torch.cat([before, vectors.detach(), after], 1).to(model.dtype)
        watch.saw(
            cross_entropies(model, prompts, trie, masses, config.pack_nodes, config.batch_tokens), vectors
        )
    return SoftFound(
        watch.vectors,
        watch.start,
        watch.best,
        len(curve),
        stopped_by,
        tuple(curve),
        time.perf_counter() - started,
    )


def best_row(found: SoftFound) -> int:
    """The row of the least loss."""
    return int(found.losses.argmin())


class _Watch:
    """Every row's best so far, and whether it is time to stop."""

    def __init__(self, config: SoftConfig, optimum: Tensor, all_rows: bool) -> None:
        self.config, self.optimum = config, optimum
        self._enough: Callable[[Tensor], Tensor] = torch.all if all_rows else torch.any
        self._whole: Callable[[Tensor], Tensor] = torch.mean if all_rows else torch.min
        self.start = self.best = torch.empty(0)
        self.vectors = torch.empty(0)
        self._mark = float("inf")
        self._n_stale = 0

    @torch.no_grad()
    def saw(self, losses: Tensor, vectors: Tensor) -> StoppedBy | None:
        """Losses, (B,), of vectors, (B, n, H)."""
        if not len(self.best):
            self.start, self.best, self.vectors = losses, losses.clone(), vectors.detach().clone()
        better = losses < self.best
        self.best = torch.where(better, losses, self.best)
        self.vectors = torch.where(better[:, None, None], vectors.detach(), self.vectors)
        excess = self.best - self.optimum
        if self.config.kl is not None and bool(self._enough(excess <= self.config.kl)):
            return "kl"
        whole = float(self._whole(excess))
        if whole < (1 - GAIN) * self._mark:
            self._mark, self._n_stale = whole, 0
            return None
        self._n_stale += 1
        return "stale" if self._n_stale >= STALE_STEPS else None

    def step(self, step: int, elapsed_s: float) -> SearchStep:
        """What progress shows."""
        kl, optimum = float(self._whole(self.best - self.optimum)), float(self.optimum.mean())
        return SearchStep(step, self.config.steps, kl + optimum, optimum, kl, elapsed_s)


def _optimum(trie: TokenTrie, masses: Tensor | None, n_rows: int, device: torch.device) -> Tensor:
    """(B,) entropy of every row's target."""
    if masses is None:
        return torch.full((n_rows,), trie.entropy(), device=device)
    entropies: Tensor = torch.special.entr(masses.double()).sum(-1).float()
    return entropies
