"""A declared distribution → the values of each record, drawn outside the model or exactly from its own.

Stands between `targets` and `asking`. Every draw is a function of the recipe's seed and the record's id: neither
attempts nor their order change it, so a record that is tried again, or made in a resumed or extended run, has the
same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from synthgen import braces
from synthgen.errors import RecipeError

if TYPE_CHECKING:
    from synthgen.engines.protocol import Engine
    from synthgen.target_source import TargetSource

BLOCK = 512  # records whose tuples are drawn together
LARGEST_SUPPORT = 4096  # value tuples that `exact` scores
_N_BLOCKS = 64  # kept for records that are tried again
_CHOICE = 1  # keeps the draws of `Restricted` apart from those of `Draws`

Texts = tuple[str, ...]  # one value per field, as it is written between the braces
Values = Callable[[int], Texts]  # record id → the values of the balanced fields
Floats = npt.NDArray[np.float64]


class Draws:
    """The tuple of every record id, from a declared distribution.

    A listed distribution (marginals, table) gives independent draws. A function is asked for `BLOCK` tuples at a
    time, dealt out in random order: as independent as the function makes them, and right too where it balances
    the tuples of one call among themselves.
    """

    def __init__(self, source: TargetSource, fields: Sequence[str], seed: int) -> None:
        """`fields` are among the source's, in the order in which the values are wanted."""
        self._source, self._seed = source, seed
        self._places = [source.fields.index(name) for name in fields]
        self._listed = None if source.fresh else source.draw(np.random.default_rng(seed))
        self._block = lru_cache(maxsize=_N_BLOCKS)(self._drawn)

    def __call__(self, record_id: int) -> Texts:
        """The record's values."""
        number, place = divmod(record_id, BLOCK)
        values = self._block(number)[place]
        return tuple(values[i] for i in self._places)

    def _drawn(self, number: int) -> list[Texts]:
        rng = np.random.default_rng([self._seed, number])
        if self._listed is not None:
            chosen = rng.choice(len(self._listed.values), size=BLOCK, p=self._listed.weights)
            return [self._listed.values[i] for i in chosen]
        drawn = self._source.draw(rng, BLOCK)
        times = np.rint(drawn.weights * BLOCK).astype(int)
        return [drawn.values[i] for i in rng.permutation(np.repeat(np.arange(len(times)), times))]


def support_of(source: TargetSource, fields: Sequence[str]) -> tuple[Texts, ...]:
    """All value tuples that a declared distribution gives to some of its fields.

    Those of its rows where it is listed, else every combination of the fields' declared values that may be.

    Raises:
        RecipeError: a field is open, or there are more than `LARGEST_SUPPORT` tuples.
    """
    if not source.fresh:
        places = [source.fields.index(name) for name in fields]
        rows = source.draw(np.random.default_rng(0)).values
        found = tuple(dict.fromkeys(tuple(row[i] for i in places) for row in rows))
        _refuse_large(fields, len(found))
        return found
    cells: list[Texts] = [()]
    for name in fields:
        cells = [(*texts, text) for texts in cells for text in _values(source, fields, name, texts)]
        _refuse_large(fields, len(cells))
    return tuple(cells)


def _values(source: TargetSource, fields: Sequence[str], name: str, before: Texts) -> Sequence[str]:
    """What a field may be behind these values of the fields before it."""
    spec, table = source.schema.field(name), source.conditionals.get(name)
    if table is not None and table.parent in fields:
        return list(table.rows.get(before[list(fields).index(table.parent)], ()))
    declared = source.declared.values_of(name)
    if declared is None and spec.support is not None:
        declared = tuple(braces.render_value(spec, value) for value in spec.support)
    if declared is None:
        raise RecipeError(
            f"balance: exact needs finitely many declared values, and {name!r} is open; declare them "
            "(`closed`, marginals or a table), leave it out, or write `balance: prefill`"
        )
    return declared


@dataclass(frozen=True)
class Restricted:
    """pθ(· | prompt, T) of every adapter over a finite set T of value tuples, and log pθ(T | prompt).

    Exact: each tuple's probability divided by their sum, which on a token trie is one backward pass over
    subtree mass. Masking tokens step by step would be another distribution.
    """

    support: tuple[Texts, ...]
    shares: Mapping[str, Sequence[float]]  # adapter → (len(support),), sum 1
    log_mass: Mapping[
        str, float
    ]  # adapter → log pθ(T | prompt), in nats; a lower bound: the tokenizer's own tokens

    def values(self, seed: int, adapter_of: Callable[[int], str]) -> Values:
        """A tuple for every record, drawn from its adapter's probabilities."""
        cumulative = {name: np.cumsum(shares) for name, shares in self.shares.items()}

        def drawn(record_id: int) -> Texts:
            ends = cumulative[adapter_of(record_id)]
            uniform = np.random.default_rng([seed, record_id, _CHOICE]).random()
            return self.support[int(np.searchsorted(ends, uniform * ends[-1], side="right"))]

        return drawn

    def to_json(self) -> dict[str, object]:
        """For the manifest, so that a resumed or extended run draws from the same numbers."""
        return {"shares": {k: list(v) for k, v in self.shares.items()}, "log_mass": dict(self.log_mass)}


def score_support(
    engine: Engine,
    prompt_ids: Sequence[int],
    support: tuple[Texts, ...],
    openings: Sequence[Sequence[int]],
    adapters: Mapping[str, str | None],
) -> Restricted:
    """Score every tuple once per adapter, (name in the mix → name in the engine); the engine must be idle.

    `openings` are the tuples' answer tokens, none of them the beginning of another.
    """
    shares, log_mass = {}, {}
    for name, served in adapters.items():
        scores = engine.score(prompt_ids, openings, served)
        logs: Floats = np.array([math.fsum(row) for row in scores])
        most = float(logs.max())
        masses = np.exp(logs - most)
        log_mass[name] = most + math.log(masses.sum())
        shares[name] = (masses / masses.sum()).tolist()
    return Restricted(support, shares, log_mass)


def _refuse_large(fields: Sequence[str], n: int) -> None:
    if n > LARGEST_SUPPORT:
        raise RecipeError(
            f"balance: exact scores every combination of [{', '.join(fields)}], and there are {n:,}; expected "
            f"{LARGEST_SUPPORT:,} at most: name fewer fields in balance_fields, or write `balance: prefill`"
        )
