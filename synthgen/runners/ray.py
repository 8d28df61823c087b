"""Works off a plan on a Ray cluster: shard numbers mapped over Ray Data, an engine in every actor, one writer here.

Ray starts the workers, balances the shards and begins a dead worker's shard again elsewhere. What a worker hands
back is written and entered into the manifest here, as it arrives. Progress and the wish to stop go over a small
actor, the board (see ray_worker.py).
"""

from __future__ import annotations

import io
import logging
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from synthgen import __version__
from synthgen.engines.protocol import EngineInfo
from synthgen.engines.serving import Serving
from synthgen.errors import EngineError, Incomplete, SynthgenError
from synthgen.files import write_atomically, writing
from synthgen.folder import JOURNALS
from synthgen.progress import Progress
from synthgen.prompt import Prompt
from synthgen.recipe import TargetSpec
from synthgen.recipe_tasks import read_target
from synthgen.remedy import Remedy
from synthgen.runners import RayCluster
from synthgen.runners.local import Work
from synthgen.runners.ray_cluster import Crew, connected, crew_of, one_line
from synthgen.runners.ray_worker import BEFORE, TRIES, Board, Order, ShardWorker, Shipment, State
from synthgen.shard import Counts
from synthgen.sink import Sink

TICK_S = 1.0  # between two looks at the board
STOP_S = 20.0  # for the workers to save their journals
END_S = 10.0  # for Ray Data to end


@dataclass(frozen=True)
class Source:
    """What a worker cannot get from `Work`: schema and model as the recipe names them, and the whole prompt."""

    schema_ref: str
    base: Path
    model: str
    prompt: Prompt
    remedy: Remedy = Remedy()  # noqa: RUF009 — frozen
    target: TargetSpec | None = None  # what the remedy draws values from


@dataclass(frozen=True)
class Made:
    """What a run on Ray came to, beside the dataset."""

    n_new: int  # records accepted now, not replayed
    info: EngineInfo  # of the workers' engines
    n_spelled: int  # answers whose tokens were looked at (see spelling.py)
    n_other: int  # … and those in another spelling


def work_off(
    work: Work,
    source: Source,
    serving: Serving,
    sink: Sink,
    n_before: int,
    cluster: RayCluster,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
) -> Made:
    """Generate what the sink lacks.

    Also takes the sample of the untuned model, `n_before` records, if the sink has none. Ends early, with the
    workers' journals saved, once `stopping()`.

    Raises:
        RecipeError: the cluster or a machine of it does not fit the recipe; the message says where.
        EngineError: no connection, an engine that cannot start, or a shard that kills its workers.
        SinkError: the dataset cannot be written.
        Incomplete: `stopping()` came before a worker was through.
    """
    numbers = sink.shards_to_do()
    n_before = 0 if sink.has_before else n_before
    if n_before or not numbers:
        numbers.insert(0, BEFORE)  # with nothing left to do, one worker still says which engine it is
    with connected(cluster) as may_grow, _seen(sink.out) as token:
        crew = crew_of(cluster, len(numbers), may_grow, progress)
        order = Order(
            version=__version__,
            out=sink.out.resolve(),
            token=token,
            schema_ref=source.schema_ref,
            base=source.base.resolve(),
            model=source.model,
            fingerprints=_fingerprints(source, work, sink),
            plan=sink.plan,
            prompt=source.prompt,
            remedy=source.remedy,
            target=source.target,
            prompts=work.prompts,
            max_attempts=work.max_attempts,
            adapter_column=sink.adapter_column,
            metadata=sink.metadata,
            n_before=n_before,
            serving=replace(serving, gpu_share=crew.gpus or 1.0, adapters={}),
            adapter_files={name: _files(folder) for name, folder in serving.adapters.items()},
        )
        driver = _Driver(sink, progress)
        with closing(_shipments(numbers, crew, order, driver.board)) as shipments:
            try:
                driver.run(shipments, stopping)
            except ray.exceptions.RayError as error:
                raise _gave_up(error) from error
    if driver.info is None:
        raise Incomplete(
            "runner ray: stopped before a worker was through; run the same command again to go on"
        )
    settings = {**driver.info.settings, "workers": crew.workers}
    return Made(driver.n_new, replace(driver.info, settings=settings), driver.n_spelled, driver.n_other)


