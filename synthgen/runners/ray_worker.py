"""What runs on a Ray cluster: workers that turn shard numbers into shards, and the board they report to.

A worker opens its engine once, works off shard after shard with the local runner's loop, and hands each back as
the bytes of its files. It writes nothing into the dataset but its journal: the driver is the only writer, so a
worker that dies, or is only believed dead, can neither double a row nor leave half a file.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from synthgen import __version__
from synthgen.asking import asked, drawn
from synthgen.engines.protocol import Completion, Engine, EngineInfo
from synthgen.engines.serving import Serving
from synthgen.errors import EngineError, Incomplete, RecipeError, SynthgenError
from synthgen.files import cannot_write
from synthgen.folder import JOURNALS
from synthgen.models import model_fingerprint, resolve_model
from synthgen.parquet import ShardEntry
from synthgen.plan import Plan
from synthgen.progress import SilentProgress
from synthgen.prompt import Prompt
from synthgen.recipe import TargetSpec
from synthgen.recipe_tasks import read_target
from synthgen.remedy import Remedy
from synthgen.runners.local import Work, accept, attempts, owed, untuned
from synthgen.schema import RecordSchema, load_model
from synthgen.shard import Counts, Shard, journal_path
from synthgen.spelling import Spelling
from synthgen.tokenizers import load_tokenizer
from synthgen.validation import Record, Rejection

BEFORE = -1  # the number that asks for the sample of the untuned model instead of a shard
TRIES = 4  # of one shard, after which it is taken to kill its workers
TELL_EVERY_S = 1.0


@dataclass(frozen=True)
class Order:
    """What every worker is told; pickled, and all it needs beside the user's schema and the model."""

    version: str
    out: Path
    token: str  # a file of that name in the dataset's .work: who sees it, sees the driver's folder
    schema_ref: str
    base: Path  # the recipe's folder
    model: str  # as the recipe names it
    fingerprints: Mapping[str, object]  # of schema, model and target, as the driver sees them
    plan: Plan
    prompt: Prompt
    max_attempts: int
    adapter_column: bool
    metadata: Mapping[str, str]  # of every Parquet file
    n_before: int  # 0: the sample of the untuned model is there already
    serving: Serving
    adapter_files: Mapping[str, Mapping[str, bytes]]  # adapter → file name → content
    prompts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of adapters that are hard prompts
    remedy: Remedy = Remedy()  # noqa: RUF009 — frozen
    target: TargetSpec | None = None  # what the remedy draws values from: its files are on every machine


@dataclass(frozen=True)
class Shipment:
    """What a worker hands back for one number."""

    number: int
    entry: ShardEntry | None = None  # None: stopped or failed before the shard was through
    files: Mapping[str, bytes] = field(default_factory=dict)  # path in the dataset's folder → content
    n_new: int = 0  # records accepted now, not replayed
    spelled: tuple[int, int] = (0, 0)  # answers whose tokens were looked at, and those in another spelling
    info: EngineInfo | None = None
    error: SynthgenError | None = None


@dataclass(frozen=True)
class State:
    """What the board knows."""

    counts: Mapping[int, tuple[int, int]]  # (accepted, attempted) of every shard that was begun and not taken
    is_busy: bool  # whether a worker is at work
    notes: Sequence[str]


class Board:
    """An actor of the driver's: who works on what, how far, and whether to stop. It outlives the workers."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int]] = {}
        self._busy: dict[int, str] = {}  # number → the worker's place
        self._tries: Counter[int] = Counter()
        self._notes: list[str] = []
        self._is_stopped = False

    def begin(self, number: int, place: str) -> int:
        """Somebody takes up a shard; which try this is, from 1; 0 to stop instead."""
        if self._is_stopped:
            return 0
        self._tries[number] += 1
        if number in self._busy:
            self._notes.append(
                f"{label(number)}: its worker died ({self._busy[number]}); tried again ({place})"
            )
        self._busy[number], self._counts[number] = place, (0, 0)
        return self._tries[number]

    def tell(self, number: int, accepted: int, attempted: int) -> bool:
        """How far a shard is; returns whether to stop."""
        self._counts[number] = (accepted, attempted)
        return self._is_stopped

    def note(self, text: str) -> None:
        """Something for the driver's user."""
        self._notes.append(text)

    def end(self, number: int) -> None:
        """A shard's worker is through with it, for good or ill."""
        self._busy.pop(number, None)

    def look(self, taken: Sequence[int]) -> State:
        """What there is; notes are told once, and the shards that the driver has taken since are forgotten."""
        for number in taken:
            self._counts.pop(number, None)
        notes, self._notes = self._notes, []
        return State(dict(self._counts), bool(self._busy), notes)

    def stop(self) -> None:
        """Ask every worker to save what it has and end."""
        self._is_stopped = True


