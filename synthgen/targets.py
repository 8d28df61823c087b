"""Programmatic tuples → TargetSet: the values of the leading fields that the model shall give, and how often.

Stands between recipe and trie. Targets come from a function of the user's, from a table file, or from inline
marginals (`marginal_source`); all are read, checked and rendered the same way, and `reference` says which
distribution they declare, for the report to compare with.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from synthgen.conditionals import Conditional, Distribution
from synthgen.declared import check_tuples, read_closed
from synthgen.errors import RecipeError
from synthgen.loading import describe_error, load_object
from synthgen.marginal_source import LARGEST_PRODUCT, MarginalsSource, schema_order
from synthgen.schema import RecordSchema
from synthgen.tables import SUFFIXES, read_table, read_weights, table_fields
from synthgen.target_rows import RowReader, leading
from synthgen.target_source import (
    MOST_VALUES,
    N_REFERENCE,
    Reference,
    TargetSet,
    TargetSource,
    Weights,
)

__all__ = [
    "LARGEST_PRODUCT",
    "MOST_VALUES",
    "N_REFERENCE",
    "Conditional",
    "Distribution",
    "FunctionSource",
    "MarginalsSource",
    "Reference",
    "TableSource",
    "TargetSet",
    "TargetSource",
    "Weights",
    "load_targets",
]

N_CHECKED = 2000  # draws that a function's `closed` declarations are held against


class FunctionSource(TargetSource):
    """Targets from a user's function (rng, n) → tuples, dicts or model instances: new ones at every draw."""

    kind = "function"
    fresh = True

    def __init__(
        self,
        spec: str,
        function: Callable[[np.random.Generator, int], Iterable[object]],
        schema: RecordSchema,
        fields: Sequence[str] | None,
        closed: Mapping[str, object],
    ) -> None:
        """Calls the function once to see that it fits; RecipeError if not, or if `closed` says otherwise."""
        self._spec, self._function = spec, function
        sample = self._call(np.random.default_rng(0), N_CHECKED if closed else 50)
        names = leading(spec, schema, fields) if fields else _names_of(spec, schema, sample[0])
        self._rows = RowReader(spec, schema, names)
        rows = self._rows.read(sample, checked=True)
        super().__init__(schema, names, read_closed(spec, self._rows, closed), _source_text(function))
        if closed:
            check_tuples(spec, self.declared, self._columns(rows), [1.0] * len(rows), is_sample=True)

    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """Calls the function for `n` tuples, by default 210."""
        rows = self._rows.read(self._call(rng, n or 210), checked=True)
        return self._target_set(rows, [1.0] * len(rows))

    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:
        """Shares among `n` tuples; for declared fields the declaration itself."""
        rows = self._rows.read(self._call(rng, n), checked=False)
        return self._described(rows, [1.0] * n, n)

    def _call(self, rng: np.random.Generator, n: int) -> list[object]:
        try:
            found = list(islice(self._function(rng, n), n))
        except Exception as error:
            path = inspect.getsourcefile(inspect.unwrap(self._function))
            raise RecipeError(f"{self._spec}: raised {describe_error(error, path)}") from error
        if len(found) < n:
            raise RecipeError(
                f"{self._spec}: gave {len(found)} tuples; expected the {n} that it was asked for"
            )
        return found


class TableSource(TargetSource):
    """Targets from the rows of a file, each with its weight."""

    kind = "table"
    fresh = False

    def __init__(
        self,
        path: Path,
        schema: RecordSchema,
        fields: Sequence[str] | None,
        closed: Mapping[str, object],
    ) -> None:
        """Reads the whole file; RecipeError names row, column and value of what does not fit."""
        columns = read_table(path)
        names = leading(path.name, schema, fields) if fields else table_fields(path, schema, list(columns))
        if missing := [name for name in names if name not in columns]:
            close = get_close_matches(missing[0], list(columns), n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"found {', '.join(columns)}"
            raise RecipeError(f"{path}: found no column {missing[0]!r}; {remedy}")
        weights = [1.0] * len(columns[names[0]])
        if "weight" in columns and "weight" not in schema.names:
            weights = read_weights(path, columns["weight"])
        reader = RowReader(str(path), schema, names)
        raw = list(zip(*(columns[name] for name in names), strict=True))
        kept = [
            (row, weight)
            for row, weight in zip(reader.read(raw, checked=True), weights, strict=True)
            if weight
        ]
        if not kept:
            raise RecipeError(f"{path}: found no row with a weight above 0")
        self._rows = [row for row, _ in kept]
        self._weights: Weights = np.array([weight for _, weight in kept]) / math.fsum(w for _, w in kept)
        content = json.dumps([[texts for texts, _ in self._rows], self._weights.tolist()])
        super().__init__(schema, names, read_closed(str(path), reader, closed), content)
        if closed:
            found = self._columns(self._rows)
            check_tuples(str(path), self.declared, found, self._weights.tolist(), is_sample=False)

    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """All rows with their weights, or `n` of them by weight, with replacement, if that is fewer."""
        if n is None or n >= len(self._rows):
            return self._target_set(self._rows, self._weights)
        chosen = rng.choice(len(self._rows), size=n, p=self._weights)
        return self._target_set([self._rows[i] for i in chosen], [1.0] * n)

    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:  # noqa: ARG002
        """Exact shares of the rows' weights; nothing is drawn."""
        return self._described(self._rows, self._weights, None)


def load_targets(
    spec: str | Mapping[str, object],
    schema: RecordSchema,
    fields: Sequence[str] | None,
    closed: Mapping[str, Mapping[str, object]] | None,
    base: Path,
) -> TargetSource:
    """The targets that a recipe declares: "file.py:function", a .csv, .parquet or .jsonl file, or marginals.

    `fields` are the leading fields covered, by default those that the targets have. Relative paths count from
    `base`. RecipeError names what does not fit.
    """
    declared = closed or {}
    if not isinstance(spec, str):
        return MarginalsSource(spec, schema, fields, declared)
    if Path(spec).suffix in SUFFIXES:
        path = (base / Path(spec).expanduser()).resolve()
        if not path.is_file():
            raise RecipeError(f"{spec}: found no such file (looked for {path}); check the path")
        return TableSource(path, schema, fields, declared)
    if ":" not in spec:
        kinds = ", ".join(SUFFIXES)
        raise RecipeError(
            f"{spec}: expected 'file.py:function', a table ({kinds}), or a mapping of marginals"
        )
    function = load_object(spec, base)
    if not callable(function):
        raise RecipeError(f"{spec}: found {type(function).__name__}; expected a function (rng, n) → tuples")
    return FunctionSource(spec, function, schema, fields, declared)


def _names_of(place: str, schema: RecordSchema, first: object) -> tuple[str, ...]:
    """The leading fields that a function's first tuple covers."""
    if isinstance(first, BaseModel):
        return schema.names
    if isinstance(first, Mapping):
        return leading(place, schema, sorted(map(str, first), key=schema_order(schema)))
    n = len(first) if isinstance(first, (tuple, list)) else 1
    if n > len(schema.names):
        raise RecipeError(
            f"{place}: found {n} values in a tuple; {schema.name} has {len(schema.names)} fields"
        )
    return schema.names[:n]


def _source_text(function: Callable[..., object]) -> str:
    """The text of the file that holds the function, and the function's name."""
    inner = inspect.unwrap(function)
    name = getattr(inner, "__qualname__", repr(inner))
    try:
        file = inspect.getsourcefile(inner)
    except TypeError:  # a callable object or a built-in
        file = None
    return f"{Path(file).read_text('utf-8') if file and Path(file).is_file() else ''}\n{name}"
