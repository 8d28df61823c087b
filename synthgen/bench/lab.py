"""What every experiment works with: the model, adapters tuned on it, an engine to ask, and cells that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthgen.adapters import AdapterManifest
from synthgen.bench.cells import Cell, Cells, key_of, tallied
from synthgen.bench.questions import Question, ask_all, question
from synthgen.engines.protocol import Engine, Sampling
from synthgen.engines.serving import Serving
from synthgen.errors import Incomplete, RecipeError
from synthgen.job import Job, prepare, ready_adapters
from synthgen.models import BUILT_IN, model_fingerprint, resolve_model
from synthgen.progress import Progress, SilentProgress
from synthgen.recipe import BASE, AdapterSpec, Recipe, StopSpec
from synthgen.tuning_config import Anchor, Schedule

FORMAT = 1  # raised when the same settings would give other cells
SHORT = 32  # tokens of an answer with a single value
EXPERIMENTS = (1, 2, 3, 4, 5)

Tuned = tuple[Path, AdapterManifest]
Tuner = Callable[[Job, Progress], dict[str, Tuned]]


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    model: str = BUILT_IN  # or a recipe of that folder, whose model and tuning settings are taken
    only: tuple[int, ...] = EXPERIMENTS
    seeds: int = 3
    n: int = 1000  # answers to each prompt
    out: Path = Path("bench/results")
    work: Path | None = None  # cells and adapters; None: data/bench/paper-<model>
    recipes: Path = Path("recipes/paper")
    engine: str = "auto"
    budget_min: float | None = None
    lm_eval: tuple[str, ...] = ()  # its tasks

    @property
    def command(self) -> str:
        """The command that does the same."""
        default = Options()
        parts = ["synthgen bench paper"]
        parts += [f"--model {self.model}"] if self.model != default.model else []
        parts += [f"--only {','.join(map(str, self.only))}"] if self.only != default.only else []
        for name in ("seeds", "n", "out", "work", "recipes", "engine"):
            if getattr(self, name) != getattr(default, name):
                parts.append(f"--{name} {getattr(self, name)}")
        parts += [f"--lm-eval {','.join(self.lm_eval)}"] if self.lm_eval else []
        return " ".join(parts)


@dataclass(frozen=True)
class Settings:
    """How adapters are tuned, taken from a recipe's first adapter; `passes` over the prompts."""

    rank: int
    alpha: float | None
    lr: float | None
    schedule: Schedule | None
    warmup_steps: int | None
    anchor: Anchor | None
    passes: float
    gamma: float | None

    @classmethod
    def of(cls, recipe: Recipe) -> Settings:
        """RecipeError if the recipe has no adapter that is tuned for a number of steps."""
        spec = next(iter(recipe.adapters.values()), None)
        if spec is None or not spec.tasks or spec.steps is None:
            raise RecipeError(
                f"{recipe.path}: found no adapter with `steps` to take the tuning settings from; expected one, as "
                "in recipes/paper/gemma-7b-it.yaml"
            )
        passes = spec.steps / len(spec.tasks)
        return cls(
            spec.rank,
            spec.alpha,
            spec.lr,
            spec.schedule,
            spec.warmup_steps,
            spec.anchor,
            passes,
            spec.stop.gamma,
        )

    def applied(self, spec: AdapterSpec) -> AdapterSpec:
        """An experiment's adapter with these settings; it stops early only where the experiment's own does."""
        stops = spec.stop.gamma is not None and self.gamma is not None
        return spec.model_copy(
            update={
                "rank": self.rank,
                "alpha": self.alpha,
                "lr": self.lr,
                "schedule": self.schedule,
                "warmup_steps": self.warmup_steps,
                "anchor": self.anchor,
                "steps": max(1, round(self.passes * len(spec.tasks))),
                "stop": StopSpec(gamma=self.gamma) if stops else StopSpec(),
            }
        )


@dataclass(frozen=True)
class Trial:
    """One cell to be measured: questions put to the base model, or to it with an adapter."""

    experiment: int
    condition: str
    seed: int
    questions: tuple[Question, ...]
    tuned: Tuned | None = None
    also: str = ""  # what else decides the cell

    @property
    def served(self) -> str | None:
        """The adapter's name in the engine; None: the base model."""
        return None if self.tuned is None else f"{self.tuned[0].name}-s{self.seed}"


Measure = Callable[[Engine, Trial], dict[str, Any]]


