"""Synthetic datasets whose distribution is declared, tuned into the model, and proven.

from synthgen import Recipe

run = Recipe.from_yaml("recipes/bios.yaml").run(n=10_000, out="data/bios")
run.to_polars(), run.report.worst_field, run.rejections()

Importing this loads next to nothing; each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synthgen.errors import (
        AdapterError,
        EngineError,
        GateError,
        Incomplete,
        RecipeError,
        SinkError,
        SynthgenError,
        TuningError,
    )
    from synthgen.recipe import Recipe
    from synthgen.report.figures import Facts
    from synthgen.run import Run
    from synthgen.schema import FieldSpec, RecordSchema
    from synthgen.validation import Record, Rejection

__version__ = "0.1.0"

_HOME = {
    "AdapterError": "errors",
    "EngineError": "errors",
    "Facts": "report.figures",
    "FieldSpec": "schema",
    "GateError": "errors",
    "Incomplete": "errors",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "Record": "validation",
    "RecordSchema": "schema",
    "Rejection": "validation",
    "Run": "run",
    "SinkError": "errors",
    "SynthgenError": "errors",
    "TuningError": "errors",
}

__all__ = [
    "AdapterError",
    "EngineError",
    "Facts",
    "FieldSpec",
    "GateError",
    "Incomplete",
    "Recipe",
    "RecipeError",
    "Record",
    "RecordSchema",
    "Rejection",
    "Run",
    "SinkError",
    "SynthgenError",
    "TuningError",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'synthgen' has no attribute {name!r}")
    return getattr(import_module(f"synthgen.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
