"""Which engine serves a run, and opening it. Light: each engine's module is imported only when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from synthgen.engines.process import STALL_S, ProcessEngine
from synthgen.errors import EngineError

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine, Sampling

NEEDS: dict[str, tuple[str, ...]] = {
    "vllm": ("vllm",),
    "transformers": ("torch", "transformers", "peft"),
    "fake": (),
}
CAPACITY = {"vllm": 512, "transformers": 128, "fake": 256}  # requests held at once, by measurement
NO_TYPICAL = "has no typical_p; leave it out, or write `engine: transformers`"
REMEDY = {
    "vllm": "install synthgen[vllm] (NVIDIA GPU) or requirements/cpu.lock (none), or write `engine: auto`",
    "transformers": "install synthgen again: torch, transformers and peft belong to it",
}


def choose(engine: str = "auto", typical: bool = False) -> str:
    """The name of the engine to use: `engine` itself, or for "auto" the fastest that is installed.

    vLLM comes first, by measurement, unless `typical` sampling is asked for, which it does not have. Nothing is
    imported; packages are only looked for.

    Raises:
        EngineError: no such engine, its packages are not installed, or it cannot sample that way.
    """
    if engine == "auto":
        return "transformers" if typical or _missing("vllm") else "vllm"
    if engine == "vllm" and typical:
        raise EngineError(f"engine 'vllm': {NO_TYPICAL}")
    if engine not in NEEDS:
        raise EngineError(f"engine {engine!r}: no such engine; expected auto, {', '.join(NEEDS)}")
    if missing := _missing(engine):
        raise EngineError(f"engine {engine!r}: {', '.join(missing)} not installed here; {REMEDY[engine]}")
    return engine


def open_engine(
    name: str,
    model: str | Path,
    adapters: Mapping[str, Path],
    sampling: Sampling,
    seed: int = 0,
    capacity: int | None = None,
    gpu_share: float = 1.0,
) -> Engine:
    """Load a model with its adapters (name → PEFT folder) into an engine; `capacity` None takes its own.

    `gpu_share` is the part of a GPU's memory that the engine may take; only vLLM takes it beforehand.

    Raises:
        EngineError: no such engine, a package is missing, or it cannot start; the message says why.
        AdapterError: an adapter folder holds no safetensors weights, or does not fit the model.
    """
    name = choose(name, sampling.typical_p < 1)
    size = capacity or CAPACITY[name]
    if name == "vllm":
        from synthgen.engines.vllm import VllmEngine

        return VllmEngine(model, adapters, sampling, seed, size, gpu_share=gpu_share)
    if name == "transformers":
        from synthgen.engines.transformers import TransformersEngine

        return TransformersEngine(model, adapters, sampling, size)
    from synthgen.engines.fake import FakeEngine, answers_by_hints
    from synthgen.tokenizers import load_tokenizer

    text = load_tokenizer(model)
    return FakeEngine(
        answers_by_hints(text),
        adapters=tuple(adapters),
        capacity=size,
        sampling=sampling,
        text=text,
        seed=seed,
    )


def open_process_engine(
    name: str,
    model: str | Path,
    adapters: Mapping[str, Path],
    sampling: Sampling,
    seed: int = 0,
    capacity: int | None = None,
    gpu_share: float = 1.0,
    *,
    stall_s: float = STALL_S,
    stopping: Callable[[], bool] = lambda: False,
    log: Path | None = None,
) -> Engine:
    """The same in a process of its own; `stall_s`, `stopping` and `log` as in process.py.

    Raises:
        EngineError, AdapterError: as `open_engine`.
        EngineDied: the process died, hung, or had too little memory.
        Incomplete: `stopping` came while it started.
    """
    name = choose(name, sampling.typical_p < 1)
    opening = partial(open_engine, name, model, dict(adapters), sampling, seed, capacity, gpu_share)
    return ProcessEngine(name, opening, adapters, stall_s=stall_s, stopping=stopping, log=log)


def _missing(engine: str) -> list[str]:
    return [package for package in NEEDS[engine] if find_spec(package) is None]
