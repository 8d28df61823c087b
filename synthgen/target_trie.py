"""Target tuples + tokenizer → TokenTrie: full soft targets in declared fields, hard ones in open fields.

Stands between `targets` and `trie`. For a sampled tuple, an open field's tokens carry the tuple's weight;
below the same prefix a declared field gets its whole conditional distribution as branches, so that the loss
has no sampling noise there, and the sampled value is walked on. Where the field is given another one, that other's
value in the prefix says which distribution it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from synthgen.declared import Declared
from synthgen.errors import RecipeError
from synthgen.prompt import answer_ids
from synthgen.trie import Builder, TokenTrie

if TYPE_CHECKING:
    from synthgen.conditionals import Conditional
    from synthgen.prompt import Prompt, Tokenizer
    from synthgen.targets import TargetSet

END = "(end)"  # the stop token's place in a trie of whole records


class AnswerTokens:
    """Tokenises answers of one prompt and tells which field each token belongs to.

    Always the whole text, prompt included, as the model will see it: `}` and a line break may be one token. A
    token belongs to the field whose closing brace it holds or precedes; values hold no braces, so counting is
    exact.
    """

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer) -> None:
        self.prompt = prompt
        self.tokenizer = tokenizer
        self._closings: dict[int, int] = {}

    def closings(self, token: int) -> int:
        """How many closing braces a token's text holds."""
        n = self._closings.get(token)
        if n is None:
            stop = token in self.prompt.stop_ids
            n = self._closings[token] = 0 if stop else self.tokenizer.decode([token]).count("}")
        return n

    def leading(self, answer: str, n_fields: int, whole: bool) -> tuple[list[int], list[int]]:
        """Token ids up to the one closing field `n_fields` (`whole`: and the stop token); their fields."""
        text = answer if whole else answer + "\n{"  # what follows decides how the last brace is tokenised
        ids = answer_ids(self.prompt, self.tokenizer, text, closed=whole)
        fields, closed = [], 0
        for token in ids:
            if closed >= n_fields and not whole:
                break
            fields.append(closed)
            closed += self.closings(token)
        if closed < n_fields:
            raise RecipeError(
                f"targets: {answer!r} shows {closed} closing braces in its tokens where {n_fields} fields "
                "were expected; every field is written between curly braces"
            )
        return list(ids[: len(fields)]), fields


def build_trie(
    tokens: AnswerTokens,
    targets: TargetSet,
    closed: Mapping[str, dict[str, float]],
    rng: np.random.Generator,
    exact: bool = False,
    max_branches: int = 256,
    conditionals: Mapping[str, Conditional] | None = None,
) -> TokenTrie:
    """The trie of a set of target tuples.

    `exact`: the targets and weights are the whole distribution (die, marginals multiplied out, a fixed list).
    Otherwise they are a sample, and below each tuple's prefix a field in `closed` (field → rendered value →
    probability) or in `conditionals` (field → its table) gets its declared masses. Where prefixes × values exceed
    `max_branches`, a random part of the prefixes carries the field's whole weight: the same loss in expectation.

    Raises RecipeError where a tuple holds a value its field's declaration lacks, or a target is another's
    prefix.
    """
    known = Declared({}, {}) if exact else Declared(dict(closed), dict(conditionals or {}))
    declared = [name for name in targets.fields if name in known.names]
    fields = (*targets.fields, END) if targets.whole else targets.fields
    builder = Builder(fields)
    own = {i for i, name in enumerate(fields) if name not in declared}
    for answer, weight in zip(targets.answers, targets.weights, strict=True):
        ids, of = tokens.leading(answer, len(targets.fields), targets.whole)
        builder.close(builder.add(ids, of, dict.fromkeys(own, float(weight))), answer)
    for name in declared:
        _branch(builder, tokens, targets, name, known, rng, max_branches)
    # Where no field is declared, the end alone, which always follows, says nothing of the distribution.
    some = (*declared, END) if declared and targets.whole else tuple(declared)
    return builder.build(known=fields if exact else some, exact=exact)


def _branch(
    builder: Builder,
    tokens: AnswerTokens,
    targets: TargetSet,
    name: str,
    known: Declared,
    rng: np.random.Generator,
    max_branches: int,
) -> None:
    """Add a declared field's branches below the prefixes of the targets."""
    at = targets.fields.index(name)
    prefixes: dict[tuple[str, ...], tuple[int, float]] = {}  # → (first target that has it, weight of all)
    widest = 1
    for i, (values, weight) in enumerate(zip(targets.values, targets.weights, strict=True)):
        distribution = _given(known, targets, name, values)
        if not distribution.get(values[at], 0.0) > 0:
            raise RecipeError(
                f"targets: field {name!r} holds {values[at]!r} in a tuple, which its closed distribution "
                f"lacks; declared are {', '.join(map(repr, list(distribution)[:12]))}"
            )
        widest = max(widest, len(distribution))
        first, mass = prefixes.get(values[:at], (i, 0.0))
        prefixes[values[:at]] = (first, mass + float(weight))
    chosen = list(prefixes.values())
    n_chosen = max(1, max_branches // widest)
    if len(chosen) > n_chosen:
        chosen = [chosen[i] for i in rng.choice(len(chosen), n_chosen, replace=False)]
    total_mass = sum(mass for _, mass in chosen)
    for first, mass in chosen:
        values = targets.values[first]
        distribution = _given(known, targets, name, values)
        total_share = sum(distribution.values())
        for value, share in distribution.items():
            if share <= 0:
                continue
            lines = [*values[:at], value, *values[at + 1 : at + 2]]
            answer = "\n".join(f"{{{v}}}" for v in lines)
            whole = targets.whole and at == len(values) - 1
            ids, of = tokens.leading(answer, at + 1, whole)
            n = sum(f <= at for f in of)
            builder.add(ids[:n], of[:n], {at: mass / total_mass * share / total_share})


def _given(known: Declared, targets: TargetSet, name: str, values: tuple[str, ...]) -> dict[str, float]:
    """A declared field's distribution below a tuple's prefix."""
    before = dict(zip(targets.fields, values, strict=True))
    try:
        return known.given(name, before) or {}
    except KeyError:
        parent = known.conditionals[name].parent
        raise RecipeError(
            f"targets: field {name!r}: a tuple holds {parent} {before[parent]!r}, for which its table has no row; "
            "write one"
        ) from None
