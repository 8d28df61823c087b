"""How a prompt asks for variety in words alone (`generate.ask`), and how an answer of another form is read.

    varied       one sentence that asks for randomness
    verbalised   several answers with their probabilities, of which one is drawn: verbalised sampling, Zhang et al.
                 2025, arXiv 2510.01171
    avoid        values of earlier records, not to be used again; records then depend on their order
    seed-string  a random string first, the answer derived from it: string seed of thought, arXiv 2510.21150

Stands between `braces` and `asking`. A model that does not follow its instructions has its answers rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthgen.braces import ParseFailure, Reason, parse

if TYPE_CHECKING:
    from synthgen.engines.protocol import Completion
    from synthgen.recipe import Asking
    from synthgen.validation import Read

N_CANDIDATES = 5  # answers in one, when verbalised
MOST_AVOIDED = 40  # values listed
SEED_LENGTH = 8  # letters and digits of a seed string, at least
_SEED_TOKENS = 48  # room for the string and a line of reasoning

VARIED = (
    "Choose every value at random, so that many answers to this request would differ from each other as much as "
    "possible; rare values are as welcome as common ones."
)
VERBALISED = (
    f"Give {N_CANDIDATES} different answers instead of one, sampled at random from all possible answers, unlikely "
    'ones included. Before each of them write a line "Probability: p", where p is the probability of that answer, '
    "a number from 0 to 1."
)
SEED_STRING = (
    'First write one line "Seed: " followed by a random string of 16 letters and digits. Then derive every value '
    "of the answer from that string, so that another string would give other values, and write the answer."
)
STATED = "Use these values:"
AVOIDED = "Do not use any of these values again:"

_HEAD = re.compile(
    r"^[^\w{}\n]*(?:\d+[^\w{}\n]+)?probability[^\w{}\n.−-]*(.*)$", re.IGNORECASE | re.MULTILINE
)
_PROBABILITY = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)\s*(%?)[^\w{}]*", re.IGNORECASE)
_SEED = re.compile(
    rf"\s*[^\w{{}}\n]*seed[^\w{{}}\n]*[A-Za-z0-9]{{{SEED_LENGTH},}}[^\w{{}}\n]*\n", re.IGNORECASE
)


def worded(
    user: str, ask: Asking, stated: Sequence[tuple[str, str]] = (), avoided: Sequence[str] = ()
) -> str:
    """The user message with values to use (label, text), values to avoid, and what `ask` adds."""
    parts = [user]
    if stated:
        parts += [STATED, *(f"{label}: {text}" for label, text in stated)]
    if avoided:
        parts.append(f"{AVOIDED} {'; '.join(avoided)}")
    added = {"varied": VARIED, "verbalised": VERBALISED, "seed-string": SEED_STRING}
    return "\n".join([*parts, *([added[ask]] if ask in added else [])])


def most_tokens(ask: Asking, max_tokens: int) -> int:
    """What an answer may take, if a record may take `max_tokens`."""
    if ask == "verbalised":
        return N_CANDIDATES * max_tokens
    return max_tokens + (_SEED_TOKENS if ask == "seed-string" else 0)


def reader(ask: Asking, n_fields: int, seed: int) -> Read | None:
    """What reads the record out of an answer; None where the answer is the record."""
    if ask == "seed-string":
        return lambda completion, _attempt: after_seed(completion, n_fields)
    if ask != "verbalised":
        return None

    def read(completion: Completion, attempt: int) -> tuple[str, ...] | ParseFailure:
        found = candidates(completion, n_fields)
        if isinstance(found, ParseFailure):
            return found
        stated = np.array([probability for probability, _ in found])
        rng = np.random.default_rng([seed, completion.id, attempt])
        return found[rng.choice(len(found), p=stated / stated.sum())][1]

    return read


def candidates(completion: Completion, n_fields: int) -> list[tuple[float, tuple[str, ...]]] | ParseFailure:
    """The answers in an answer, each with its stated probability, or why they cannot be trusted; never raises.

    Exactly `N_CANDIDATES`, every one a whole record behind a line with a probability, not all of them 0. They need
    not add up to 1.
    """
    text, truncated = completion.text, completion.finish_reason == "length"
    heads = list(_HEAD.finditer(text))
    before = text[: heads[0].start()] if heads else text
    if "{" in before or "}" in before:
        return ParseFailure("missing_probability", "a value stands before the first line with a probability")
    if len(heads) != N_CANDIDATES:
        reason: Reason = "extra_candidate" if len(heads) > N_CANDIDATES else "missing_candidate"
        if truncated and len(heads) < N_CANDIDATES:
            reason = "truncated"
        return ParseFailure(reason, f"found {len(heads)} answers, expected {N_CANDIDATES}")
    found = []
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for number, (head, end) in enumerate(zip(heads, ends, strict=True), 1):
        probability = _probability(head[1])
        if probability is None:
            return ParseFailure("wrong_probability", f"answer {number}: found {head[1][:40]!r}")
        is_last = number == N_CANDIDATES
        values = parse(text[head.end() : end], n_fields, truncated=truncated and is_last)
        if isinstance(values, ParseFailure):
            return ParseFailure(values.reason, f"answer {number}: {values.detail}")
        found.append((probability, values))
    if not any(probability for probability, _ in found):
        return ParseFailure("wrong_probability", "every answer has the probability 0")
    return found


def after_seed(completion: Completion, n_fields: int) -> tuple[str, ...] | ParseFailure:
    """The record behind the line with the seed string, or why it cannot be trusted; never raises."""
    truncated = completion.finish_reason == "length"
    seed = _SEED.match(completion.text)
    if seed is None:
        return ParseFailure(
            "missing_seed",
            f"the answer does not begin with a line `Seed:` and {SEED_LENGTH} letters or digits",
        )
    return parse(completion.text[seed.end() :], n_fields, truncated=truncated)


def _probability(text: str) -> float | None:
    match = _PROBABILITY.fullmatch(text)
    if match is None:
        return None
    value = float(match[1]) / (100 if match[2] else 1)
    return value if 0 <= value <= 1 else None
