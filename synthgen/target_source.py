"""What a source of targets is: TargetSet, what one draw gives, and Reference, the distribution that it declares.

Stands between `target_rows`, `declared` and the sources of `targets` and `marginal_source`.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from synthgen import braces
from synthgen.conditionals import Conditional, Distribution
from synthgen.declared import Declared
from synthgen.schema import RecordSchema, text_of
from synthgen.target_rows import Row
from synthgen.together import Together, counted

N_REFERENCE = 100_000  # tuples that a function's distribution is taken from
MOST_VALUES = 250  # a field with more distinct values than this is open: it has no declared distribution

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TargetSet:
    """Distinct answers and their probabilities; an answer ends after the last of `fields`."""

    fields: tuple[str, ...]
    answers: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    weights: Weights  # (len(answers),), each above 0, sum 1
    whole: bool  # all fields of the record: then the stop token is a target too


@dataclass(frozen=True)
class Reference:
    """The declared distribution of each field and derived field, open ones left out.

    `draws` holds the fields whose distribution is an estimate, each with the number of tuples behind it; the
    others are exact. `together` is how they go together; None for a single field.
    """

    shares: dict[str, Distribution]
    draws: dict[str, int] = field(default_factory=dict)
    together: Together | None = field(default=None, compare=False)


class TargetSource(ABC):
    """Where targets come from.

    `closed` maps a field to its exact declared distribution (value text → probability), independent of the
    fields before it; `conditionals` maps one to its table given such a field. `fresh` says whether each draw gives
    other tuples.
    """

    kind: Literal["function", "table", "marginals"]
    fresh: bool

    def __init__(
        self, schema: RecordSchema, fields: tuple[str, ...], declared: Declared, content: str
    ) -> None:
        """`content` is what the targets are made of, as text: it decides the fingerprint."""
        self.schema = schema
        self.fields = fields
        self.declared = declared
        facts = json.dumps([self.kind, fields, *declared.facts(), content])
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def closed(self) -> dict[str, Distribution]:
        """Declared fields that are independent of the fields before them."""
        return self.declared.closed

    @property
    def conditionals(self) -> dict[str, Conditional]:
        """Declared fields that are given another one."""
        return self.declared.conditionals

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """The targets of one step, from `n` tuples; equal tuples are joined, so there may be fewer answers.

        Marginals with few combinations, and tables for n=None or n ≥ rows, come in full instead.
        """

    @abstractmethod
    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:
        """What is declared: exact where written down or listed, else the shares among `n` tuples."""

    def _described(
        self, rows: Sequence[Row], weights: Sequence[float] | Weights, draws: int | None
    ) -> Reference:
        """Shares among rows that are all there is, or `draws` tuples; what is declared in their place."""
        columns = self._columns(rows)
        shares = _shares(columns, weights)
        together = counted({name: columns[name] for name in shares}, weights, draws)
        exact = self.declared.marginals
        estimated = {} if draws is None else {name: draws for name in shares if name not in exact}
        return Reference({**shares, **exact}, estimated, together)

    def _target_set(self, rows: Sequence[Row], weights: Iterable[float]) -> TargetSet:
        masses: dict[tuple[str, ...], float] = {}
        for (texts, _), weight in zip(rows, weights, strict=True):
            masses[texts] = masses.get(texts, 0.0) + weight
        values = tuple(masses)
        array = np.fromiter(masses.values(), dtype=np.float64)
        answers = tuple(braces.join(texts) for texts in values)
        whole = len(self.fields) == len(self.schema.fields)
        return TargetSet(self.fields, answers, values, array / array.sum(), whole)

    def _columns(self, rows: Sequence[Row]) -> dict[str, list[str]]:
        """The texts of each field, and of each derived field that follows in every row."""
        columns: dict[str, list[str]] = {
            name: [texts[i] for texts, _ in rows] for i, name in enumerate(self.fields)
        }
        derived: dict[str, list[str]] = {spec.name: [] for spec in self.schema.derived}
        for _, typed in rows if derived else ():
            found = self.schema.derive_partial(dict(zip(self.fields, typed, strict=True)))
            for name in found:
                derived[name].append(text_of(found[name]))
        return columns | {name: texts for name, texts in derived.items() if rows and len(texts) == len(rows)}


def _shares(
    columns: Mapping[str, Sequence[str]], weights: Sequence[float] | Weights
) -> dict[str, Distribution]:
    """Weighted shares of each value, field by field; fields of many values are left out."""
    shares = {}
    for name, texts in columns.items():
        masses: Distribution = {}
        for text, weight in zip(texts, weights, strict=True):
            masses[text] = masses.get(text, 0.0) + weight
        total = math.fsum(masses.values())
        if masses and len(masses) <= MOST_VALUES:
            shares[name] = {text: mass / total for text, mass in masses.items()}
    return shares
