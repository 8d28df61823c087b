"""An adapter's folder: PEFT files, a manifest that says what it fits, and a card.

Stands between `tuning` and the engines; loads no torch. An adapter is used only where `verify` finds that it
was made for this base model and prompt; weights come as safetensors alone, so loading one never runs code.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from synthgen.errors import AdapterError
from synthgen.tuning_config import TuningConfig, tuning_fingerprint

__all__ = [
    "AdapterManifest",
    "check_name",
    "library_versions",
    "load_manifest",
    "save_manifest",
    "tuning_fingerprint",
    "verify",
    "weights_sha256",
]

MANIFEST = "manifest.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
UNSAFE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py"}
LIBRARIES = ("torch", "transformers", "peft", "numpy")


class AdapterManifest(BaseModel):
    """What an adapter was made from, and how well it did. Numbers in nats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str
    scope: Literal["record", "any"]  # fits the prompts it was tuned on, or any prompt of the base model
    model: str  # the base model as the recipe names it
    model_fingerprint: str
    rank: int
    alpha: float
    modules: tuple[str, ...]  # the linear layers it changes
    prompt_fingerprints: tuple[str, ...]
    schema_fingerprints: tuple[str, ...]
    target_fingerprints: tuple[str, ...]
    tuning_fingerprint: str
    settings: dict[str, Any]
    result: dict[str, Any]  # before, after, steps, stopped_by, … (TuningResult.summary)
    weights_sha256: str
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
    except FileNotFoundError:
        raise AdapterError(
            f"{folder}: no {MANIFEST}; expected an adapter folder that `synthgen tune` wrote"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise AdapterError(f"{path}: {place}: {first['msg']}; tune the adapter again") from None
    check_name(manifest.name)
    if (found := weights_sha256(folder)) != manifest.weights_sha256:
        raise AdapterError(
            f"{folder / WEIGHTS}: sha256 is {found[:12]}…, the manifest says "
            f"{manifest.weights_sha256[:12]}…; "
            "the weights were changed: tune again, or restore them"
        )
    _check_peft(folder / CONFIG, manifest)
    return manifest


def _check_peft(path: Path, manifest: AdapterManifest) -> None:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path}: not readable as JSON ({error}); tune the adapter again") from None
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
            "is "
            f"{model_fingerprint}; use that model, or tune the adapter again for this one"
        )
    if (
        prompt_fingerprint is not None
        and manifest.scope == "record"
        and prompt_fingerprint not in manifest.prompt_fingerprints
    ):
        raise AdapterError(
            f"{at}: tuned on prompt {', '.join(manifest.prompt_fingerprints)}, this run's prompt is "
            f"{prompt_fingerprint}; schema, instruction or chat template changed: tune again"
        )
    if rank_max is not None and manifest.rank > rank_max:
        raise AdapterError(
            f"{at}: rank {manifest.rank}, the engine takes at most {rank_max}; raise its limit"
        )


def differences(
    manifest: AdapterManifest, config: TuningConfig, **fingerprints: Sequence[str] | str
) -> list[str]:
    """What keeps an adapter from being reused for these settings and fingerprints, one line each; [] if
    nothing.

    `fingerprints` are named as in the manifest: model_fingerprint, prompt_fingerprints, target_fingerprints,
    ….
    """
    found = []
    for key, wanted in fingerprints.items():
        have = getattr(manifest, key)
        if (list(have) if isinstance(have, tuple) else have) != (
            wanted if isinstance(wanted, str) else list(wanted)
        ):
            found.append(f"{key}: {_show(have)} → {_show(wanted)}")
    wanted_settings = json.loads(json.dumps(config.settings()))
    for key in sorted(wanted_settings.keys() | manifest.settings.keys()):
        if (old := manifest.settings.get(key)) != (new := wanted_settings.get(key)):
            found.append(f"{key}: {old!r} → {new!r}")
    return found


def _show(value: Sequence[str] | str) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def card(manifest: AdapterManifest) -> str:
    """A model card in Markdown: what it is for, how it was made, its figures before and after."""
    lines = [
        "---",
        "library_name: peft",
        "tags: [lora, synthetic-data, synthgen]",
        "---",
        f"# {manifest.name}",
        "",
        f"A LoRA adapter (rank {manifest.rank}, alpha {manifest.alpha:g}) for `{manifest.model}` "
        f"(fingerprint `{manifest.model_fingerprint}`), made by synthgen {manifest.synthgen}. It moves the "
        "distribution of the model's answers towards a declared one; "
        + (
            "it fits the prompts it was tuned on."
            if manifest.scope == "record"
            else "it was tuned on general tasks and may serve any prompt of that model."
        ),
        "",
        f"{manifest.result.get('steps', '?')} steps, stopped by {manifest.result.get('stopped_by', '?')}. "
        "Distances to the target in nats (KL = leak + shape):",
        "",
        "| prompt | | KL | leak | shape | cross-entropy | optimum |",
        "|---|---|---|---|---|---|---|",
    ]
    pairs = zip(manifest.result.get("before", []), manifest.result.get("after", []), strict=False)
    for i, both in enumerate(pairs):
        for label, figures in zip(("before", "after"), both, strict=True):
            numbers = (figures.get(k) for k in ("kl", "leak", "shape", "cross_entropy", "optimum"))
            cells = ("–" if x is None else f"{x:.4f}" for x in numbers)
            lines.append(f"| {i + 1} | {label} | {' | '.join(cells)} |")
    lines += ["", "Everything that decided it stands in `manifest.json`.", ""]
    return "\n".join(lines)
