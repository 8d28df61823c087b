"""A soft prompt's files: PEFT's prompt-tuning format, and where in the prompt the vectors stand.

PEFT knows prefixes only. The place of an infix is in our manifest, counted from the prompt's end, where every prompt
of a chat template is alike. The engines read soft prompts from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from synthgen.adapters import CONFIG, MANIFEST, PROMPT_TEXT, WEIGHTS
from synthgen.errors import AdapterError

PEFT_TYPE = "PROMPT_TUNING"
KEY = "prompt_embeddings"  # of the tensor in PEFT's file


@dataclass(frozen=True, eq=False)
class SoftPrompt:
    """Trained vectors, (n, H), and how many of the prompt's tokens come after them; None: all."""

    vectors: Tensor
    n_after: int | None = None

    def place(self, n_prompt: int) -> int:
        """Before which token of a prompt the vectors stand."""
        return 0 if self.n_after is None else max(0, n_prompt - self.n_after)

    def inserted(self, prompt: Tensor) -> Tensor:
        """A prompt's embeddings, (P, H), with the vectors in their place: (P + n, H)."""
        at = self.place(len(prompt))
        vectors = self.vectors.to(device=prompt.device, dtype=prompt.dtype)
        return torch.cat([prompt[:at], vectors, prompt[at:]])


def is_soft_prompt(folder: Path) -> bool:
    """Whether an adapter's folder holds one, by PEFT's own configuration."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("peft_type") == PEFT_TYPE


def read_soft_prompts(adapters: Mapping[str, Path]) -> dict[str, SoftPrompt]:
    """Those of the adapters that are soft prompts; a folder without a manifest of ours is a prefix, as in PEFT.

    Raises:
        AdapterError: a folder's weights are missing, unreadable, or no prompt embeddings.
    """
    return {name: _read(name, folder) for name, folder in adapters.items() if is_soft_prompt(folder)}


def check_width(prompts: Mapping[str, SoftPrompt], hidden_size: int, model: str) -> None:
    """Refuse soft prompts of another model's width.

    Raises:
        AdapterError: naming the adapter and both widths.
    """
    for name, prompt in prompts.items():
        if prompt.vectors.shape[1] != hidden_size:
            raise AdapterError(
                f"adapter {name!r}: its vectors hold {prompt.vectors.shape[1]} numbers each, model {model!r} takes "
                f"{hidden_size}; a soft prompt serves only the model that it was trained for"
            )


def write_soft_prompt(folder: Path, vectors: Tensor, base: Any, model_name: str) -> None:
    """Write PEFT's two files for `vectors`, (n, H), trained for the model `base`."""
    from peft import PromptTuningConfig

    text = base.config.get_text_config()
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=model_name,
        num_virtual_tokens=len(vectors),
        token_dim=vectors.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=text.num_attention_heads,
        num_layers=text.num_hidden_layers,
        inference_mode=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROMPT_TEXT).unlink(missing_ok=True)  # of a hard prompt that was here before
    config.save_pretrained(str(folder))
    save_file({KEY: vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS, metadata={"format": "pt"})


def _read(name: str, folder: Path) -> SoftPrompt:
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise AdapterError(f"adapter {name!r}: {folder} has no {WEIGHTS}; expected a folder saved by PEFT")
    try:
        vectors = load_file(weights).get(KEY)
    except (OSError, SafetensorError) as error:
        raise AdapterError(
            f"adapter {name!r}: {weights}: {error}; expected PEFT's file: restore it"
        ) from None
    if vectors is None or vectors.dim() != 2:
        raise AdapterError(f"adapter {name!r}: {weights} holds no {KEY!r} of two dimensions; search it again")
    return SoftPrompt(vectors, _n_after(folder / MANIFEST))


def _n_after(manifest: Path) -> int | None:
    if not manifest.is_file():
        return None
    try:
        found = json.loads(manifest.read_text("utf-8"))["prompting"]["n_after"]
    except (ValueError, KeyError, TypeError):
        raise AdapterError(
            f"{manifest}: does not say where the soft prompt stands (prompting.n_after); search it again"
        ) from None
    return None if found is None else int(found)
