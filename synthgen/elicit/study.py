"""The study behind `elicit`: how near soft and hard prompts come to next-token distributions of every kind.

Targets: random ones on a grid of entropies, ones with outlier tokens, ones that language models produce; each of the
latter two beside a random target of its own entropy. All soft prompts are trained at once, hard ones one by one. The
prompt is the searched tokens in the model's chat template, and nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthgen.elicit.config import FOUND, HardConfig, SoftConfig
from synthgen.elicit.frame import message_prompt, searchable, soft_frame
from synthgen.elicit.goal import Goal
from synthgen.elicit.hard_search import search_hard
from synthgen.elicit.soft_search import search_soft
from synthgen.elicit.study_findings import Finding, Row, findings
from synthgen.elicit.study_models import other_targets, own_targets
from synthgen.elicit.study_targets import (
    Target,
    grid,
    outlier_distribution,
    outlier_entropies,
    random_distribution,
)
from synthgen.lora import load_model
from synthgen.models import model_fingerprint, resolve_model
from synthgen.packing import node_log_probs
from synthgen.prompt import Prompt, Tokenizer
from synthgen.tokenizers import load_tokenizer
from synthgen.trie import Floats, TokenTrie

Note = Callable[[str], None]

SMALLEST = 1e-3  # nats from either end of the range of entropies, within which no random target is made


@dataclass(frozen=True)
class Plan:
    """How much is studied. The defaults take nano well under an hour on two cores."""

    n_levels: int = 12  # of the grid of entropies
    per_level: int = 6
    outlier_levels: int = 4
    n_model: int = 20  # targets of each model
    n_tokens: int = 16  # of every prompt, soft or hard
    soft_steps: int = 400
    soft_lr: float = 0.1
    hard_steps: int = 120
    hard_candidates: int = 32
    other_steps: int = 400  # of the other model's training
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """All rows, and what they say; JSON values by `to_json`."""

    model: str
    fingerprint: str
    vocabulary: int
    plan: Plan
    rows: tuple[Row, ...]
    soft: tuple[Finding, ...]
    hard: tuple[Finding, ...]
    elapsed_s: float
    soft_s: float
    hard_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def run_study(model_name: str, plan: Plan, note: Note) -> Study:
    """Make the targets, search for all of them, and judge the findings.

    Raises:
        RecipeError: the model is an endpoint, or cannot be loaded.
    """
    from synthgen.elicit.checks import refuse_endpoint

    refuse_endpoint(model_name, "soft-prompt")
    started = time.perf_counter()
    place = resolve_model(model_name)
    tokenizer = load_tokenizer(place)
    model = load_model(place, SoftConfig())
    rng = np.random.default_rng(plan.seed)
    targets, pairs = make_targets(model, tokenizer, plan, rng)
    note(f"{len(targets)} targets over {tokenizer.vocab_size:,} tokens")
    prompt = message_prompt(tokenizer, "")
    trie = TokenTrie.from_sequences([[i] for i in range(tokenizer.vocab_size)], [1.0] * tokenizer.vocab_size)
    began = time.perf_counter()
    soft = _soft(model, prompt, tokenizer, trie, targets, plan, note)
    soft_s, began = time.perf_counter() - began, time.perf_counter()
    hard = _hard(model, prompt, tokenizer, trie, targets, plan, note)
    hard_s = time.perf_counter() - began
    log_q = node_log_probs(model, trie, prompt.ids)
    rows = tuple(
        Row(t.source, t.entropy, t.level, soft[i], hard[i], _kl(t.probabilities, log_q), pairs.get(i))
        for i, t in enumerate(targets)
    )
    largest = math.log(tokenizer.vocab_size)
    return Study(
        model=model_name,
        fingerprint=model_fingerprint(place),
        vocabulary=tokenizer.vocab_size,
        plan=plan,
        rows=rows,
        soft=tuple(findings(rows, largest, "soft")),
        hard=tuple(findings(rows, largest, "hard")),
        elapsed_s=time.perf_counter() - started,
        soft_s=soft_s,
        hard_s=hard_s,
    )


def make_targets(
    model: Any, tokenizer: Tokenizer, plan: Plan, rng: np.random.Generator
) -> tuple[list[Target], dict[int, int]]:
    """All targets, and for each that has one the number of its pair: the random target of the same entropy."""
    size = tokenizer.vocab_size
    targets = [
        Target("random", h, random_distribution(h, size, rng), level=h)
        for h in grid(size, plan.n_levels)
        for _ in range(plan.per_level)
    ]
    least, most = outlier_entropies(size)
    marks = [least + (most - least) * (i + 0.5) / plan.outlier_levels for i in range(plan.outlier_levels)]
    matched = [
        Target("outliers", h, outlier_distribution(h, size, rng))
        for h in marks
        for _ in range(plan.per_level)
    ]
    matched += own_targets(model, tokenizer, plan.n_model, rng)
    matched += other_targets(tokenizer, plan.n_model, rng, plan.other_steps)
    pairs = {}
    for target in matched:
        h = min(max(target.entropy, SMALLEST), math.log(size) - SMALLEST)
        pairs[len(targets)] = len(targets) + 1
        targets += [target, Target("random", h, random_distribution(h, size, rng))]
    return targets, pairs


def write_study(study: Study, folder: Path, name: str, stamp: dict[str, object]) -> tuple[Path, ...]:
    """`name`.json, .md and two .svg in a folder; returns their paths."""
    from synthgen.elicit.study_page import figures, page
    from synthgen.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.json", {**stamp, **study.to_json()})
    written = [folder / f"{name}.json", folder / f"{name}.md"]
    for suffix, drawn in figures(study).items():
        written.append(folder / f"{name}-{suffix}.svg")
        written[-1].write_text(drawn, encoding="utf-8")
    written[1].write_text(page(study, name, stamp), encoding="utf-8")
    return tuple(written)


def _soft(
    model: Any,
    prompt: Prompt,
    tokenizer: Tokenizer,
    trie: TokenTrie,
    targets: Sequence[Target],
    plan: Plan,
    note: Note,
) -> list[float]:
    """The KL that every target's soft prompt reaches, nats."""
    config = SoftConfig(
        n_virtual=plan.n_tokens, position="infix", steps=plan.soft_steps, lr=plan.soft_lr, seed=plan.seed
    )
    masses = torch.tensor(
        np.stack([t.probabilities for t in targets]), dtype=torch.float32, device=model.device
    )
    frame = soft_frame(prompt, tokenizer, "infix")

    def tell(step: Any) -> None:
        if step.step % 50 == 0:
            note(f"soft: step {step.step}/{step.n_steps}, mean KL {step.kl:.4f}, {step.elapsed_s:.0f} s")

    found = search_soft(model, frame, trie, config, masses, tell)
    entropies = torch.special.entr(masses.double()).sum(-1)
    return [float(kl) for kl in (found.losses.double() - entropies)]


def _hard(
    model: Any,
    prompt: Prompt,
    tokenizer: Tokenizer,
    trie: TokenTrie,
    targets: Sequence[Target],
    plan: Plan,
    note: Note,
) -> list[float]:
    """The same of hard prompts."""
    config = HardConfig(
        n_tokens=plan.n_tokens,
        template=FOUND,
        restarts=1,
        steps=plan.hard_steps,
        n_candidates=plan.hard_candidates,
        seed=plan.seed,
    )
    allowed = searchable(tokenizer, readable=False)
    began, found = time.perf_counter(), []
    for i, target in enumerate(targets, 1):
        goal = Goal("", prompt, tokenizer, replace(trie, mass=target.probabilities))
        loss = search_hard(model, [goal], replace(config, seed=plan.seed + i), allowed=allowed).loss
        found.append(loss - target.entropy)
        if i % 10 == 0:
            note(f"hard: {i}/{len(targets)} targets, {time.perf_counter() - began:.0f} s")
    return found


def _kl(p: Floats, log_q: Floats) -> float:
    """KL(p ‖ q) in nats, q by its logarithms."""
    positive = p > 0
    return float((p[positive] * (np.log(p[positive]) - log_q[positive])).sum())