@dataclass
class Lab:
    """One run of the command.

    `engine` stands in for the one that the options name, and `tuner` for tuning, in tests.
    """

    options: Options
    progress: Progress = field(default_factory=SilentProgress)
    engine: Engine | None = None
    tuner: Tuner = ready_adapters

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.label, self.model_name, self.settings = _model(self.options)
        self.model = resolve_model(self.model_name)
        self.fingerprint = model_fingerprint(self.model)
        self.work = self.options.work or Path("data", "bench", f"paper-{self.label}")
        self.cells = Cells(self.work / "cells")

    @property
    def seeds(self) -> range:
        """From 1."""
        return range(1, self.options.seeds + 1)

    def recipe(self, name: str) -> Recipe:
        """A recipe of the experiments, for this model and its settings; it serves the base model alone."""
        found = Recipe.from_yaml(self.options.recipes / f"{name}.yaml")
        adapters = found.adapters
        if self.settings is not None:
            adapters = {name: self.settings.applied(spec) for name, spec in adapters.items()}
        generate = found.generate.model_copy(update={"mix": {BASE: 1.0}})
        update = {"model": self.model_name, "adapters": adapters, "generate": generate}
        return found.model_copy(update=update)

    def job(self, recipe: Recipe, seed: int = 1) -> Job:
        """The recipe made ready, with a seed of its own."""
        folder = self.work / "adapters" / f"s{seed}"
        return prepare(recipe.model_copy(update={"seed": seed, "tuned_dir": folder}))

    def tuned(self, recipe: Recipe, seed: int) -> dict[str, Tuned]:
        """All adapters of a recipe, tuned with a seed, or found as they were tuned before."""
        self.check_time()
        return self.tuner(self.job(recipe, seed), self.progress)

    def questions(self, recipe: Recipe, adapter: str, task: str) -> tuple[Question, ...]:
        """The prompts that an adapter is tuned on."""
        return tuple(question(task, tuning) for tuning in self.job(recipe).tasks[adapter])

    def measured(
        self,
        trials: Sequence[Trial],
        measure: Measure | None = None,
        max_tokens: int = SHORT,
        n: int | None = None,
    ) -> list[Cell]:
        """The trials' cells, those that are not there yet measured with one engine.

        Raises:
            Incomplete: the time is up; what is measured is kept.
        """
        n = n or self.options.n
        keys = [self._key(trial, n, max_tokens) for trial in trials]
        cells = [
            self.cells.find(t.experiment, t.condition, t.seed, key)
            for t, key in zip(trials, keys, strict=True)
        ]
        missing = [i for i, cell in enumerate(cells) if cell is None]
        if missing:
            with self._opened([trials[i] for i in missing], max_tokens) as engine:
                for i in missing:
                    trial = trials[i]
                    self.check_time()
                    what = f"experiment {trial.experiment}, {trial.condition}, seed {trial.seed}"
                    self.progress.stage("measure", f"{what} ({i + 1} of {len(trials)})")
                    began = time.monotonic()
                    if measure is None:
                        tallies = ask_all(engine, trial.questions, trial.served, n, trial.seed)
                        content = tallied(tallies)
                    else:
                        content = measure(engine, trial)
                    content |= {"elapsed_s": round(time.monotonic() - began, 2), "engine": engine.info.name}
                    content |= {"adapter": _adapter_facts(trial.tuned[1])} if trial.tuned else {}
                    made = Cell(trial.experiment, trial.condition, trial.seed, content)
                    cells[i] = self.cells.keep(made, keys[i])
        return [cell for cell in cells if cell is not None]

    def check_time(self) -> None:
        """Incomplete once the budget is spent."""
        budget = self.options.budget_min
        if budget is not None and time.monotonic() - self.started > 60 * budget:
            raise Incomplete(
                f"{self.work}: the {budget:g} minutes are over; what is tuned and measured is kept: run the same "
                "command again to go on"
            )

    @contextmanager
    def _opened(self, trials: Sequence[Trial], max_tokens: int) -> Iterator[Engine]:
        if self.engine is not None:
            yield self.engine
            return
        prompt = trials[0].questions[0].prompt
        adapters: dict[str, Path] = {t.served: t.tuned[0] for t in trials if t.served and t.tuned}
        sampling = Sampling(max_tokens=max_tokens, stop_ids=prompt.stop_ids)
        serving = Serving(self.options.engine, self.model, adapters, sampling, 0, prompt.ids)
        self.work.mkdir(parents=True, exist_ok=True)
        with closing(serving.open(self.progress, log=self.work / "engine.log")) as engine:
            yield engine

    def _key(self, trial: Trial, n: int, max_tokens: int) -> str:
        adapter = None if trial.tuned is None else trial.tuned[1].tuning_fingerprint
        asked = [one.fingerprint for one in trial.questions]
        return key_of(FORMAT, self.fingerprint, adapter, asked, n, max_tokens, trial.seed, trial.also)


def _adapter_facts(manifest: AdapterManifest) -> dict[str, object]:
    """How an adapter was tuned, and the exact distances of its prompts before and after, in nats."""
    settings = ("rank", "lr", "schedule", "steps")
    facts: dict[str, object] = {key: manifest.settings.get(key) for key in settings}
    facts |= {key: manifest.result.get(key) for key in ("steps", "stopped_by", "elapsed_s")}
    facts["prompts"] = [_prompt_facts(prompt.before, prompt.after) for prompt in manifest.prompts]
    return facts


def _prompt_facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float | None]:
    return {"kl_before": before.get("kl"), "kl_after": after.get("kl"), "leak_after": after.get("leak")}


def _model(options: Options) -> tuple[str, str, Settings | None]:
    """The model's short name, the model, and the settings of its recipe; None for nano, which the experiments name.

    Raises:
        RecipeError: no recipe names the model, so nobody knows how it is to be tuned.
    """
    if options.model == BUILT_IN:
        return BUILT_IN, BUILT_IN, None
    if options.model.endswith((".yaml", ".yml")):
        recipe = Recipe.from_yaml(Path(options.model))
        return recipe.name, recipe.model, Settings.of(recipe)
    for path in sorted(options.recipes.glob("*.yaml")):
        recipe = Recipe.from_yaml(path)
        if recipe.model == options.model:
            return recipe.name, recipe.model, Settings.of(recipe)
    raise RecipeError(
        f"--model {options.model}: no recipe in {options.recipes} names this model, so its tuning settings are not "
        f"known; copy {options.recipes}/gemma-7b-it.yaml, write the model there, and give the recipe as --model"
    )
