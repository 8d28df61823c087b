"""A Ray cluster: how to be in one, and what its machines have room for."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import ray

from synthgen.errors import EngineError, RecipeError
from synthgen.progress import Progress
from synthgen.runners import RayCluster


@contextmanager
def connected(cluster: RayCluster) -> Iterator[bool]:
    """Inside, Ray is there: the session that this process has, the cluster at the address, or one started here.

    Yields whether it may get more machines than it has.
    """
    if ray.is_initialized():
        if cluster.address is not None:
            raise RecipeError(
                f"--address {cluster.address}: this process is in a Ray session already; leave one of the two out"
            )
        with _quiet():
            yield True
        return
    here = cluster.address is None
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if here:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        n_cpus = max(os.cpu_count() or 1, cluster.workers or 1)
        settings |= {"num_cpus": n_cpus, "include_dashboard": False}
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of Ray Data's own doings
    with own_signals():
        start("local" if here else str(cluster.address), settings)
    try:
        with _quiet():
            yield not here
    finally:
        with own_signals():
            ray.shutdown()


def start(address: str, settings: Mapping[str, Any]) -> None:
    """Join the cluster at the address, or start Ray here at "local".

    Raises:
        EngineError: no cluster there, or Ray does not start.
    """
    for last in (False, True):
        try:
            ray.init(address, **settings)
            return
        except Exception as error:  # Ray raises many types
            ray.shutdown()
            if not last and address == "local":
                continue  # Ray gives its own processes 30 s, which is little on a busy machine
            remedy = (
                "look at the free memory and disk of this machine"
                if address == "local"
                else "check that Ray of this version runs there and can be reached; if it wants a token, RAY_AUTH_MODE=token"
            )
            raise EngineError(
                f"runner ray: cannot begin at {address}: {one_line(error)}; {remedy}"
            ) from error


@contextmanager
def own_signals() -> Iterator[None]:
    """Ray sets a handler for SIGTERM of its own; the run's stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Stdout is for results: what Ray prints about dead workers goes to stderr."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Crew:
    """How many workers, and what each gets of the cluster."""

    workers: int
    cpus: int
    gpus: float


def crew_of(cluster: RayCluster, n_items: int, may_grow: bool, progress: Progress) -> Crew:
    """What the user asked for, the rest by what Ray has now; a note says what does not fit.

    Raises:
        RecipeError: GPUs are wanted of a machine that has none, and nothing can bring any.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    machines = [has for has in machines if has.get("CPU", 0) >= 1]
    n_gpus, n_cpus = (sum(has.get(kind, 0.0) for has in machines) for kind in ("GPU", "CPU"))
    gpus = cluster.gpus_per_worker if cluster.gpus_per_worker is not None else float(n_gpus > 0)
    if gpus and not n_gpus and not may_grow:
        raise RecipeError(
            f"--gpus-per-worker {gpus:g}: Ray finds no GPU on this machine; leave it out, or name a cluster's --address"
        )
    wanted = cluster.workers or (int(n_gpus) * int(1 / gpus + 1e-6) if gpus else len(machines)) or 1
    workers = min(wanted, n_items)
    if workers < wanted:
        progress.note(
            f"{n_items} shards to do keep {workers} of {wanted} workers busy; "
            "export.rows_per_shard makes shards smaller"
        )
    on_each = -(-workers // max(1, len(machines)))
    cpus = 1 if gpus or not machines else max(1, int(min(has["CPU"] for has in machines) // on_each))
    if workers * cpus > n_cpus or workers * gpus > n_gpus + 1e-6:
        progress.note(
            f"{workers} workers ask for {workers * cpus} CPUs and {workers * gpus:g} GPUs, and Ray has {n_cpus:g} and "
            f"{n_gpus:g}; those that find no room wait until the cluster grows"
        )
    return Crew(workers, cpus, gpus)


def one_line(error: BaseException) -> str:
    """The type and the first words of what Ray says, which may be pages."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
