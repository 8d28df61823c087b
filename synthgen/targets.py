"""Programmatic tuples → TargetSet: the values of the leading fields that the model shall give, and how often.

Stands between recipe and trie. Targets come from a function of the user's, from a table file, or from inline
marginals; all are read, checked and rendered the same way here, and `reference` says which distribution they
declare, for the report to compare with.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice, product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from synthgen import braces
from synthgen.errors import RecipeError
from synthgen.loading import describe_error, load_object
from synthgen.marginals import LARGEST_TV, check_draws, compare, read_closed, read_marginal
from synthgen.schema import RecordSchema, text_of
from synthgen.tables import SUFFIXES, read_table, read_weights, table_fields
from synthgen.target_rows import Row, RowReader, leading
from synthgen.together import Together, counted

LARGEST_PRODUCT = 4096  # marginals with up to so many combinations are listed in full
N_REFERENCE = 100_000  # tuples that a function's distribution is taken from
MOST_VALUES = 250  # a field with more distinct values than this is open: it has no declared distribution
N_CHECKED = 2000  # draws that a function's `closed` declarations are held against

Distribution = dict[str, float]
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
    fields before it. `fresh` says whether each draw gives other tuples.
    """

    kind: Literal["function", "table", "marginals"]
    fresh: bool

    def __init__(
        self, schema: RecordSchema, fields: tuple[str, ...], closed: dict[str, Distribution], content: str
    ) -> None:
        """`content` is what the targets are made of, as text: it decides the fingerprint."""
        self.schema = schema
        self.fields = fields
        self.closed = closed
        facts = json.dumps([self.kind, fields, closed, content])
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]

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
        estimated = {} if draws is None else {name: draws for name in shares if name not in self.closed}
        return Reference({**shares, **self.closed}, estimated, together)

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
        for name, declared in self.closed.items():
            texts = [texts[names.index(name)] for texts, _ in rows]
            check_draws(spec, name, declared, texts)

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
        shares = _shares(self._columns(self._rows), self._weights)
        for name, declared in self.closed.items():
            compare(str(path), name, declared, shares.get(name, {}), LARGEST_TV)

    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """All rows with their weights, or `n` of them by weight, with replacement, if that is fewer."""
        if n is None or n >= len(self._rows):
            return self._target_set(self._rows, self._weights)
        chosen = rng.choice(len(self._rows), size=n, p=self._weights)
        return self._target_set([self._rows[i] for i in chosen], [1.0] * n)

    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:  # noqa: ARG002
        """Exact shares of the rows' weights; nothing is drawn."""
        return self._described(self._rows, self._weights, None)


class MarginalsSource(TargetSource):
    """Targets from one declared distribution per field, each independent of the others."""

    kind = "marginals"

    def __init__(
        self,
        forms: Mapping[str, object],
        schema: RecordSchema,
        fields: Sequence[str] | None,
        closed: Mapping[str, object],
    ) -> None:
        """RecipeError holds one line for every field whose distribution is wrong."""
        if closed:
            raise RecipeError(
                "targets: found `closed` beside inline marginals, which are closed by themselves; drop it"
            )
        names = leading("targets", schema, tuple(fields or sorted(forms, key=_order(schema))))
        if missing := [name for name in names if name not in forms]:
            raise RecipeError(f"targets: found no distribution of field {missing[0]!r}; give it one")
        if extra := [name for name in forms if name not in names]:
            raise RecipeError(
                f"targets: found a distribution of {extra[0]!r}, which is not among the fields {names}"
            )
        self._reader = RowReader("targets", schema, names)
        marginals: dict[str, Distribution] = {}
        problems = []
        for name, reader in zip(names, self._reader.readers, strict=True):
            try:
                marginals[name] = read_marginal(reader, forms[name])
            except ValueError as error:
                problems.append(f"targets: {error}")
        if problems:
            raise RecipeError(problems)
        n_cells = math.prod(len(marginal) for marginal in marginals.values())
        self.fresh = n_cells > LARGEST_PRODUCT
        super().__init__(schema, names, marginals, "")
        if self.fresh:  # too many combinations to list: see that some of them are records
            self._reader.check([self._reader.typed(self._independent(np.random.default_rng(0), 1)[0])])
        else:
            self._cells = [self._reader.typed(texts) for texts in product(*marginals.values())]
            self._weights = [math.prod(cell) for cell in product(*(m.values() for m in marginals.values()))]
            self._reader.check(self._cells)

    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """All combinations with their probabilities if there are at most 4096, else `n` independent draws."""
        if not self.fresh:
            return self._target_set(self._cells, self._weights)
        rows = [(texts, ()) for texts in self._independent(rng, n or 210)]
        return self._target_set(rows, [1.0] * len(rows))

    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:
        """The marginals themselves; derived fields exact if all combinations are listed, else by draws."""
        if not self.fresh:
            return self._described(self._cells, self._weights, None)
        if len(self.fields) == 1 and not self.schema.derived:
            return Reference(dict(self.closed))
        rows = [self._reader.typed(texts) for texts in self._independent(rng, n)]
        return self._described(rows, [1.0] * n, n)

    def _independent(self, rng: np.random.Generator, n: int) -> list[tuple[str, ...]]:
        columns = []
        for name in self.fields:
            texts, masses = list(self.closed[name]), np.fromiter(self.closed[name].values(), dtype=np.float64)
            columns.append([texts[i] for i in rng.choice(len(texts), size=n, p=masses / masses.sum())])
        return list(zip(*columns, strict=True))


def load_targets(
    spec: str | Mapping[str, object],
    schema: RecordSchema,
    fields: Sequence[str] | None,
    closed: Mapping[str, Mapping[str, float]] | None,
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


def _names_of(place: str, schema: RecordSchema, first: object) -> tuple[str, ...]:
    """The leading fields that a function's first tuple covers."""
    if isinstance(first, BaseModel):
        return schema.names
    if isinstance(first, Mapping):
        return leading(place, schema, sorted(map(str, first), key=_order(schema)))
    n = len(first) if isinstance(first, (tuple, list)) else 1
    if n > len(schema.names):
        raise RecipeError(
            f"{place}: found {n} values in a tuple; {schema.name} has {len(schema.names)} fields"
        )
    return schema.names[:n]


def _order(schema: RecordSchema) -> Callable[[str], int]:
    return lambda name: schema.names.index(name) if name in schema.names else len(schema.names)


def _source_text(function: Callable[..., object]) -> str:
    """The text of the file that holds the function, and the function's name."""
    inner = inspect.unwrap(function)
    name = getattr(inner, "__qualname__", repr(inner))
    try:
        file = inspect.getsourcefile(inner)
    except TypeError:  # a callable object or a built-in
        file = None
    return f"{Path(file).read_text('utf-8') if file and Path(file).is_file() else ''}\n{name}"
