"""Inline marginals and tables of a recipe → targets: every combination listed, or drawn where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from synthgen.conditionals import Distribution
from synthgen.declared import read_declared
from synthgen.errors import RecipeError
from synthgen.schema import RecordSchema
from synthgen.target_rows import RowReader, leading
from synthgen.target_source import N_REFERENCE, Reference, TargetSet, TargetSource

LARGEST_PRODUCT = 4096  # up to so many combinations are listed in full


class MarginalsSource(TargetSource):
    """Targets from one declared distribution per field, independent of the others or given one before it."""

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
        names = leading("targets", schema, tuple(fields or sorted(forms, key=schema_order(schema))))
        if missing := [name for name in names if name not in forms]:
            raise RecipeError(f"targets: found no distribution of field {missing[0]!r}; give it one")
        if extra := [name for name in forms if name not in names]:
            raise RecipeError(
                f"targets: found a distribution of {extra[0]!r}, which is not among the fields {names}"
            )
        self._reader = RowReader("targets", schema, names)
        super().__init__(schema, names, read_declared("targets", self._reader, forms), "")
        cells = self._listed()
        self.fresh = cells is None
        if cells is None:  # too many combinations to list: see that some of them are records
            self._reader.check([self._reader.typed(self._drawn(np.random.default_rng(0), 1)[0])])
        else:
            self._cells = [self._reader.typed(texts) for texts, _ in cells]
            self._weights = [share for _, share in cells]
            self._reader.check(self._cells)

    def draw(self, rng: np.random.Generator, n: int | None = None) -> TargetSet:
        """All combinations with their probabilities if there are at most 4096, else `n` independent draws."""
        if not self.fresh:
            return self._target_set(self._cells, self._weights)
        rows = [(texts, ()) for texts in self._drawn(rng, n or 210)]
        return self._target_set(rows, [1.0] * len(rows))

    def reference(self, rng: np.random.Generator, n: int = N_REFERENCE) -> Reference:
        """What is declared; derived fields, and how fields go together, exact if all is listed, else by draws."""
        if not self.fresh:
            return self._described(self._cells, self._weights, None)
        if len(self.fields) == 1 and not self.schema.derived:
            return Reference(dict(self.closed))
        rows = [self._reader.typed(texts) for texts in self._drawn(rng, n)]
        return self._described(rows, [1.0] * n, n)

    def _listed(self) -> list[tuple[tuple[str, ...], float]] | None:
        """Every combination that may be, with its probability; None if there are more than `LARGEST_PRODUCT`."""
        cells: list[tuple[tuple[str, ...], float]] = [((), 1.0)]
        for name in self.fields:
            longer = []
            for texts, share in cells:
                row = self.declared.given(name, dict(zip(self.fields, texts, strict=False))) or {}
                longer += [((*texts, text), share * probability) for text, probability in row.items()]
                if len(longer) > LARGEST_PRODUCT:
                    return None
            cells = longer
        return cells

    def _drawn(self, rng: np.random.Generator, n: int) -> list[tuple[str, ...]]:
        columns: dict[str, list[str]] = {}
        for name in self.fields:
            table = self.conditionals.get(name)
            if table is None:
                columns[name] = _column(rng, self.closed[name], n)
                continue
            places: dict[str, list[int]] = {}
            for i, value in enumerate(columns[table.parent]):
                places.setdefault(value, []).append(i)
            columns[name] = [""] * n
            for value in sorted(places):  # in an order that does not depend on the draws
                for i, text in zip(
                    places[value], _column(rng, table.rows[value], len(places[value])), strict=True
                ):
                    columns[name][i] = text
        return list(zip(*columns.values(), strict=True))


def schema_order(schema: RecordSchema) -> Callable[[str], int]:
    """A key that sorts names into the schema's order, unknown ones last."""
    return lambda name: schema.names.index(name) if name in schema.names else len(schema.names)


def _column(rng: np.random.Generator, distribution: Distribution, n: int) -> list[str]:
    texts, masses = list(distribution), np.fromiter(distribution.values(), dtype=np.float64)
    return [texts[i] for i in rng.choice(len(texts), size=n, p=masses / masses.sum())]
