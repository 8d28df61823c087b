"""What every check of a recipe says and asks: what a key takes, what was meant, whether an action works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from synthgen.errors import RecipeError, SynthgenError
from synthgen.schema import RecordSchema
from synthgen.yaml_lines import Document, KeyPath

T = TypeVar("T")

NO_SCHEMA = "-"  # stands in for a schema that is missing or wrong, while the rest is checked

EXPECTED = {  # what a key takes, where its type alone would not tell the user what to write
    "schema": "a Pydantic model such as ../schemas/biography.py:Biography",
    "prompts": "a list of prompts such as {targets: …}, each with `schema` and `prompt` where not the recipe's",
    "targets": "a function (file.py:function), a table (.csv, .parquet, .jsonl) or marginals by field",
    "fields": "a list of field names such as [name, gender]",
    "closed": "distributions by field such as gender: {Female: 0.5, Male: 0.5}",
    "target": "a declared distribution such as {targets: {gender: {Female: 1, Male: 1}}}",
    "balance_fields": "a list of field names such as [gender]",
    "adapters": "adapters by name, each with `targets`, `prompts` or `use`",
    "tolerance": "a total variation such as 0.02, or one for each field such as {gender: 0.02}",
    "mix": "shares by adapter such as {biographies: 1.0}",
    "gates": "limits by field such as gender: {tv: 0.05}",
    "use": "the folder of a tuned adapter",
    "unique": "true (the whole record), field names such as [name], or {fields: [text], near: 0.8}",
    "near": "a similarity from 0.5 to less than 1; leave it out for records that are exactly equal",
}


def shown(value: object) -> str:
    """A value as an error prints it: short, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "keys with values" if value else "{}"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…'"


def suggestion(found: str, options: Iterable[str]) -> str:
    """`did you mean 'x'?` if something is close, else what there is."""
    options = list(options)
    close = get_close_matches(found, options, n=1, cutoff=0.6)
    if not close:  # a difference in case alone
        close = [option for option in options if option.casefold() == found.casefold()]
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(repr(option) for option in options[:12]) + (", …" if len(options) > 12 else "")
    return f"expected {shown}" if options else "expected none"


def is_endpoint(model: str) -> bool:
    """Whether a model's name is an address: its weights are closed."""
    return "://" in model


def is_path_like(model: str) -> bool:
    """Whether a model's name can only be a folder: a Hugging Face id has one slash at most, an endpoint an address."""
    if is_endpoint(model):
        return False
    return model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model


def attempt(document: Document, path: KeyPath, action: Callable[[], T]) -> T | None:
    """Run a check of another room; its problems become ours, with the line."""
    try:
        return action()
    except RecipeError as error:
        for text in error.problems:
            document.problem(path, text.removeprefix(f"{path[-1]}: "))
    except SynthgenError as error:
        document.problem(path, str(error))
    return None


def written(document: Document, *path: str) -> list[str]:
    """The keys that the user wrote at a path."""
    value: object = document.value
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return list(value) if isinstance(value, dict) else []


def unknown_field(
    document: Document,
    path: KeyPath,
    name: str,
    schema: RecordSchema,
    *,
    derived: bool,
    more: Sequence[str] = (),
) -> None:
    """Note that a schema has no field of that name; `derived`: a derived one would do, as would `more`."""
    names = [*schema.names, *(field.name for field in schema.derived if derived), *more]
    if not derived and name in {field.name for field in schema.derived}:
        text = f"{name!r} is a derived field of {schema.name}; name the fields that it is computed from"
    else:
        text = f"{name!r} is no field of {schema.name}; {suggestion(name, names)}"
    document.problem(path, text)
