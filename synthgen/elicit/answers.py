"""A target file → answers with their probabilities, and the trie of their tokens behind one prompt.

The file maps each answer, word for word, to its probability: YAML, or JSON. Light.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from synthgen.errors import RecipeError
from synthgen.prompt import Prompt, Tokenizer, answer_ids
from synthgen.trie import Floats, TokenTrie

TOLERANCE = 1e-3  # by how much the written probabilities may miss 1: three thirds of 0.333 do


@dataclass(frozen=True, eq=False)
class AnswerTarget:
    """Answers and their probabilities, (n,), each above 0, sum 1."""

    name: str
    answers: tuple[str, ...]
    weights: Floats

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over answers and weights."""
        facts = json.dumps([self.answers, self.weights.tolist()], ensure_ascii=False)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def read_answers(path: Path) -> AnswerTarget:
    """Read a target file.

    Raises:
        RecipeError: it is not there, is no mapping of answers to numbers, or does not add up to 1.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise RecipeError(
            f"{path}: cannot be read: {reason}; expected a YAML or JSON file: answer: weight"
        ) from None
    weights: dict[str, float] = {}
    for place, answer, written in _pairs(path, text):
        if answer in weights:
            raise RecipeError(f"{place}: {answer!r} stands twice; write it once, with its whole weight")
        weights[answer] = _weight(place, answer, written)
    if not weights:
        raise RecipeError(f"{path}: found no answer; expected `answer: weight`, one a line")
    total = math.fsum(weights.values())
    if abs(total - 1) > TOLERANCE:
        raise RecipeError(
            f"{path}: found weights that add up to {total:.6g}; expected 1: divide each by {total:.6g}, or mend the "
            "one that is off"
        )
    return AnswerTarget(path.stem, tuple(weights), np.array(list(weights.values())) / total)


def answer_trie(
    target: AnswerTarget, prompt: Prompt, tokenizer: Tokenizer, next_token: bool = False
) -> TokenTrie:
    """The exact trie of a target's answers behind a prompt.

    An answer ends with the stop token; with `next_token` it is one token, and what follows is left open.

    Raises:
        RecipeError: more answers than the vocabulary has tokens, one that is no single token, or the same tokens
            for two.
    """
    if len(target.answers) > tokenizer.vocab_size:
        raise RecipeError(
            f"target {target.name!r}: found {len(target.answers):,} answers; the model's vocabulary holds "
            f"{tokenizer.vocab_size:,} tokens, and a prompt can only choose among these: keep the likeliest answers"
        )
    sequences = [answer_ids(prompt, tokenizer, answer, closed=not next_token) for answer in target.answers]
    if next_token and (long := [i for i, ids in enumerate(sequences) if len(ids) != 1]):
        first = long[0]
        raise RecipeError(
            f"target {target.name!r}: {target.answers[first]!r} is {len(sequences[first])} tokens of this model (and "
            f"so are {len(long) - 1} more); expected one token each: leave --next-token out for short answers"
        )
    twice = dict(zip(sequences, target.answers, strict=True))
    if len(twice) < len(sequences):
        lost = next(a for ids, a in zip(sequences, target.answers, strict=True) if twice[ids] != a)
        other = twice[sequences[target.answers.index(lost)]]
        raise RecipeError(
            f"target {target.name!r}: {lost!r} and {other!r} are the same tokens; keep one of them"
        )
    return TokenTrie.from_sequences(sequences, target.weights, target.answers)


def _pairs(path: Path, text: str) -> Iterator[tuple[str, str, object]]:
    """Place, answer and written weight of every entry, duplicates included."""
    if path.suffix == ".json":
        try:
            found = json.loads(text, object_pairs_hook=list)
        except ValueError as error:
            raise RecipeError(f"{path}: no JSON: {error}; expected an object: answer: weight") from None
        if not isinstance(found, list) or not all(isinstance(pair, tuple) for pair in found):
            raise RecipeError(f"{path}: found {type(found).__name__}; expected an object: answer: weight")
        yield from ((str(path), answer, weight) for answer, weight in found)
        return
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"{path}: no YAML: {reason}; expected `answer: weight`, one a line") from None
    if node is None:
        return
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}: found no mapping; expected `answer: weight`, one a line")
    for key, value in node.value:
        place = f"{path}:{key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise RecipeError(f"{place}: found a nested entry; expected `answer: weight`, one a line")
        yield place, key.value, value.value  # the text as it is written: `yes` and `1` are answers too


def _weight(place: str, answer: str, written: object) -> float:
    try:
        weight = float(str(written)) if not isinstance(written, bool) else math.nan
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise RecipeError(f"{place}: {answer!r}: found the weight {written!r}; expected a number above 0")
    return weight
