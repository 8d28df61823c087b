"""Before a run: does every adapter answer as itself, also when mixed with others in one batch?

Every adapter and the base model answer the same seeded probes alone, then all mixed. Where most mixed answers
are the alone ones, all is well; where most are another adapter's alone ones, it is not. Else (an engine without
seeds, or much rounding) log-probabilities decide. Answers are compared by
    s = mean over an answer's tokens of log p_own − log p_rival
whose mean over the adapter's own alone answers exceeds that over the rival's. A fault is called only if the
two means stand more than eight standard errors apart and the mixed mean is nearer to the rival's; adapters
too alike to be told apart by the probes are let pass. A sound mixed mean would have to be four standard errors
off: a chance of 3 in 100,000, for normal means. Probes are drawn as the run will draw, not greedily: one flip
between two nearly equal tokens changes one answer in sixteen, not the only one there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineError

N_PROBES = 16  # per adapter, alone and again mixed
N_TOKENS = 64  # leading tokens of an answer that are scored
SEPARATION = 8.0  # standard errors
MAX_RIVALS = 8

Name = str | None


def check_adapters(
    engine: Engine, prompt_ids: Sequence[int], adapters: Sequence[str], n_probes: int = N_PROBES
) -> None:
    """Probe an idle engine; with no adapters there is nothing to mix up, and it only has to answer.

    Raises:
        EngineError: an adapter's answers come from another one when mixed, or it changes nothing at all, or
            probes were not answered; the message names the adapter.
    """
    names: tuple[Name, ...] = (None, *adapters)
    prompt = tuple(prompt_ids)
    if not adapters:
        _answers(engine, prompt, (None,), 1)
        return
    alone = {name: _answers(engine, prompt, (name,), n_probes)[name] for name in names}
    mixed = _answers(engine, prompt, names, n_probes)
    for adapter in adapters:
        _refuse_inert(engine, prompt, adapter, alone[None][:2])
    for name in names:
        if _agree(alone[name], mixed[name]):
            continue
        rivals = [other for other in names if other != name][-MAX_RIVALS:]
        if found := [rival for rival in rivals if _agree(alone[rival], mixed[name])]:
            raise _mixed_up(engine, name, found[0])
        if found := [
            rival for rival in rivals if _answers_as(engine, prompt, name, rival, alone, mixed[name])
        ]:
            tokens = _tokens(mixed[name])
            likeliest = max(
                found, key=lambda rival: np.sum(np.concatenate(engine.score(prompt, tokens, rival)))
            )
            raise _mixed_up(engine, name, likeliest)


def _agree(some: Sequence[Completion], others: Sequence[Completion]) -> bool:
    """Whether most answers to the same probes are the same."""
    same = sum(a.text == b.text and a.token_ids == b.token_ids for a, b in zip(some, others, strict=True))
    return 2 * same > len(some)


def _mixed_up(engine: Engine, name: Name, rival: Name) -> EngineError:
    return EngineError(
        f"engine {engine.info.name} {engine.info.version}: mixed in one batch, {_label(name)} answers like "
        f"{_label(rival)}; expected what it answers alone. Use one adapter per run, or `engine: transformers`"
    )


def _answers(
    engine: Engine, prompt: tuple[int, ...], names: Sequence[Name], n_probes: int
) -> dict[Name, list[Completion]]:
    """Each adapter's answers to `n_probes` probes, interleaved in one batch; probe i has the same seed for all."""
    requests = [
        Request(i * len(names) + j, prompt, name, 7919 * (i + 1))
        for i in range(n_probes)
        for j, name in enumerate(names)
    ]
    engine.submit(requests)
    done: dict[int, Completion] = {}
    while len(done) < len(requests):
        finished = engine.poll()
        if not finished:
            lost = next(request for request in requests if request.id not in done)
            raise EngineError(
                f"engine {engine.info.name}: canary: {_label(lost.adapter)} left "
                f"{len(requests) - len(done)} of {len(requests)} probes unanswered"
            )
        for completion in finished:
            if completion.finish_reason == "error":
                name = names[completion.id % len(names)]
                raise EngineError(
                    f"engine {engine.info.name}: canary: {_label(name)} failed a probe: {completion.detail}"
                )
            done[completion.id] = completion
    answers: dict[Name, list[Completion]] = {name: [] for name in names}
    for request in requests:
        answers[request.adapter].append(done[request.id])
    return answers


def _refuse_inert(engine: Engine, prompt: tuple[int, ...], name: str, probes: Sequence[Completion]) -> None:
    """An adapter that changes no token's probability was not loaded, or never trained."""
    texts = _tokens(probes)
    if not texts:
        return
    as_base, as_adapter = engine.score(prompt, texts), engine.score(prompt, texts, name)
    if np.array_equal(np.concatenate(as_base), np.concatenate(as_adapter)):
        raise EngineError(
            f"engine {engine.info.name} {engine.info.version}: {_label(name)} changes no probability of any token; "
            "expected a tuned adapter. Tune it again, or take it out of generate.mix"
        )


def _answers_as(
    engine: Engine,
    prompt: tuple[int, ...],
    own: Name,
    rival: Name,
    alone: dict[Name, list[Completion]],
    mixed: Sequence[Completion],
) -> bool:
    """Whether `own`'s mixed answers look like `rival`'s alone ones rather than like its own alone ones."""

    def log_ratios(answers: Sequence[Completion]) -> np.ndarray:
        texts = _tokens(answers)
        pairs = zip(engine.score(prompt, texts, own), engine.score(prompt, texts, rival), strict=True)
        return np.array([np.mean(a) - np.mean(b) for a, b in pairs])

    at_own, at_rival, found = log_ratios(alone[own]), log_ratios(alone[rival]), log_ratios(mixed)
    if min(len(at_own), len(at_rival), len(found)) < 2:
        return False
    error = np.sqrt(at_own.var(ddof=1) / len(at_own) + at_rival.var(ddof=1) / len(at_rival))
    gap = at_own.mean() - at_rival.mean()
    return bool(gap > max(SEPARATION * error, 1e-3) and found.mean() < at_own.mean() - gap / 2)


def _tokens(answers: Sequence[Completion]) -> list[tuple[int, ...]]:
    """The leading generated tokens of the answers that have any."""
    return [answer.token_ids[:N_TOKENS] for answer in answers if answer.token_ids]


def _label(name: Name) -> str:
    return "the base model" if name is None else f"adapter {name!r}"
