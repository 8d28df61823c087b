"""Engines that die or hang on command, for a child process to open: module functions, as pickling asks."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from synthgen.engines.fake import FakeEngine
from synthgen.engines.process import ProcessEngine
from synthgen.engines.protocol import Completion, Request, Sampling
from synthgen.engines.supervised import SupervisedEngine
from synthgen.errors import AdapterError

Fault = Literal["kill", "hang", "stop", "raise", "memory", "exit", "segv", "forget", "orphan", ""]


def roll(_: Request, rng: np.random.Generator) -> str:
    """A fair die that falls off the table one time in ten."""
    return f"{{{rng.integers(1, 11)}}}" if rng.random() < 0.9 else "{eleven}"


class Planted(FakeEngine):
    """Rolls dice in batches, and then the fault happens, in the middle of the work."""

    def __init__(self, fault: Fault, after: int, capacity: int, adapters: tuple[str, ...]) -> None:
        super().__init__(roll, capacity=capacity, adapters=adapters, sampling=Sampling())
        self._fault, self._left = fault, after

    def poll(self) -> list[Completion]:
        if self._fault and self._left <= 0 and self._queue:
            happen(self._fault)
            self._queue.clear()  # forgotten
        batch = self._queue
        self._queue = type(batch)(list(batch)[:10])
        done = super().poll()
        self._queue = type(batch)(list(batch)[10:])
        self._left -= len(done)
        return done


def happen(fault: Fault) -> None:
    """What the fault does to the process."""
    print("loading shards: 100%", flush=True)
    match fault:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segv":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "stop":  # not even its other threads go on
            os.kill(os.getpid(), signal.SIGSTOP)
        case "exit":
            print("RuntimeError: NCCL gave up\nsome chatter after it", file=sys.stderr, flush=True)
            os._exit(7)
        case "raise":
            raise RuntimeError("the kernel went away")
        case "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "orphan":  # leaves a process behind that holds its end of the line
            if os.fork() == 0:
                time.sleep(20)
            os._exit(3)


def open_planted(
    fault: Fault = "", after: int = 0, capacity: int = 64, adapters: tuple[str, ...] = ()
) -> Planted:
    """An engine whose life ends by the fault after so many completions."""
    return Planted(fault, after, capacity, adapters)


def open_faulty(fault: Fault) -> FakeEngine:
    """Never gets that far."""
    happen(fault)
    raise AdapterError("adapter 'red': does not fit")


def supervised(
    *lives: tuple[Fault, int], stall_s: float = 60.0, note: Callable[[str], None] = print
) -> tuple[SupervisedEngine, list[int]]:
    """Processes with these lives (fault, completions before it), the last one again and again; and their capacities."""
    capacities: list[int] = []

    def open_engine(capacity: int) -> ProcessEngine:
        capacities.append(capacity)
        fault, after = lives[min(len(capacities), len(lives)) - 1]
        return ProcessEngine("planted", partial(open_planted, fault, after, capacity), stall_s=stall_s)

    return SupervisedEngine(open_engine, 64, note), capacities
