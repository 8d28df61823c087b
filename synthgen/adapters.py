"""An adapter's folder: PEFT files (or a hard prompt's text), a manifest that says what it fits, and a card.

Stands between `tuning` and the engines; loads no torch. An adapter is used only where `verify` finds that it
was made for this base model and prompt; weights come as safetensors alone, so loading one never runs code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synthgen.errors import AdapterError
from synthgen.tuning_config import Scope, TuningConfig, TuningTask, task_facts

MANIFEST = "manifest.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PROMPT_TEXT = "prompt.txt"  # a hard prompt has no weights: the message with the words that were found
UNSAFE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py"}
LIBRARIES = ("torch", "transformers", "peft", "numpy")

Kind = Literal["lora", "soft-prompt", "hard-prompt"]
_NAMES: dict[Kind, tuple[str, str]] = {  # kind → what the card calls it, and its tag
    "lora": ("A LoRA adapter", "lora"),
    "soft-prompt": ("A soft prompt", "prompt-tuning"),
    "hard-prompt": ("A hard prompt", "prompt"),
}


class TunedPrompt(BaseModel):
    """One prompt that an adapter was tuned on, and its figures before and after. Numbers in nats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    text: str  # the user message, without the model's chat template
    prompt: str  # fingerprint, as are the next two
    schema_fingerprint: str
    targets: str
    fields: tuple[str, ...]  # those that the targets cover
    n_targets: int
    share: float  # of the loss; all prompts sum to 1
    before: dict[str, Any]  # kl, leak, shape, cross_entropy, optimum, exact, fields, drift_nats, health
    after: dict[str, Any]


class Prompting(BaseModel):
    """What a soft or hard prompt adds to the prompt that it was found for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_tokens: int  # virtual tokens, or tokens of the words
    n_after: int | None = None  # soft: the prompt's tokens behind them; None: all, a prefix
    template: str = ""  # hard: where the words stand around the message
    text: str = ""  # hard: the words
    ids: tuple[int, ...] = ()  # hard: their tokens


class AdapterManifest(BaseModel):
    """What an adapter was made from, and how well it did."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    name: str
    kind: Kind = "lora"
    scope: Scope
    model: str  # the base model as the recipe names it
    model_fingerprint: str
    rank: int  # 0, like alpha, of a prompt
    alpha: float
    modules: tuple[str, ...]  # the linear layers it changes
    prompting: Prompting | None = None  # None: a LoRA adapter
    prompts: tuple[TunedPrompt, ...]
    tuning_fingerprint: str
    settings: dict[str, Any]
    result: dict[str, Any]  # steps, stopped_by, … (TuningResult.summary)
    weights_sha256: str  # of a hard prompt: its text's
    synthgen: str
    libraries: dict[str, str]


def check_name(name: str) -> str:
    """The name itself if it is safe as a folder and as a key; else AdapterError."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or set(name) == {"."} or name == "base":
        raise AdapterError(
            f"adapter name {name!r}: expected letters, digits, '_', '.' or '-' (and not 'base', the untuned "
            "model)"
        )
    return name


def library_versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """Installed versions, by distribution name; those not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def weights_sha256(folder: Path) -> str:
    """Hash of the adapter's weights; AdapterError where there are none, or any that could run code."""
    unsafe = (
        sorted(p.name for p in folder.iterdir() if p.suffix in UNSAFE_SUFFIXES) if folder.is_dir() else []
    )
    if unsafe:
        raise AdapterError(
            f"{folder}: holds {', '.join(unsafe)}; only safetensors are loaded: convert or remove"
        )
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise AdapterError(
            f"{folder}: no {WEIGHTS}; expected a PEFT adapter folder as `synthgen tune` writes it"
        )
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def save_manifest(folder: Path, manifest: AdapterManifest) -> None:
    """Write manifest.json and a short card beside the weights, the manifest last."""
    check_name(manifest.name)
    (folder / "README.md").write_text(card(manifest), encoding="utf-8")
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def load_manifest(folder: Path) -> AdapterManifest:
    """Read an adapter's manifest and check that the folder is what it says.

    Raises AdapterError naming the file and the fault: missing or unreadable manifest, unsafe or changed
    weights, a PEFT configuration that differs.
    """
    path = folder / MANIFEST
    try:
        manifest = AdapterManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        found = f"no {MANIFEST}" if isinstance(error, FileNotFoundError) else f"{MANIFEST} cannot be read"
        raise AdapterError(
            f"{folder}: {found}; expected an adapter folder that `synthgen tune` wrote"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise AdapterError(f"{path}: {place}: {first['msg']}; tune the adapter again") from None
    check_name(manifest.name)
    is_text = manifest.kind == "hard-prompt"
    digest = _text_sha256(folder) if is_text else weights_sha256(folder)
    if digest != manifest.weights_sha256:
        file, what = (PROMPT_TEXT, "words") if is_text else (WEIGHTS, "weights")
        raise AdapterError(
            f"{folder / file}: sha256 is {digest[:12]}…, the manifest says "
            f"{manifest.weights_sha256[:12]}…; the {what} were changed: tune again, or restore them"
        )
    if manifest.kind != "hard-prompt":
        _check_peft(folder / CONFIG, manifest)
    return manifest


def _text_sha256(folder: Path) -> str:
    try:
        return hashlib.sha256((folder / PROMPT_TEXT).read_bytes()).hexdigest()
    except OSError:
        raise AdapterError(
            f"{folder}: no {PROMPT_TEXT}; expected a hard prompt as synthgen wrote it"
        ) from None


def _check_peft(path: Path, manifest: AdapterManifest) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: not readable as JSON ({error}); tune the adapter again") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{path}: found {type(config).__name__}, expected keys; tune the adapter again")
    expected: dict[str, object]
    if manifest.prompting is not None:
        expected = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": manifest.prompting.n_tokens}
    else:
        expected = {"peft_type": "LORA", "r": manifest.rank, "lora_alpha": manifest.alpha}
    for key, wanted in expected.items():
        if config.get(key) != wanted:
            raise AdapterError(
                f"{path}: {key} is {config.get(key)!r}, the manifest says {wanted!r}; tune again"
            )


