"""A recipe's model name → where its files are, and a fingerprint of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from synthgen.errors import RecipeError
from synthgen.nano import weights_path

BUILT_IN = "nano"
_fingerprints: dict[tuple[tuple[str, int, int], ...], str] = {}  # (file, size, mtime) of a model → its digest


def resolve_model(model: str, base: Path | None = None) -> str:
    """Folder of the built-in model for "nano"; an existing folder made absolute; else the hub id unchanged.

    A relative folder counts from `base`, by default the current one. RecipeError if `model` can only be a
    folder (it begins with `.`, `/` or `~`) and there is none.
    """
    if model == BUILT_IN:
        return str(weights_path())
    folder = (base or Path()) / Path(model).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if model.startswith((".", "/", "~")):
        raise RecipeError(f"model: found no folder {folder}; expected 'nano', a model's folder, or a hub id")
    return model


def model_fingerprint(path: str) -> str:
    """Sixteen hex digits over a folder's weights, config and tokenizer; a hub id stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    files += [file for file in (folder / "config.json", folder / "tokenizer.json") if file.is_file()]
    stats = [(str(file.resolve()), file.stat()) for file in files]
    key = tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    if key not in _fingerprints:
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                digest.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
        _fingerprints[key] = digest.hexdigest()[:16]
    return _fingerprints[key]


def multiplies_in_bf16(device_type: str) -> bool:
    """Whether bf16 is worth its rounding: on CUDA, and on CPUs with instructions for it; others take ten times as long."""
    import torch

    if device_type == "cpu":
        can: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return device_type == "cuda"
