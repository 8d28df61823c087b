"""Tables of one field given another → its probabilities for every value of that other field.

{given: gender, Female: {Nurse: 3, Engineer: 1}, Male: {Nurse: 1, Engineer: 3}}

Each row may have any of the forms of `marginals`. A field is given one field before it, which may itself be given
another: declared fields form trees, and with the chain rule their joint distribution is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from synthgen.marginals import read_marginal
from synthgen.target_rows import ValueReader

GIVEN = "given"  # the key that makes a mapping a table, where it holds a name
Distribution = dict[str, float]


@dataclass(frozen=True)
class Conditional:
    """The distribution of a field for each value of its parent, a field before it; all by value text, sum 1."""

    parent: str
    rows: dict[str, Distribution]

    def mixed(self, parent: Mapping[str, float]) -> Distribution:
        """The field's own distribution, where its parent has this one."""
        masses: Distribution = {}
        for value, share in parent.items():
            for text, probability in self.rows[value].items():
                masses[text] = masses.get(text, 0.0) + share * probability
        return masses


def is_table(form: object) -> bool:
    """Whether what declares a field is a table; a value that is called "given" has a number beside it."""
    return isinstance(form, Mapping) and GIVEN in form and not isinstance(form[GIVEN], int | float | Mapping)


def parents_of(forms: Mapping[str, object]) -> dict[str, str]:
    """The parents that tables name, by field."""
    tables = {name: form for name, form in forms.items() if isinstance(form, Mapping) and is_table(form)}
    return {name: parent for name, form in tables.items() if isinstance(parent := form[GIVEN], str)}


def circle(parents: Mapping[str, str], start: str) -> list[str]:
    """The fields of a circle of parents that begins and ends at `start`; empty if there is none."""
    path = [start]
    while (parent := parents.get(path[-1])) is not None:
        path.append(parent)
        if parent == start:
            return path
        if parent in path[:-1]:  # a circle further up, which is reported at its own fields
            return []
    return []


def check_parent(child: str, form: Mapping[object, object], names: Sequence[str], title: str) -> str:
    """The field that a table is given, one of `names` and before `child`.

    Raises:
        ValueError: it is none, the child itself, or comes after it in `title`'s fields.
    """
    parent, at = form[GIVEN], f"field {child!r}"
    if not isinstance(parent, str):
        raise ValueError(f"{at}: found given: {parent!r}; expected the name of one field before it")
    if parent not in names:
        close = get_close_matches(parent, names, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"these are {', '.join(names)}"
        raise ValueError(f"{at}: is given {parent!r}, which is none of the fields; {remedy}")
    if parent == child:
        raise ValueError(f"{at}: is given itself; name a field before it, or leave `given` out")
    if names.index(parent) > names.index(child):
        raise ValueError(
            f"{at}: is given {parent!r}, which comes after it; turn the table round, "
            f"or move {parent!r} before {child!r} in {title}"
        )
    return parent


def read_table(
    child: ValueReader, parent: ValueReader, form: Mapping[object, object], possible: Sequence[str] | None
) -> Conditional:
    """The table of a field given `parent`; `possible`: the values that this may have, where it is declared too.

    Raises:
        ValueError: a row is missing, superfluous, there twice, for no value of the parent, or wrong in itself.
    """
    name, above = child.field.name, parent.field.name
    rows: dict[str, Distribution] = {}
    for raw, row in form.items():
        if raw == GIVEN:
            continue
        try:
            value = parent.read(raw)[0]
        except ValueError as error:
            raise ValueError(f"field {name!r}: row {str(raw)!r}: {error}") from None
        if value in rows:
            raise ValueError(f"field {name!r}: found two rows for {above} {value!r}; write one")
        if possible is not None and value not in possible:
            close = [] if parent.field.is_closed else get_close_matches(value, possible, n=1)
            remedy = (
                f"did you mean {close[0]!r}?" if close else "give the value a weight there, or drop the row"
            )
            raise ValueError(
                f"field {name!r}: found a row for {above} {value!r}, which {above} never is; {remedy}"
            )
        try:
            rows[value] = read_marginal(child, row)
        except ValueError as error:
            text = str(error).removeprefix(f"field {name!r}: ")
            raise ValueError(f"field {name!r}: row {value!r}: {text}") from None
    if not rows:
        raise ValueError(f"field {name!r}: found no row; write one for each value of {above}")
    if lacking := [value for value in possible or () if value not in rows]:
        raise ValueError(
            f"field {name!r}: found no row for {above} {lacking[0]!r}; write one, "
            f"or leave that value out of {above}"
        )
    return Conditional(above, rows)
