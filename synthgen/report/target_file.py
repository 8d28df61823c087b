"""A file of declared distributions → the report's reference, for tables that have no recipe.

    gender: {Female: 0.48, Male: 0.48, Non-binary: 0.04}
    age: {range: [18, 90]}

YAML or JSON, a field per key, in the forms that a recipe's marginals have (marginals.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import create_model

from synthgen.errors import RecipeError
from synthgen.marginals import read_marginal
from synthgen.schema import RecordSchema
from synthgen.target_rows import ValueReader
from synthgen.yaml_lines import parse


def read_target_file(path: Path, schema: RecordSchema | None = None) -> dict[str, dict[str, float]]:
    """Probabilities by field and value text, each field's sum 1.

    A field of `schema` may hold its own values only; any other one (a derived field, or without a schema) what the
    file says.

    Raises:
        RecipeError: the file cannot be read, or is no such mapping; every fault with its line.
    """
    try:
        document = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise RecipeError(f"{path}: cannot be read: {reason}; expected a YAML or JSON file") from error
    if not document.problems and (not isinstance(document.value, Mapping) or not document.value):
        document.problem((), "expected a field per key, such as `gender: {Female: 0.5, Male: 0.5}`")
    found: dict[str, dict[str, float]] = {}
    forms = document.value if isinstance(document.value, Mapping) else {}
    for name, form in forms.items():
        try:
            found[str(name)] = read_marginal(_reader(str(name), form, schema), form)
        except ValueError as error:
            document.problem((name,), f"{name}: {str(error).partition(': ')[2]}")
    if document.problems:
        raise RecipeError([f"{path}:{p.line}: {p.text}" for p in sorted(document.problems)])
    return found


def _reader(name: str, form: object, schema: RecordSchema | None) -> ValueReader:
    """Reads the values of one field: as the schema says, else as whole numbers or as text."""
    if schema is None or name not in schema.names:
        is_numbers = isinstance(form, Mapping) and not form.keys().isdisjoint(("range", "binomial"))
        fields: dict[str, Any] = {"value": (int if is_numbers else str, ...)}
        schema, name = RecordSchema.from_model(create_model("Table", **fields)), "value"
    return ValueReader(schema, schema.field(name))