class ShardWorker:
    """Called by Ray Data with batches of one number; one per actor, with one engine."""

    def __init__(self, order: Order, board: Any) -> None:
        self._order, self._board = order, board
        self._place = f"{platform.node()}, process {os.getpid()}"
        self._scratch = tempfile.TemporaryDirectory(prefix="synthgen-")
        self._engine: Engine | None = None
        self._number, self._counts = BEFORE, Counts()
        self._told = 0.0
        self._is_stopped = False

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Numbers → pickled shipments; a fault comes back as one too, so that its message stays whole."""
        return {"shipment": [pickle.dumps(self.make(int(number))) for number in batch["item"]]}

    def close(self) -> None:
        """Free the engine and the scratch folder; calling it twice is fine."""
        if self._engine is not None:
            self._engine.close()
        self._scratch.cleanup()

    def __del__(self) -> None:
        """Ray Data's way to say that a worker is not needed any more."""
        with suppress(Exception):
            self.close()

    def make(self, number: int) -> Shipment:
        """Work off one shard, or take the sample of the untuned model."""
        self._number, self._counts = number, Counts()
        n_tries = ray.get(self._board.begin.remote(number, self._place))
        if n_tries == 0:
            return Shipment(number)
        try:
            if n_tries > TRIES:
                raise EngineError(
                    f"runner ray: {label(number)}: its workers died, {TRIES} in a row; the notes above say where "
                    "and Ray's logs why, most often memory; mend it, then run the same command again to go on"
                )
            if self._engine is None:
                self._work, self._sees_out = self._ready()
                self._engine = self._opened()
            if number == BEFORE:
                return self._sample(self._engine)
            return self._shard(number, self._engine)
        except Incomplete:
            return Shipment(number)
        except SynthgenError as error:
            return Shipment(number, error=error)
        except OSError as error:
            return Shipment(number, error=cannot_write(Path(self._place), error))
        finally:
            self._board.end.remote(number)

    def _shard(self, number: int, engine: Engine) -> Shipment:
        order, work = self._order, self._work
        place = order.out if self._sees_out else self._folder
        journal = journal_path(place, number)
        shard = Shard(order.plan.ids(number), journal, work.schema, order.adapter_column)
        self._counts, n_new = shard.counts, 0
        before = self._spelling.n, self._spelling.n_other

        def keep(_: Completion, outcome: Record | Rejection) -> None:
            shard.add(outcome)

        try:
            for completion, outcome in attempts(
                work, owed(work, number, shard.replay(), keep), engine, self._stopping
            ):
                shard.journal(completion, outcome.attempt, outcome.adapter)
                shard.add(outcome)
                n_new += isinstance(outcome, Record)
            if self._is_stopped:
                return Shipment(number)
            spelled = self._spelling.n - before[0], self._spelling.n_other - before[1]
            written = self._written(shard, number, order.metadata)
            return replace(written, n_new=n_new, spelled=spelled, info=engine.info)
        finally:
            shard.close(forget=not self._sees_out)

    def _sample(self, engine: Engine) -> Shipment:
        """First attempts of the untuned model, as the local runner takes them."""
        n = self._order.n_before
        if n == 0:
            return Shipment(BEFORE, info=engine.info)
        work = untuned(self._work, n)
        sample = Shard(range(n), self._folder / "none", work.schema, adapter_column=False)
        for _, outcome in attempts(work, ((i, 0) for i in range(n)), engine, self._stopping):
            sample.add(outcome)
        if self._is_stopped:
            return Shipment(BEFORE)
        return replace(self._written(sample, 0, {}), number=BEFORE, info=engine.info)

    def _written(self, shard: Shard, number: int, metadata: Mapping[str, str]) -> Shipment:
        entry, files = shard.write(self._folder, number, metadata), {}
        for name in (f"rejects/{entry['file']}", entry["file"]):
            with suppress(FileNotFoundError):
                files[name] = (self._folder / name).read_bytes()
                (self._folder / name).unlink()
        return Shipment(number, entry, files)

    def _stopping(self) -> bool:
        """Tell the board how far the shard is, now and then; whether to stop, also because the driver is gone."""
        if time.monotonic() - self._told >= TELL_EVERY_S and not self._is_stopped:
            self._told = time.monotonic()
            news = (self._number, self._counts.accepted, self._counts.attempted)
            try:
                self._is_stopped = ray.get(self._board.tell.remote(*news))
            except ray.exceptions.RayError:
                self._is_stopped = True
        return self._is_stopped

    def _ready(self) -> tuple[Work, bool]:
        """The work, made from what this machine holds, and whether it sees the driver's folder.

        Raises:
            RecipeError: it holds another schema, model, target or synthgen than the driver's.
        """
        order = self._order
        if order.version != __version__:
            raise RecipeError(
                f"{self._place}: synthgen {__version__}, expected the driver's {order.version}; "
                "use the same image everywhere"
            )
        schema = RecordSchema.from_model(load_model(order.schema_ref, order.base))
        source = None if order.target is None else read_target(order.target, schema, order.base)
        found = {"schema": schema.fingerprint, "model": model_fingerprint(resolve_model(order.model))}
        if source is not None:
            found["target"] = source.fingerprint
        for what, fingerprint in found.items():
            if fingerprint != order.fingerprints[what]:
                raise RecipeError(
                    f"{self._place}: {what} {fingerprint}, expected the driver's {order.fingerprints[what]}; "
                    f"put the same {what} at the same path on every machine"
                )
        sees_out = (order.out / JOURNALS / order.token).exists()
        tokenizer = load_tokenizer(resolve_model(order.model))
        self._spelling = Spelling(order.prompt, tokenizer)
        look = self._spelling.watching(accept)
        work = Work(order.plan, schema, order.prompt.ids, order.max_attempts, look, prompts=order.prompts)
        values = drawn(order.remedy, source)
        return asked(work, order.remedy, order.prompt, tokenizer, values), sees_out

    def _opened(self) -> Engine:
        adapters = {}
        for name, files in self._order.adapter_files.items():
            adapters[name] = self._folder / "adapters" / name
            adapters[name].mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                (adapters[name] / file).write_bytes(content)
        serving = replace(self._order.serving, model=resolve_model(self._order.model), adapters=adapters)
        place = self._order.out if self._sees_out else self._folder
        log = place / JOURNALS / f"engine-{platform.node()}-{os.getpid()}.log"
        with alone_on(ray.get_gpu_ids() if serving.gpu_share < 1 else []):
            return serving.open(_Notes(self._board), self._stopping, log)

    @property
    def _folder(self) -> Path:
        return Path(self._scratch.name)


class _Notes(SilentProgress):
    """Sends an engine's notes to the board; stages are the driver's to tell."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def note(self, text: str) -> None:
        """One line, with the machine's name."""
        self._board.note.remote(f"{platform.node()}: {text}")


def label(number: int) -> str:
    """How messages name a number."""
    return "the sample of the untuned model" if number == BEFORE else f"shard {number}"


@contextmanager
def alone_on(gpus: Sequence[object]) -> Iterator[None]:
    """Let one engine at a time start on these GPUs: vLLM measures the free memory, and two would mislead each other."""
    if not gpus:
        yield
        return
    name = f"synthgen-{os.getuid()}-gpu-{'-'.join(map(str, gpus))}.lock"
    with Path(tempfile.gettempdir(), name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
