"""What a run's engine is to serve, and opening it: supervised, and checked by the canary before it answers for data.

Plain data that can be pickled, so the same engine opens here or in a worker on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from synthgen.engines import CAPACITY, choose, open_engine, open_process_engine
from synthgen.engines.canary import check_adapters
from synthgen.engines.process import STALL_S
from synthgen.engines.protocol import Engine, Sampling
from synthgen.engines.supervised import SupervisedEngine
from synthgen.progress import Progress


@dataclass(frozen=True)
class Serving:
    """A model with its adapters, how it samples, and which engine does it."""

    engine: str  # a name, or "auto"
    model: str  # a folder, or a Hugging Face id
    adapters: Mapping[str, Path]  # name → PEFT folder
    sampling: Sampling
    seed: int
    prompt_ids: tuple[int, ...]  # what the canary asks
    stall_s: float = STALL_S
    gpu_share: float = 1.0  # of a GPU's memory

    def open(
        self, progress: Progress, stopping: Callable[[], bool] = lambda: False, log: Path | None = None
    ) -> Engine:
        """An engine that passed its canary, and is replaced by a fresh one if it dies or hangs.

        A model's engine has a process of its own, whose output goes to `log`.

        Raises:
            EngineError: no such engine, it cannot start, died too often, or mixes adapters up.
            AdapterError: an adapter folder holds no safetensors weights, or does not fit the model.
            Incomplete: `stopping` came while it started.
        """
        name = choose(self.engine, self.sampling.typical_p < 1)
        n_opened = count()

        def open_checked(capacity: int) -> Engine:
            is_first = next(n_opened) == 0  # a restart happens within a stage, and is told by a note
            if is_first:
                progress.stage("engine", name)
            what = (name, self.model, self.adapters, self.sampling, self.seed, capacity)
            if name == "fake":
                fresh = open_engine(*what)
            else:
                fresh = open_process_engine(
                    *what, self.gpu_share, stall_s=self.stall_s, stopping=stopping, log=log
                )
            try:
                if is_first:
                    progress.stage("canary", "base and adapters, alone and mixed")
                check_adapters(fresh, self.prompt_ids, tuple(self.adapters))
            except BaseException:
                fresh.close()
                raise
            return fresh

        return SupervisedEngine(open_checked, CAPACITY[name], progress.note)
