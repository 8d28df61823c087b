"""An adapter folded into the base weights: where one adapter serves a whole run, the base model's full speed.

Worth a tenth to a fifth of the time on a CPU (bench/engines.py); it costs a copy of the model on disk.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from synthgen.errors import AdapterError, EngineError
from synthgen.models import resolve_model

WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")


def merge_adapter(model_path: str | Path, adapter_path: str | Path, out: Path) -> Path:
    """Write base + adapter as a model folder of its own to `out`, tokenizer included, and return `out`.

    The sum is computed in float32 and saved in the base model's own precision. `out` appears at once or not at
    all; a folder already there is taken as it is, so give it a name that changes with model and adapter.

    Raises:
        AdapterError: no safetensors weights in the adapter's folder, or they do not fit the model.
        EngineError: the base model cannot be loaded, or is not a local folder.
    """
    if (out / "config.json").is_file():
        return out
    place, adapter = Path(resolve_model(str(model_path))), Path(adapter_path)
    if not place.is_dir():
        raise EngineError(f"merge: {model_path!r} is no folder here; expected a model on disk, not a hub id")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise AdapterError(
            f"merge: {adapter} has no adapter_model.safetensors; expected a folder saved by PEFT"
        )
    options = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype="auto", **options)
    except (OSError, ValueError) as error:
        raise EngineError(
            f"merge: cannot load model {str(place)!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    dtype = model.dtype
    try:
        merged = PeftModel.from_pretrained(model.to(torch.float32), str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AdapterError(f"merge: {adapter} does not fit model {str(place)!r}: {reason}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    merged.to(dtype).save_pretrained(folder)
    kept = {file.name for file in folder.iterdir()}
    skipped = {file.name for pattern in WEIGHTS for file in place.glob(pattern)}
    for file in place.iterdir():  # tokenizer, chat template, generation settings
        if file.is_file() and file.name not in kept | skipped:
            shutil.copyfile(file, folder / file.name)
    folder.chmod(0o755)
    return folder.replace(out)
