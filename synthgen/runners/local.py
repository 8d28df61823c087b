"""Works off a plan on this machine: one engine, kept full, no barrier between batches or shards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineError
from synthgen.plan import BASE, Plan
from synthgen.schema import RecordSchema
from synthgen.sink import Sink
from synthgen.validation import Read, Record, Rejection, Validator

PROGRESS_S = 0.1  # between two tellings
Try = tuple[int, int]  # (record id, attempt)
Admit = Callable[[Record, Completion], Record | Rejection]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one attempt is asked: a prompt, and the tokens that its answer is made to begin with."""

    prompt_ids: tuple[int, ...]
    prefix_ids: tuple[int, ...] = ()


Ask = Callable[[int, int], Asked]  # record id, attempt → what is asked


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
    ask: Ask | None = None  # None: the prompt, and nothing forced
    read: Read | None = None  # of answers that are not the record alone; None: they are
    at_once: int | None = None  # attempts in flight at most; None: what the engine holds
    prompts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of adapters that are hard prompts


def untuned(work: Work, n: int) -> Work:
    """First attempts of the untuned model at the plain prompt, for before and after."""
    plan = Plan(n, work.plan.seed + 1, ((BASE, 1.0),), n)
    return replace(work, plan=plan, max_attempts=1, admit=accept, ask=None, read=None, at_once=None)


def attempts(
    work: Work,
    tries: Iterable[Try],
    engine: Engine,
    stopping: Callable[[], bool] = lambda: False,
    spared: dict[int, int] | None = None,
) -> Iterator[tuple[Completion, Record | Rejection]]:
    """Every attempt's completion and outcome, as they finish; ends when all is accepted, given up or `stopping()`.

    A rejected record is tried again with a new seed and the same adapter, `max_attempts` times in all. An answer that
    nothing but a quota refused uses up none of them: the count begins again behind it. `spared` holds where, by
    record id.

    Raises:
        EngineError: the engine died, or answered what it was not asked.
    """
    fresh, again, validate = iter(tries), deque[Try](), Validator(work.schema, work.read)
    in_flight: dict[int, int] = {}  # record id → attempt
    spared = {} if spared is None else spared
    while not stopping():
        most = engine.capacity if work.at_once is None else min(work.at_once, engine.capacity)
        room = max(0, most - len(in_flight))
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
            attempt = in_flight.pop(completion.id, None)
            if attempt is None:
                raise EngineError(
                    f"engine {engine.info.name}: answered record {completion.id}, which was not asked"
                )
            adapter = work.plan.adapter_of(completion.id)
            outcome = validate(completion, attempt, adapter)
            if isinstance(outcome, Record):
                outcome = work.admit(outcome, completion)
            _spare(spared, outcome)
            if isinstance(outcome, Rejection) and _may_go_on(work, outcome.id, attempt + 1, spared):
                again.append((completion.id, attempt + 1))
            yield completion, outcome


def work_off(
    work: Work,
    engine: Engine,
    sink: Sink,
    stopping: Callable[[], bool] = lambda: False,
    on_progress: Callable[[], None] = lambda: None,
) -> int:
    """Generate every record the sink lacks, and put every attempt into it; returns how many were accepted now.

    `on_progress` is called behind the first and the last attempt, and every `PROGRESS_S` between.
    """
    n_accepted, told = 0, 0.0
    spared: dict[int, int] = {}
    for completion, outcome in attempts(work, _owed(work, sink, spared), engine, stopping, spared):
        sink.write(completion, outcome)
        n_accepted += isinstance(outcome, Record)
        if time.monotonic() - told > PROGRESS_S:
            on_progress()
            told = time.monotonic()
    if told:
        on_progress()
    sink.sync()
    return n_accepted


def _request(work: Work, record_id: int, attempt: int) -> Request:
    adapter = work.plan.adapter_of(record_id)
    seed = work.plan.seed_of(record_id, attempt)
    if work.ask is None and not work.prompts:
        return Request(record_id, work.prompt_ids, None if adapter == BASE else adapter, seed)
    asked = Asked(work.prompt_ids) if work.ask is None else work.ask(record_id, attempt)
    if adapter in work.prompts:  # no adapter to the engine: the untuned model, asked in other words
        return Request(record_id, work.prompts[adapter], None, seed, asked.prefix_ids)
    return Request(record_id, asked.prompt_ids, None if adapter == BASE else adapter, seed, asked.prefix_ids)


def mean_prompt(work: Work, most: int = 256) -> float:
    """Mean number of tokens that a first attempt is given, forced ones included, over the first records."""
    first = [_request(work, i, 0) for i in range(min(most, work.plan.n))]
    return sum(len(request.prompt_ids) + len(request.prefix_ids) for request in first) / max(1, len(first))


def owed(
    work: Work,
    number: int,
    journalled: Iterable[tuple[Completion, int, str]],
    keep: Callable[[Completion, Record | Rejection], None],
    spared: dict[int, int] | None = None,
) -> Iterator[Try]:
    """The tries that a shard still owes; what was journalled is kept, not generated again. `spared`: see `attempts`."""
    validate = Validator(work.schema, work.read)
    spared = {} if spared is None else spared
    next_attempt: dict[int, int] = {}
    accepted: set[int] = set()
    for completion, attempt, adapter in list(journalled):
        if completion.id in accepted:  # two workers wrote one journal: the first answer counts
            continue
        outcome = validate(completion, attempt, adapter)
        if isinstance(outcome, Record):
            outcome = work.admit(outcome, completion)
        keep(completion, outcome)
        _spare(spared, outcome)
        next_attempt[completion.id] = attempt + 1
        if isinstance(outcome, Record):
            accepted.add(completion.id)
    for record_id in work.plan.ids(number):
        attempt = next_attempt.get(record_id, 0)
        if record_id not in accepted and _may_go_on(work, record_id, attempt, spared):
            yield record_id, attempt


def _spare(spared: dict[int, int], outcome: Record | Rejection) -> None:
    """Begin to count a record's attempts anew behind one that only a quota refused; forget it once it is accepted."""
    if isinstance(outcome, Record):
        spared.pop(outcome.id, None)
    elif outcome.stage == "quota":
        spared[outcome.id] = outcome.attempt + 1


def _may_go_on(work: Work, record_id: int, attempt: int, spared: Mapping[int, int]) -> bool:
    """Whether a record has this attempt left, from 0."""
    return attempt - spared.get(record_id, 0) < work.max_attempts


def _owed(work: Work, sink: Sink, spared: dict[int, int]) -> Iterator[Try]:
    """The same for every shard to do, one after the other."""

    def keep(completion: Completion, outcome: Record | Rejection) -> None:
        sink.write(completion, outcome, journal=False)

    for number in sink.shards_to_do():
        yield from owed(work, number, sink.shard(number).replay(), keep, spared)
