"""The base model with a fresh LoRA adapter on it: what tuning starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from synthgen.adapters import weights_sha256
from synthgen.errors import AdapterError, SynthgenError
from synthgen.lora_linear import use_lean_layers
from synthgen.models import resolve_model
from synthgen.tuning_config import TuningConfig

LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LARGE = 1_000_000_000  # parameters; above it a model on a GPU is held in bf16


def load_model(model_path: str, config: TuningConfig) -> Any:
    """The base model, frozen, in evaluation mode, on its device, with attention that honours a 4-D mask."""
    path = resolve_model(model_path)
    local = {"local_files_only": Path(path).is_dir(), "trust_remote_code": False}
    settings = AutoConfig.from_pretrained(path, **local)
    # SDPA has no soft-capping of attention logits (Gemma 2)
    capped = getattr(settings.get_text_config(), "attn_logit_softcapping", None)
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype="auto", attn_implementation="eager" if capped else "sdpa", **local
    )
    device = torch.device(config.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    large = sum(p.numel() for p in model.parameters()) > LARGE
    model.to(device=device, dtype=torch.bfloat16 if large and device.type == "cuda" else torch.float32)
    return model.eval().requires_grad_(False)


def add_lora(model: Any, config: TuningConfig) -> Any:
    """The model with a LoRA adapter on every attention and feed-forward projection, as published.

    It is fresh, or has the weights of the adapter in `config.start`. Raises SynthgenError, naming the linear layers
    found, where the architecture has not all of them by name; AdapterError where that adapter has another shape.
    """
    found = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    if missing := [name for name in LINEAR_LAYERS if name not in found]:
        raise SynthgenError(
            f"model {model.config.model_type!r} has no {', '.join(missing)} (its linear layers: "
            f"{', '.join(sorted(found)) or 'none'}); tuning needs {', '.join(LINEAR_LAYERS)}: choose "
            "another model"
        )
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        target_modules=list(LINEAR_LAYERS),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # PEFT draws A from the global generator
        tuned = get_peft_model(model, lora).eval()
    use_lean_layers(tuned)
    if config.start is not None:
        _take_weights(tuned, Path(config.start), config)
    return tuned


def _take_weights(model: Any, folder: Path, config: TuningConfig) -> None:
    """Put another adapter's weights in place of the fresh ones."""
    weights_sha256(folder)  # refuses a folder without safetensors
    found = PeftConfig.from_pretrained(str(folder))
    if (found.r, found.lora_alpha) != (config.rank, config.lora_alpha):
        raise AdapterError(
            f"adapter to start from: {folder} has rank {found.r} and alpha {found.lora_alpha:g}, the one to tune "
            f"{config.rank} and {config.lora_alpha:g}; give both the same"
        )
    result = set_peft_model_state_dict(model, load_peft_weights(str(folder), device=str(model.device)))
    if result.unexpected_keys or any("lora_" in key for key in result.missing_keys):
        raise AdapterError(
            f"adapter to start from: {folder} has other layers than this model; expected an adapter of the same model"
        )
