"""What the model writes when it is left to itself: its lists and single draws, and how far they keep to the form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthgen.engines.protocol import Completion, Engine, Request
from synthgen.errors import EngineError

Ended = Literal["complete", "ended early", "value outside", "other form"]
_VALUE = re.compile(r"\{([^{}\n]*)\}")


@dataclass(frozen=True)
class OwnDraws:
    """An answer's leading draws, as indices of the support, and why there are no more."""

    draws: tuple[int, ...]
    ended: Ended


def collect(engine: Engine, requests: Sequence[Request]) -> dict[int, Completion]:
    """Every request's answer by id; EngineError if one is left unanswered or failed."""
    engine.submit(requests)
    done: dict[int, Completion] = {}
    while len(done) < len(requests):
        finished = engine.poll()
        if not finished:
            raise EngineError(
                f"engine {engine.info.name}: left {len(requests) - len(done)} of {len(requests)} questions of the probe "
                "unanswered; expected an answer to each"
            )
        done.update((completion.id, completion) for completion in finished)
    if failed := [completion for completion in done.values() if completion.finish_reason == "error"]:
        raise EngineError(
            f"engine {engine.info.name}: failed {len(failed)} of {len(requests)} questions of the probe: {failed[0].detail}; "
            "ask for shorter lists (--draws), or take another engine"
        )
    return done


def leading_values(text: str, most: int) -> tuple[list[str], Ended]:
    """The values of an answer as far as it is one value in braces per line, at most `most`; what came then."""
    text = text.strip()
    values: list[str] = []
    at = 0
    while len(values) < most and (match := _VALUE.match(text, at)):
        values.append(match[1])
        at = match.end()
        if text[at : at + 1] == "\n":
            at += 1
        else:
            break
    if len(values) == most:
        return values, "complete"
    return values, "ended early" if at >= len(text) else "other form"


def own_draws(text: str, support: Sequence[str], n: int) -> OwnDraws:
    """The leading draws of an answer that are in the support."""
    values, ended = leading_values(text, n)
    place: Mapping[str, int] = {value: i for i, value in enumerate(support)}
    draws: list[int] = []
    for value in values:
        if value not in place:
            return OwnDraws(tuple(draws), "value outside")
        draws.append(place[value])
    return OwnDraws(tuple(draws), ended)
