"""What a recipe declares of its target fields, all forms and tables → distributions and tables by value text.

Stands between `marginals`, `conditionals` and the target sources. What is declared beside a function or a table file
is held against the tuples that these really give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synthgen.conditionals import (
    GIVEN,
    Conditional,
    Distribution,
    check_parent,
    circle,
    is_table,
    parents_of,
    read_table,
)
from synthgen.errors import RecipeError
from synthgen.marginals import read_marginal
from synthgen.target_rows import RowReader

LARGEST_TV = 0.06  # between a declared distribution and the values that targets really hold


@dataclass(frozen=True)
class Declared:
    """Declared fields, exactly: `closed` ones are independent of the fields before them, the others have a table."""

    closed: dict[str, Distribution] = field(default_factory=dict)
    conditionals: dict[str, Conditional] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, those with a table last."""
        return (*self.closed, *self.conditionals)

    @property
    def marginals(self) -> dict[str, Distribution]:
        """Each field's own distribution: of a table, if its parent's is known."""
        found = dict(self.closed)
        for name, table in self.conditionals.items():  # parents stand before their children
            if table.parent in found:
                found[name] = table.mixed(found[table.parent])
        return found

    def values_of(self, name: str) -> tuple[str, ...] | None:
        """Every value that a declared field may have; None if it is not declared."""
        if name in self.closed:
            return tuple(self.closed[name])
        table = self.conditionals.get(name)
        return (
            None
            if table is None
            else tuple(dict.fromkeys(text for row in table.rows.values() for text in row))
        )

    def given(self, name: str, before: Mapping[str, str]) -> Distribution | None:
        """A field's distribution where the fields before it hold these values; None if it is not declared.

        Raises:
            KeyError: its table has no row for its parent's value.
        """
        table = self.conditionals.get(name)
        return self.closed.get(name) if table is None else table.rows[before[table.parent]]

    def facts(self) -> list[object]:
        """JSON values that change when anything declared does."""
        tables = {name: [table.parent, table.rows] for name, table in self.conditionals.items()}
        return [self.closed, tables] if tables else [self.closed]


def read_declared(place: str, reader: RowReader, forms: Mapping[str, object]) -> Declared:
    """Every form and table; RecipeError, each line opened by `place`, names all that is wrong."""
    declared, faults = read_forms(reader, forms)
    if faults:
        raise RecipeError([f"{place}: {fault}" for fault in faults.values()])
    return declared


def read_forms(reader: RowReader, forms: Mapping[str, object]) -> tuple[Declared, dict[str, str]]:
    """What can be read of the forms and tables, and what is wrong with the others, by field."""
    closed: dict[str, Distribution] = {}
    tables: dict[str, Conditional] = {}
    faults: dict[str, str] = {}
    parents = parents_of(forms)
    for name, values in zip(reader.names, reader.readers, strict=True):
        if name not in forms:
            continue
        form = forms[name]
        try:
            if not isinstance(form, Mapping) or not is_table(form):
                closed[name] = read_marginal(values, form)
                continue
            if len(path := circle(parents, name)) > 2:
                chain = ", which is given ".join(map(repr, path[1:]))
                raise ValueError(f"field {name!r}: is given {chain}; let one of them stand without `given`")
            parent = check_parent(name, form, reader.names, reader.schema.name)
            possible = Declared(closed, tables).values_of(parent)
            if possible is None and parent in forms:
                continue  # what is wrong with the parent is said already
            above = reader.readers[reader.names.index(parent)]
            tables[name] = read_table(values, above, form, possible)
        except ValueError as error:
            faults[name] = str(error)
    return Declared(closed, tables), faults


def read_closed(place: str, reader: RowReader, forms: Mapping[str, object]) -> Declared:
    """What `closed` declares: probabilities that add up to 1, of fields that the tuples have; else RecipeError."""
    for name, form in forms.items():
        if name not in reader.names:
            raise RecipeError(f"{place}: closed: {name!r} is none of the fields {', '.join(reader.names)}")
        if finding := wrong_sum(form):
            raise RecipeError(f"{place}: closed: {name}: {finding}")
    return read_declared(f"{place}: closed", reader, forms)


def wrong_sum(form: object) -> str | None:
    """What to say of probabilities, a table's row by row, that do not add up to 1; None if they do."""
    rows: dict[str, object] = {"": form}
    if isinstance(form, Mapping) and is_table(form):
        rows = {f"row {key!r}: ": row for key, row in form.items() if key != GIVEN}
    for place, row in rows.items():
        if isinstance(row, Mapping) and all(isinstance(weight, int | float) for weight in row.values()):
            total = math.fsum(row.values())
            if abs(total - 1) > 1e-6:
                return f"{place}the probabilities sum to {total:.6g}; expected 1"
    return None


def check_tuples(
    place: str,
    declared: Declared,
    columns: Mapping[str, Sequence[str]],
    weights: Sequence[float],
    is_sample: bool,
) -> None:
    """Hold what is declared against tuples, column by column with their weights.

    Noise is allowed for where they are a sample; more than that, and more than `LARGEST_TV`, is a RecipeError that
    names the worst value. Of a table, all rows are judged together, each with its share of the tuples.
    """
    for name, distribution in declared.closed.items():
        found = _shares(columns[name], weights)
        noise = _noise(distribution, len(weights)) if is_sample else 0.0
        _compare(place, name, distribution, found, noise)
    for name, table in declared.conditionals.items():
        above = _shares(columns[table.parent], weights)
        if lacking := [value for value in above if value not in table.rows]:
            raise RecipeError(
                f"{place}: closed: {name}: the tuples hold {table.parent} {lacking[0]!r}, for which it has no row; "
                "write one"
            )
        pairs = [
            f"{text} given {value}" for value, text in zip(columns[table.parent], columns[name], strict=True)
        ]
        expected = {
            f"{text} given {value}": share * probability
            for value, share in above.items()
            for text, probability in table.rows[value].items()
        }
        n = len(weights)
        noise = sum(share * _noise(table.rows[value], share * n) for value, share in above.items())
        _compare(place, name, expected, _shares(pairs, weights), noise if is_sample else 0.0)


def _noise(declared: Mapping[str, float], n: float) -> float:
    """E TV between a distribution and n draws from it."""
    return 0.5 * sum(math.sqrt(2 * p * (1 - p) / (math.pi * n)) for p in declared.values())


def _shares(texts: Sequence[str], weights: Sequence[float]) -> Distribution:
    masses: Distribution = {}
    for text, weight in zip(texts, weights, strict=True):
        masses[text] = masses.get(text, 0.0) + weight
    total = math.fsum(masses.values())
    return {text: mass / total for text, mass in masses.items()}


def _compare(
    place: str, name: str, declared: Mapping[str, float], found: Mapping[str, float], noise: float
) -> None:
    gaps = {text: found.get(text, 0.0) - declared.get(text, 0.0) for text in {*declared, *found}}
    tv = 0.5 * math.fsum(abs(gap) for gap in gaps.values())
    if tv > max(LARGEST_TV, 1.5 * noise):
        worst = max(sorted(gaps), key=lambda text: abs(gaps[text]))
        raise RecipeError(
            f"{place}: closed: {name}: declared {worst!r} with {declared.get(worst, 0.0):.3g}, but the "
            f"tuples have {found.get(worst, 0.0):.3g} (total variation {tv:.2f}); make the two agree"
        )