class _Driver:
    """The receiving end: writes what arrives, tells how far all is, and stops the workers when it must end."""

    def __init__(self, sink: Sink, progress: Progress) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        ways = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}  # what it forgets does no harm
        self.board: Any = ray.remote(**ways)(Board).options(scheduling_strategy=here).remote()
        self.n_new = self.n_spelled = self.n_other = 0
        self.info: EngineInfo | None = None
        self._sink, self._progress = sink, progress
        self._taken: set[int] = set()
        self._untold: list[int] = []  # taken since the last look at the board

    def run(self, shipments: Iterator[Shipment | None], stopping: Callable[[], bool]) -> None:
        """Take shipments until there are no more; once something is amiss, until no worker is busy."""
        error: SynthgenError | None = None
        deadline: float | None = None
        for shipment in shipments:
            if shipment is not None and shipment.error is not None:
                error = error or shipment.error
            elif shipment is not None:
                self._take(shipment)
            state: State = ray.get(self.board.look.remote(self._untold))
            self._tell(state)
            if deadline is not None and (not state.is_busy or time.monotonic() > deadline):
                break
            if error or stopping():
                deadline = deadline or time.monotonic() + STOP_S
                ray.get(self.board.stop.remote())
        if error is not None:
            raise error

    def _take(self, shipment: Shipment) -> None:
        self.info = shipment.info or self.info
        entry, out = shipment.entry, self._sink.out
        if entry is None or shipment.number in self._taken:
            return
        self._taken.add(shipment.number)
        if shipment.number == BEFORE:
            counts = Counts()
            counts.merge(entry["counts"])
            self._sink.write_before(pl.read_parquet(io.BytesIO(shipment.files[entry["file"]])), counts)
            return
        with writing(out):
            (out / "rejects" / entry["file"]).unlink(missing_ok=True)  # of an earlier try
            for name, content in shipment.files.items():
                (out / name).parent.mkdir(exist_ok=True)
                write_atomically(out / name, partial(_write, content))
        self._sink.adopt(shipment.number, entry)
        self._untold.append(shipment.number)
        self.n_new += shipment.n_new
        self.n_spelled += shipment.spelled[0]
        self.n_other += shipment.spelled[1]

    def _tell(self, state: State) -> None:
        self._untold.clear()
        for note in state.notes:
            self._progress.note(note)
        shards = [counts for number, counts in state.counts.items() if number != BEFORE]
        accepted = self._sink.counts.accepted + sum(accepted for accepted, _ in shards)
        attempted = self._sink.counts.attempted + sum(attempted for _, attempted in shards)
        self._progress.generating(accepted, self._sink.plan.n, attempted, attempted - accepted)


def _shipments(
    numbers: list[int], crew: Crew, order: Order, board: Any
) -> Generator[Shipment | None, None, None]:
    """What the workers hand back, as it comes, and None whenever `TICK_S` passes without.

    Raises:
        EngineError: Ray gave up.
    """
    arrived: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
    has_ended = threading.Event()
    shards = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
        ShardWorker,
        fn_constructor_args=(order, board),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=crew.workers, max_tasks_in_flight_per_actor=1),
        num_cpus=crew.cpus,
        num_gpus=crew.gpus or None,
    )
    shards.context.enable_progress_bars = False
    shards.context.print_on_execution_start = False
    shards.context.execution_no_progress_timeout_s = -1  # a shard may take hours
    shards.context.max_consecutive_actor_init_deaths = TRIES

    def receive() -> None:
        try:
            for batch in shards.iter_batches(batch_size=None, prefetch_batches=0, batch_format="numpy"):
                for shipment in batch["shipment"]:
                    arrived.put(shipment)
                if has_ended.is_set():
                    return
            arrived.put(None)
        except Exception as error:  # Ray raises many types
            arrived.put(error)

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    try:
        while True:
            logging.getLogger("ray.data").setLevel(
                logging.CRITICAL
            )  # set anew when Ray Data begins a dataset
            try:
                item = arrived.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise _gave_up(item) from item
            yield pickle.loads(item)  # noqa: S301 our own workers'
    finally:
        has_ended.set()
        board.stop.remote()  # what is left comes back at once, and Ray Data ends before Ray does
        receiver.join(END_S)


def _gave_up(error: Exception) -> EngineError:
    return EngineError(
        f"runner ray: {one_line(error)}; Ray's logs say more; run the same command again to go on"
    )


@contextmanager
def _seen(out: Path) -> Iterator[str]:
    """A file in the dataset's folder, by which a worker finds out whether it sees that folder too."""
    token = f"ray-{uuid.uuid4().hex}"
    with writing(out):
        (out / JOURNALS).mkdir(exist_ok=True)
        (out / JOURNALS / token).touch()
    try:
        yield token
    finally:
        with suppress(OSError):
            (out / JOURNALS / token).unlink()


def _fingerprints(source: Source, work: Work, sink: Sink) -> dict[str, object]:
    """Of all that every worker must have the same."""
    found = {key: sink.identity[key] for key in ("schema", "model")}
    if source.target is not None:
        found["target"] = read_target(source.target, work.schema, source.base).fingerprint
    return found


def _files(folder: Path) -> dict[str, bytes]:
    """An adapter's folder as it travels."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
