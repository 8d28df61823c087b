"""Declared distributions of one field → probabilities by value: the forms that marginals, `closed` and rows may have.

{Female: 0.48, Male: 0.48}                       values with weights
uniform                                          every value of a closed field
{range: [1, 10]}                                 whole numbers, equally likely
{binomial: [10, 0.2], shift: 1, truncate: true}  successes in ten trials, plus one
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from synthgen import braces
from synthgen.schema import FieldSpec
from synthgen.target_rows import ValueReader

LARGEST_RANGE = 100_000  # values of `range` and `binomial`
_FORMS = "expected `uniform`, a mapping of values to weights, {range: [a, b]} or {binomial: [n, p]}"


def read_marginal(reader: ValueReader, form: object) -> dict[str, float]:
    """Probabilities by value text, sum 1, values of weight 0 left out; ValueError says what is wrong."""
    field = reader.field
    if form == "uniform":
        if field.support is None:
            raise ValueError(
                f"field {field.name!r}: `uniform` needs finitely many values; it is open: list them"
            )
        return _normalised(field, {braces.render_value(field, value): 1.0 for value in field.support})
    if not isinstance(form, Mapping):
        raise ValueError(f"field {field.name!r}: found {form!r}; {_FORMS}")
    if isinstance(form.get("binomial"), (list, tuple)):
        return _numbers(reader, form, _binomial(field, form))
    if isinstance(form.get("range"), (list, tuple)):
        return _numbers(reader, form, _range(field, form))
    weights: dict[str, float] = {}
    for raw, weight in form.items():
        text = reader.read(raw)[0]
        if text in weights:
            raise ValueError(f"field {field.name!r}: found the value {text!r} twice; give it one weight")
        weights[text] = _weight(field, raw, weight)
    return _normalised(field, weights)


def _numbers(
    reader: ValueReader, form: Mapping[object, object], weights: dict[int, float]
) -> dict[str, float]:
    """Keep the numbers that the field may hold; the rest is an error, or left out by `truncate: true`."""
    field = reader.field
    name = "binomial" if "binomial" in form else "range"
    unknown = set(form) - {name, "truncate", *(("shift",) if name == "binomial" else ())}
    if unknown:
        found = ", ".join(sorted(map(str, unknown)))
        raise ValueError(f"field {field.name!r}: found {found} beside {name}; expected shift or truncate")
    truncate = form.get("truncate", False)
    if not isinstance(truncate, bool):
        raise ValueError(f"field {field.name!r}: found truncate: {truncate!r}; expected true or false")
    kept: dict[str, float] = {}
    for number, weight in weights.items():
        try:
            kept[reader.read(number)[0]] = weight
        except ValueError:
            if not truncate:
                remedy = "shift it (shift: 1), or " if name == "binomial" else ""
                raise ValueError(
                    f"field {field.name!r}: {name} gives {number}, which the field may not hold; "
                    f"{remedy}leave such values out (truncate: true)"
                ) from None
    return _normalised(field, kept)


def _binomial(field: FieldSpec, form: Mapping[object, object]) -> dict[int, float]:
    parameters, shift = form["binomial"], form.get("shift", 0)
    match parameters:
        case [int(n), (int() | float()) as p] if 0 < n <= LARGEST_RANGE and 0 <= p <= 1:
            pass
        case _:
            raise ValueError(
                f"field {field.name!r}: found binomial: {parameters!r}; expected [trials, probability]"
            )
    if not isinstance(shift, int):
        raise ValueError(f"field {field.name!r}: found shift: {shift!r}; expected a whole number")
    if p in (0, 1):
        return {shift + n * int(p): 1.0}
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(p)
        + (n - k) * math.log1p(-p)
        for k in range(n + 1)
    )
    return {shift + k: math.exp(log) for k, log in enumerate(logs)}


def _range(field: FieldSpec, form: Mapping[object, object]) -> dict[int, float]:
    match form["range"]:
        case [int(low), int(high)] if low <= high < low + LARGEST_RANGE:
            return dict.fromkeys(range(low, high + 1), 1.0)
        case other:
            raise ValueError(f"field {field.name!r}: found range: {other!r}; expected [lowest, highest]")


def _weight(field: FieldSpec, raw: object, weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < math.inf:
        raise ValueError(
            f"field {field.name!r}: {raw!r} has the weight {weight!r}; expected a number from 0 up"
        )
    return float(weight)


def _normalised(field: FieldSpec, weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    if not total > 0:
        raise ValueError(f"field {field.name!r}: found no value with a weight above 0")
    return {text: weight / total for text, weight in weights.items() if weight > 0}
