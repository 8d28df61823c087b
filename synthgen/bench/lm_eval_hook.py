"""The hook to EleutherAI's lm-eval, for real models: its tasks for the base model and for adapters, if it is installed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synthgen.bench.cells import Cell
from synthgen.bench.lab import Lab
from synthgen.bench.section import Table
from synthgen.models import BUILT_IN

Evaluate = Callable[..., Mapping[str, Any]]  # lm_eval.simple_evaluate


def evaluated(
    lab: Lab, adapters: Mapping[str, Path], evaluate: Evaluate | None = None
) -> dict[str, Any] | None:
    """Numbers by condition, task and measure; what stands in their place where they cannot be had; None: not asked for.

    `evaluate` stands in for lm-eval in tests.
    """
    tasks = list(lab.options.lm_eval)
    if not tasks:
        return None
    if evaluate is None and find_spec("lm_eval") is None:
        return {"skipped": "lm-eval is not installed; `pip install lm-eval` and run the same command again"}
    if lab.model_name == BUILT_IN:
        return {"skipped": "nano knows nothing that lm-eval asks; give a real model"}
    evaluate = evaluate or import_module("lm_eval").simple_evaluate
    content: dict[str, Any] = {}
    for name, folder in (("base", None), *adapters.items()):
        lab.check_time()
        lab.progress.stage("lm-eval", f"{name}: {', '.join(tasks)}")
        peft = "" if folder is None else f",peft={folder}"
        found = evaluate(model="hf", model_args=f"pretrained={lab.model}{peft}", tasks=tasks)
        content[name] = {
            task: {key: value for key, value in figures.items() if isinstance(value, int | float)}
            for task, figures in found["results"].items()
        }
    return content


def evaluation_table(cells: Sequence[Cell], conditions: Sequence[str]) -> list[Table]:
    """lm-eval's part of the page, if it was asked for."""
    found = [cell for cell in cells if cell.condition == "lm-eval"]
    if not found:
        return []
    content = found[0].content
    if "skipped" in content:
        return [Table("lm-eval", ("not run",), ((str(content["skipped"]),),))]
    rows = [
        (task, key, *(f"{content[name][task].get(key, math.nan):.4f}" for name in conditions))
        for task, figures in content["base"].items()
        for key in figures
    ]
    return [Table("lm-eval, first seed", ("task", "measure", *conditions), tuple(rows))]
