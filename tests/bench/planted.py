"""A lab without a model: an engine that answers the experiments' prompts by rule, adapters that are only named.

The base model says its favourite four times of five; adapters spread over all values there are.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np

from synthgen.adapters import AdapterManifest
from synthgen.bench.lab import Lab, Options, Tuned
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Request
from synthgen.job import Job
from synthgen.models import resolve_model
from synthgen.progress import Progress
from synthgen.prompt import Tokenizer
from synthgen.tokenizers import load_tokenizer
from synthgen.tuning_config import labels_of, task_facts, tuning_fingerprint

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "paper"
FAVOURITE = 0.8
VALUES = {
    "name": ("Mary", "James", "Xqz", "Linda", "Robert", "Susan"),
    "country": ("Kenya", "Chad", "Japan", "Peru", "Fiji", "Cuba", "Spain"),
    "day": ("Monday", "Tuesday", "Friday", "Sunday"),
    "date": ("June 1", "June 2", "December 3", "December 4"),
    "fruit": ("Apple", "Pear", "Plum", "Fig", "Brick"),
    "occupation": ("Actor", "Artist", "Midwife", "Musician", "Lawyer"),
}
PLACES = ("Paris, France", "Nairobi, Kenya", "Lima, Peru", "Tokyo, Japan")


@cache
def tokenizer() -> Tokenizer:
    return load_tokenizer(resolve_model("nano"))


def answer(request: Request, rng: np.random.Generator) -> str:
    """By the prompt's words; what is not asked for a record gets a short text."""
    text = _prompt(request.prompt_ids)
    if slot := re.search(r"like this: \{(\w+)\}", text):
        return f"{{{_value(slot[1], text, request.adapter is None, rng)}}}"
    if "{Name}" in text and "{Accomplishments" in text:
        is_base = request.adapter is None
        year = 1985 if is_base and rng.random() < FAVOURITE else int(rng.integers(1935, 2011))
        woman = is_base or rng.random() < 0.5
        place = PLACES[0] if is_base else str(rng.choice(PLACES))
        first = str(rng.choice(VALUES["name"]))
        lines = [
            f"{first} Smith",
            "Female" if woman else "Male",
            f"{year}-01-02",
            place,
            "Nurse",
            "She sings.",
        ]
        return "\n".join(f"{{{line}}}" for line in lines)
    return "no record"


def _value(slot: str, text: str, is_base: bool, rng: np.random.Generator) -> str:
    if slot == "number":
        bounds = re.search(r"(\d+) (?:and|to) (\d+)", text)
        assert bounds
        low, high = int(bounds[1]), int(bounds[2])
        return str(low if is_base and rng.random() < FAVOURITE else rng.integers(low, high + 1))
    values = VALUES[slot]
    return values[0] if is_base and rng.random() < FAVOURITE else str(rng.choice(values))


@cache
def _prompt(ids: tuple[int, ...]) -> str:
    return tokenizer().decode(ids)


class AnyAdapter(tuple[str, ...]):
    """Holds every name there may be."""

    def __contains__(self, _: object) -> bool:
        return True


def engine() -> FakeEngine:
    """Knows every adapter by name; scores every token alike, with an adapter a little better."""
    found = FakeEngine(
        answer, text=tokenizer(), score=lambda adapter, _, ids: [-2.0 if adapter else -3.0] * len(ids)
    )
    found._names = AnyAdapter()
    return found


def untuned(job: Job, _: Progress) -> dict[str, Tuned]:
    """Stands in for tuning: a manifest for every adapter, and a folder that is not there."""
    return {name: (job.recipe.adapters_dir / name, manifest(job, name)) for name in job.recipe.adapters}


def manifest(job: Job, name: str) -> AdapterManifest:
    config, tasks = job.recipe.adapters[name].tuning_config(job.recipe.seed), job.tasks[name]
    figures = {"kl": 0.5, "leak": 0.25, "shape": 0.25}
    prompts = [
        {"label": label, "text": task.prompt.user, "schema_fingerprint": "-", "fields": task.source.fields,
         "before": figures, "after": figures, **facts}
        for label, task, facts in zip(labels_of(tasks), tasks, task_facts(tasks, config), strict=True)
    ]  # fmt: skip
    return AdapterManifest.model_validate(
        {
            "name": name, "scope": "any", "model": "nano", "model_fingerprint": "-", "rank": config.rank,
            "alpha": config.lora_alpha, "modules": ("q_proj",), "prompts": prompts,
            "tuning_fingerprint": tuning_fingerprint("-", tasks, config), "settings": config.settings(),
            "result": {"steps": config.steps, "stopped_by": "steps", "elapsed_s": 1.0}, "weights_sha256": "-",
            "synthgen": "0", "libraries": {},
        }
    )  # fmt: skip


def lab(folder: Path, **options: object) -> Lab:
    """A lab on nano's prompts in which nothing is tuned and nobody thinks."""
    chosen = {
        "n": 30,
        "seeds": 2,
        "out": folder / "out",
        "work": folder / "work",
        "recipes": RECIPES,
    } | options
    return Lab(Options(**chosen), engine=engine(), tuner=untuned)  # type: ignore[arg-type]
