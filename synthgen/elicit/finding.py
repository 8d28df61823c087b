"""What `synthgen elicit` does: a target file, or a recipe's own target, → the best prompt found, in a folder.

Light until it searches. A folder that holds just what is asked for is reused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthgen.adapters import MANIFEST, AdapterManifest, check_name, load_manifest
from synthgen.elicit.answers import answer_trie, read_answers
from synthgen.elicit.checks import FOREIGN, refuse_endpoint
from synthgen.elicit.config import HardConfig, Kind, SoftConfig
from synthgen.elicit.frame import message_prompt
from synthgen.elicit.goal import Goal
from synthgen.elicit.serving import measuring, served_kl
from synthgen.errors import AdapterError, RecipeError
from synthgen.models import model_fingerprint, resolve_model
from synthgen.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from synthgen.progress import Progress
    from synthgen.recipe import AdapterSpec, Recipe

RESTARTS = 4  # of a target file, unless told


@dataclass(frozen=True)
class Found:
    """A prompt in its folder, and how near it comes."""

    folder: Path
    manifest: AdapterManifest
    is_reused: bool
    served: float | None = None  # KL as an engine serves it, nats

    def to_json(self) -> dict[str, object]:
        """The figures in nats; of several prompts, the first one's."""
        prompt, found = self.manifest.prompts[0], self.manifest.prompting
        facts: dict[str, object] = {
            "folder": str(self.folder),
            "kind": self.manifest.kind,
            "reused": self.is_reused,
            "tokens": found.n_tokens if found else 0,
            "kl_before": prompt.before.get("kl"),
            **{key: prompt.after.get(key) for key in ("kl", "leak", "shape", "cross_entropy", "optimum")},
            **{key: self.manifest.result.get(key) for key in ("kl_start", "steps", "stopped_by", "restarts")},
        }
        if found and found.text:
            facts["words"] = found.text
        if self.served is not None:
            facts["kl_served"] = self.served
        return facts


def search_config(kind: Kind, said: Mapping[str, Any], seed: int = 0) -> SoftConfig | HardConfig:
    """The settings that were said, the search's own elsewhere.

    Raises:
        RecipeError: one that means nothing to this kind of prompt.
    """
    settings: dict[str, Any] = {"restarts": RESTARTS, "seed": seed, **_told(kind, said)}
    return SoftConfig(**settings) if kind == "soft-prompt" else HardConfig(**settings)


def default_folder(target_file: Path | None, kind: Kind) -> Path:
    """Where a prompt for a target file goes, unless told."""
    return Path("adapters") / f"{target_file.stem if target_file else 'target'}-{kind}"


def elicit_file(
    model: str,
    target_file: Path | None,
    kind: Kind,
    config: SoftConfig | HardConfig,
    out: Path,
    progress: Progress,
    *,
    message: str = "",
    next_token: bool = False,
    engine: str | None = None,
) -> Found:
    """Find a prompt behind which the model's answers follow a target file, and write it to `out`.

    `message` is the user's message that it is added to; `engine` measures it again as it would be served.

    Raises:
        RecipeError: the target, a template, or a model that is an endpoint.
        EngineError: an engine that gives no log-probabilities.
    """
    if target_file is None:
        raise RecipeError("elicit: no target; give --target FILE (answer: probability), or --recipe RECIPE")
    check_name(out.name)
    refuse_endpoint(model, kind)
    if engine is not None:
        engine = measuring(engine)
    target = read_answers(target_file)
    place = resolve_model(model)
    tokenizer = load_tokenizer(place)
    goal_prompt = message_prompt(tokenizer, message)
    trie = answer_trie(target, goal_prompt, tokenizer, next_token)
    goal = Goal(target.name, goal_prompt, tokenizer, trie)
    facts = {
        "model": model_fingerprint(place),
        "prompt": goal_prompt.fingerprint,
        "targets": target.fingerprint,
        "next_token": next_token,
        "settings": config.settings(),
    }
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    manifest = _written(out)
    if manifest is None or manifest.tuning_fingerprint != fingerprint:
        from synthgen.elicit.search import find_for_goal

        progress.stage("elicit", f"{kind}: {len(target.answers)} answers, {config.restarts} starts")
        manifest = find_for_goal(place, model, goal, target, config, out, fingerprint, progress.tuning_step)
        found = Found(out, manifest, is_reused=False)
    else:
        progress.note(f"{out}: reused (same model, prompt, target and settings)")
        found = Found(out, manifest, is_reused=True)
    if engine is None:
        return found
    progress.stage("engine", engine)
    return replace(found, served=served_kl(engine, place, goal, out, manifest))


def elicit_recipe(
    recipe: Recipe,
    adapter: str | None,
    kind: Kind,
    said: Mapping[str, Any],
    out: Path | None,
    progress: Progress,
) -> Found:
    """The same for a recipe's own target: an adapter's targets, or the recipe's `target`; as if it said `method`.

    Raises:
        RecipeError: the recipe declares no target, or has no such adapter.
    """
    refuse_endpoint(recipe.model, kind)
    name, spec = _spec(recipe, adapter, kind, said)
    folder = out or recipe.adapters_dir / f"{recipe.name}-{name}-{kind}"
    check_name(folder.name)
    from synthgen.job import prepare, tuned_adapter

    generate = recipe.generate.model_copy(update={"mix": {}})
    job = prepare(recipe.model_copy(update={"adapters": {name: spec}, "generate": generate}))
    before = _written(folder)
    manifest = tuned_adapter(job, name, folder, progress)
    return Found(folder, manifest, is_reused=before is not None and before.result == manifest.result)


def _told(kind: Kind, said: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in said.items() if value is not None}
    for key in told:
        if key in FOREIGN[kind]:
            raise RecipeError(f"--{key.replace('_', '-')} means nothing to a {kind}; leave it out")
    return told


def _spec(
    recipe: Recipe, adapter: str | None, kind: Kind, said: Mapping[str, Any]
) -> tuple[str, AdapterSpec]:
    """The adapter's targets under another method: a LoRA adapter's rates and steps are not a prompt's."""
    from synthgen.recipe import AdapterSpec

    told = _told(kind, said)
    if "kl" in told:
        told["stop"] = {"kl": told.pop("kl")}
    tuned = [name for name, spec in recipe.adapters.items() if spec.tasks]
    if adapter is None and not tuned and recipe.target is not None:
        target = recipe.target
        declared = {"targets": target.targets, "fields": target.fields, "closed": target.closed}
        return "target", AdapterSpec.model_validate({"method": kind, **declared, **told})
    name = adapter or next(iter(tuned), "")
    if name not in tuned:
        known = (
            f"it has {', '.join(tuned)}" if tuned else "it declares no target: write `target`, or an adapter"
        )
        raise RecipeError(f"{recipe.path or 'recipe'}: adapters: no {name!r} with targets; {known}")
    spec = recipe.adapters[name]
    kept = ("targets", "fields", "closed", "prompts", "scope", "n_targets")
    own = {key: getattr(spec, key) for key in kept if key in spec.model_fields_set}
    return name, AdapterSpec.model_validate({"method": kind, **own, **told})


def _written(out: Path) -> AdapterManifest | None:
    """The sound prompt in a folder, if there is one."""
    try:
        return load_manifest(out) if (out / MANIFEST).exists() else None
    except AdapterError:
        return None
