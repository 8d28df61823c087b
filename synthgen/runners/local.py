"""Works off a plan on this machine: one engine, kept full, no barrier between batches or shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineError
from synthgen.plan import BASE, Plan
from synthgen.schema import RecordSchema
from synthgen.sink import Sink
from synthgen.validation import Record, Rejection, validate

Try = tuple[int, int]  # (record id, attempt)
Admit = Callable[[Record, Completion], Record | Rejection]


def accept(record: Record, _: Completion) -> Record:
    """Admit every valid record."""
    return record


@dataclass(frozen=True, slots=True)
class Work:
    """What every record of a run has in common."""

    plan: Plan
    schema: RecordSchema
    prompt_ids: tuple[int, ...]
    max_attempts: int
    admit: Admit = accept  # the last word on a valid record


def attempts(
    work: Work, tries: Iterable[Try], engine: Engine, stopping: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Completion, Record | Rejection]]:
    """Every attempt's completion and outcome, as they finish; ends when all is accepted, given up or `stopping()`.

    A rejected record is tried again with a new seed and the same adapter, `max_attempts` times in all.

    Raises:
        EngineError: the engine died, or answered what it was not asked.
    """
    fresh, again = iter(tries), deque[Try]()
    in_flight: dict[int, int] = {}  # record id → attempt
    while not stopping():
        room = max(0, engine.capacity - len(in_flight))
        batch = [again.popleft() for _ in range(min(room, len(again)))]
        batch += islice(fresh, room - len(batch))
        in_flight.update(batch)
        engine.submit([_request(work, *one) for one in batch])
        completions = engine.poll()
        if not completions:
            if in_flight:
                raise EngineError(f"engine {engine.info.name}: {len(in_flight)} requests were never answered")
            return
        for completion in completions:
            if completion.id not in in_flight:
                raise EngineError(
                    f"engine {engine.info.name}: answered record {completion.id}, which was not asked"
                )
            attempt = in_flight.pop(completion.id)
            outcome = validate(work.schema, completion, attempt, work.plan.adapter_of(completion.id))
            if isinstance(outcome, Record):
                outcome = work.admit(outcome, completion)
            if isinstance(outcome, Rejection) and attempt + 1 < work.max_attempts:
                again.append((completion.id, attempt + 1))
            yield completion, outcome


def work_off(
    work: Work,
    engine: Engine,
    sink: Sink,
    stopping: Callable[[], bool] = lambda: False,
    on_progress: Callable[[], None] = lambda: None,
) -> int:
    """Generate every record the sink lacks, and put every attempt into it; returns how many were accepted now."""
    n_accepted = 0
    for completion, outcome in attempts(work, _owed(work, sink), engine, stopping):
        sink.write(completion, outcome)
        n_accepted += isinstance(outcome, Record)
        on_progress()
    sink.sync()
    return n_accepted


def _request(work: Work, record_id: int, attempt: int) -> Request:
    adapter = work.plan.adapter_of(record_id)
    seed = work.plan.seed_of(record_id, attempt)
    return Request(record_id, work.prompt_ids, None if adapter == BASE else adapter, seed)


def owed(
    work: Work,
    number: int,
    journalled: Iterable[tuple[Completion, int, str]],
    keep: Callable[[Completion, Record | Rejection], None],
) -> Iterator[Try]:
    """The tries that a shard still owes; what was journalled is kept, not generated again."""
    next_attempt: dict[int, int] = {}
    accepted: set[int] = set()
    for completion, attempt, adapter in list(journalled):
        if completion.id in accepted:  # two workers wrote one journal: the first answer counts
            continue
        outcome = validate(work.schema, completion, attempt, adapter)
        if isinstance(outcome, Record):
            outcome = work.admit(outcome, completion)
        keep(completion, outcome)
        next_attempt[completion.id] = attempt + 1
        if isinstance(outcome, Record):
            accepted.add(completion.id)
    for record_id in work.plan.ids(number):
        attempt = next_attempt.get(record_id, 0)
        if record_id not in accepted and attempt < work.max_attempts:
            yield record_id, attempt


def _owed(work: Work, sink: Sink) -> Iterator[Try]:
    """The same for every shard to do, one after the other."""

    def keep(completion: Completion, outcome: Record | Rejection) -> None:
        sink.write(completion, outcome, journal=False)

    for number in sink.shards_to_do():
        yield from owed(work, number, sink.shard(number).replay(), keep)
