"""A search for one prompt of a target file: torch, the model, and the folder that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthgen.adapters import AdapterManifest, Kind, Prompting, TunedPrompt, weights_sha256
from synthgen.elicit.adapter import figures_of, hard_facts, hard_summary, save, shown
from synthgen.elicit.answers import AnswerTarget
from synthgen.elicit.config import HardConfig, SoftConfig
from synthgen.elicit.frame import HardFrame, soft_frame
from synthgen.elicit.goal import Goal, OnStep
from synthgen.elicit.hard_prompt import write_hard_prompt
from synthgen.elicit.hard_search import search_hard
from synthgen.elicit.soft_model import SoftModel, with_virtual
from synthgen.elicit.soft_prompt import write_soft_prompt
from synthgen.elicit.soft_search import best_row, search_soft
from synthgen.lora import load_model
from synthgen.packing import check_packing


def find_for_goal(
    place: str,
    model_name: str,
    goal: Goal,
    target: AnswerTarget,
    config: SoftConfig | HardConfig,
    out: Path,
    fingerprint: str,
    on_step: OnStep,
) -> AdapterManifest:
    """The best of the config's restarts, written to `out` with its manifest.

    Raises:
        RecipeError: a template or tokens that cannot be searched with.
        SynthgenError: a model whose attention does not follow a mask.
    """
    model = load_model(place, config)
    check_packing(model, goal.trie, goal.prompt.ids)
    before = shown(figures_of(model, goal, goal.prompt))
    find = _soft if isinstance(config, SoftConfig) else _hard
    prompting, digest, after, result = find(model, model_name, goal, config, out, on_step)  # type: ignore[arg-type]
    prompt = TunedPrompt(
        label=target.name,
        text=goal.prompt.user,
        prompt=goal.prompt.fingerprint,
        schema_fingerprint="",
        targets=target.fingerprint,
        fields=("answer",),
        n_targets=len(target.answers),
        share=1.0,
        before=before,
        after=after,
    )
    kind: Kind = "soft-prompt" if isinstance(config, SoftConfig) else "hard-prompt"
    return save(
        out, kind, prompting, digest, "record", place, model_name, (prompt,), config.settings(), fingerprint, result
    )  # fmt: skip


def _soft(
    model: Any, model_name: str, goal: Goal, config: SoftConfig, out: Path, on_step: OnStep
) -> tuple[Prompting, str, dict[str, Any], dict[str, Any]]:
    frame = soft_frame(goal.prompt, goal.tokenizer, config.position)
    found = search_soft(model, frame, goal.trie, config, on_step=on_step)
    row = best_row(found)
    soft = SoftModel(model, found.vectors[row])
    after = shown(figures_of(soft, goal, with_virtual(goal.prompt, frame, soft.virtual_ids)))
    write_soft_prompt(out, found.vectors[row], model, model_name)
    n_after = len(frame.after) if config.position == "infix" else None
    optimum = goal.trie.entropy()
    result = {
        "steps": found.steps,
        "stopped_by": found.stopped_by,
        "kl_start": float(found.start[row]) - optimum,
        "restarts": [loss - optimum for loss in found.losses.tolist()],
        "elapsed_s": found.elapsed_s,
    }
    return Prompting(n_tokens=config.n_virtual, n_after=n_after), weights_sha256(out), after, result


def _hard(
    model: Any, _model_name: str, goal: Goal, config: HardConfig, out: Path, on_step: OnStep
) -> tuple[Prompting, str, dict[str, Any], dict[str, Any]]:
    found = search_hard(model, [goal], config, on_step)
    words = goal.tokenizer.decode(found.ids)
    served = HardFrame(goal.prompt.user, config.template, goal.tokenizer).prompt(words)
    after = shown(figures_of(model, goal, served))
    optimum = goal.trie.entropy()
    result = hard_summary(found) | {
        "kl_start": found.start - optimum,
        "restarts": [loss - optimum for loss in found.restarts],
    }
    return hard_facts(config, words, found.ids), write_hard_prompt(out, served.user), after, result