def verify(
    manifest: AdapterManifest,
    model_fingerprint: str,
    prompt_fingerprint: str | None = None,
    rank_max: int | None = None,
) -> None:
    """Refuse an adapter that was made for another base model or prompt, or is wider than the engine takes.

    `prompt_fingerprint` None skips the prompt; adapters of scope "any" serve every prompt. Raises
    AdapterError naming what differs.
    """
    at = f"adapter {manifest.name!r}"
    if manifest.model_fingerprint != model_fingerprint:
        raise AdapterError(
            f"{at}: made for base model {manifest.model!r} ({manifest.model_fingerprint}), this run's model "
            f"is {model_fingerprint}; use that model, or tune the adapter again for this one"
        )
    if (
        prompt_fingerprint is not None
        and manifest.scope == "record"
        and prompt_fingerprint not in {prompt.prompt for prompt in manifest.prompts}
    ):
        known = ", ".join(f"{prompt.label} ({prompt.prompt})" for prompt in manifest.prompts[:3])
        more = f" and {len(manifest.prompts) - 3} more" if len(manifest.prompts) > 3 else ""
        raise AdapterError(
            f"{at}: tuned on {known}{more}, this run's prompt is {prompt_fingerprint}; tune it on this prompt, "
            "or with `scope: any` to serve every prompt of its model"
        )
    if rank_max is not None and manifest.rank > rank_max:
        raise AdapterError(
            f"{at}: rank {manifest.rank}, the engine takes at most {rank_max}; raise its limit"
        )


def differences(
    manifest: AdapterManifest, config: TuningConfig, model_fingerprint: str, tasks: Sequence[TuningTask]
) -> list[str]:
    """What keeps an adapter from being reused for this model, these prompts and settings; [] if nothing.

    One line for each difference, old → new. The scope is none: it says what an adapter may be used for.
    """
    found = _changed("", {"model": manifest.model_fingerprint}, {"model": model_fingerprint})
    if len(manifest.prompts) != len(tasks):
        found.append(f"prompts: {len(manifest.prompts)} → {len(tasks)}")
    for i, (prompt, wanted) in enumerate(zip(manifest.prompts, task_facts(tasks, config), strict=False), 1):
        have = {key: getattr(prompt, key) for key in wanted}
        found += _changed(f"prompt {i}, " if len(tasks) > 1 else "", have, wanted)
    return found + _changed("", manifest.settings, json.loads(json.dumps(config.settings())))


def _changed(place: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [
        f"{place}{key}: {old.get(key)} → {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def card(manifest: AdapterManifest) -> str:
    """A model card in Markdown: what it is for, how it was made, its figures before and after."""
    name, tag = _NAMES[manifest.kind]
    if manifest.prompting is None:
        size = f"rank {manifest.rank}, alpha {manifest.alpha:g}"
    else:
        size = f"{manifest.prompting.n_tokens} tokens"
    lines = [
        "---",
        *(["library_name: peft"] if manifest.kind != "hard-prompt" else []),
        f"tags: [{tag}, synthetic-data, synthgen]",
        "---",
        f"# {manifest.name}",
        "",
        f"{name} ({size}) for `{manifest.model}` "
        f"(fingerprint `{manifest.model_fingerprint}`), made by synthgen {manifest.synthgen}. It moves the "
        "distribution of the model's answers towards a declared one; "
        + (
            "it fits the prompts it was tuned on."
            if manifest.scope == "record"
            else "it was tuned on general prompts and may serve any prompt of that model."
        ),
        "",
        f"{manifest.result.get('steps', '?')} steps, stopped by {manifest.result.get('stopped_by', '?')}. "
        "Distances to the target in nats (KL = leak + shape):",
        "",
        "| prompt | share | | KL | leak | shape | cross-entropy | optimum |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for prompt in manifest.prompts:
        for label, figures in (("before", prompt.before), ("after", prompt.after)):
            numbers = (figures.get(k) for k in ("kl", "leak", "shape", "cross_entropy", "optimum"))
            cells = ("–" if x is None else f"{x:.4f}" for x in numbers)
            lines.append(f"| {prompt.label} | {prompt.share:.3g} | {label} | {' | '.join(cells)} |")
    lines.append("")
    for prompt in manifest.prompts:
        quoted = "\n".join(f"> {line}" for line in prompt.text.splitlines())
        lines += [f"{prompt.label}:", "", quoted, ""]
    lines += ["Everything that decided it stands in `manifest.json`.", ""]
    return "\n".join(lines)
