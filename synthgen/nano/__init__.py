"""The built-in model: a four-million-parameter chat model trained from scratch by this package.

`corpus` writes its training examples, `build` trains and exports it, and the result is kept in `weights/`.
Importing this package is cheap: nothing but the place of the weights lives here.
"""

from __future__ import annotations

from pathlib import Path


def weights_path() -> Path:
    """Folder of the built-in model's weights and tokenizer, in Hugging Face layout."""
    return Path(__file__).resolve().parent / "weights"
