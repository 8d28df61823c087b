"""The pipeline: recipe → adapters → engine → records → dataset → proof. Read `run_recipe` as a table of contents.

Only this file knows the order. The stages it calls know the types of the stages above them, never each other.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from synthgen import __version__
from synthgen.adapters import AdapterManifest
from synthgen.engines import choose, open_engine
from synthgen.engines.canary import check_adapters
from synthgen.engines.protocol import Engine, Sampling
from synthgen.errors import GateError, Incomplete, RecipeError
from synthgen.gates import Verdict, judge
from synthgen.models import model_fingerprint, resolve_model
from synthgen.plan import BASE, Plan
from synthgen.progress import Progress, SilentProgress
from synthgen.prompt import Prompt, Tokenizer, build_prompt
from synthgen.recipe import Recipe
from synthgen.report import write_reports
from synthgen.report.facts import Facts, compute, field_infos, load_facts
from synthgen.runners.local import Work, attempts, work_off
from synthgen.schema import RecordSchema
from synthgen.sink import Counts, Sink, rejects_frame, to_frame, write_atomically
from synthgen.tokenizers import load_tokenizer
from synthgen.validation import Record, Rejection

if TYPE_CHECKING:
    from synthgen.targets import TargetSource

N_BEFORE = 1000  # samples of the untuned model that the report compares with


@dataclass(frozen=True)
class Run:
    """A finished dataset: where it is, what it counts, and what the report says."""

    out: Path
    summary: Mapping[str, object]
    report: Facts

    def to_polars(self) -> pl.DataFrame:
        """All records, in id order."""
        return pl.read_parquet(self.out / "part-*.parquet")

    def rejections(self) -> pl.DataFrame:
        """All rejected attempts with stage, reason, detail and the model's raw text."""
        parts = sorted((self.out / "rejects").glob("part-*.parquet"))
        return pl.concat([pl.read_parquet(part) for part in parts]) if parts else rejects_frame([])


@dataclass(frozen=True)
class Job:
    """A recipe made ready: what every stage after it needs."""

    recipe: Recipe
    schema: RecordSchema
    model: str
    tokenizer: Tokenizer
    prompt: Prompt
    sources: Mapping[str, TargetSource]  # adapter name → its targets; none for adapters taken ready-made
