"""How fast this machine was, by what runs and previews measured: from which `check` says how long a run will take.

`Stopwatch` listens to a run like any Progress. What it saw is kept in `speeds.json` beside the tuned adapters, by
machine, model, engine and prompt; an estimate is arithmetic on that, and there is none where nothing was measured.
Light.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from synthgen.files import write_json
from synthgen.recipe_tasks import message

if TYPE_CHECKING:
    from synthgen.progress import Progress, TuningStep
    from synthgen.recipe import Recipe

FILE = "speeds.json"
_ASKING = ("before", "generate", "measure")  # stages that ask the engine for records
_PACE_ONLY = {"steps", "stop", "scope"}  # of an adapter: they do not change what a step costs


@dataclass(frozen=True)
class Speed:
    """What a run or a preview measured of one recipe on one engine."""

    date: str
    start_s: float  # until the engine takes requests
    requests_per_s: float
    accepted: float  # share of requests that give a record
    report_s: float | None  # after the last record; None: only previews so far, which write no report


@dataclass(frozen=True)
class Tuning:
    """What tuning an adapter took."""

    step_s: float
    around_s: float  # before the first step and behind the last: loading, the anchor's samples, looks


@dataclass(frozen=True)
class Estimate:
    """How long a run will take, part by part, in seconds."""

    measured: str  # date of the measurement behind it
    tune_s: float | None  # None: not known; 0: the adapters are there
    start_s: float
    generate_s: float
    report_s: float | None  # None: not known

    @property
    def total_s(self) -> float:
        """All that is known of it."""
        return (self.tune_s or 0.0) + self.start_s + self.generate_s + (self.report_s or 0.0)


Note = TypeVar("Note", Speed, Tuning)


class Stopwatch:
    """Passes everything on to another listener, and notes how long each stage took and how much it made."""

    def __init__(self, listener: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener, self._clock = listener, clock
        self._seconds: dict[str, float] = {}
        self._tuned: dict[str, Tuning] = {}  # by adapter
        self._counts = dict.fromkeys(_ASKING, (0, 0))  # stage → attempted, rejected
        self._earlier: tuple[int, int] | None = None  # the same before this process, of a resumed run
        self._stage, self._detail, self._began = "", "", clock()
        self._steps: list[float] = []  # when each of them ended
        self.engine = ""

    def stage(self, name: str, detail: str = "") -> None:
        """The stage before has ended."""
        self._end()
        self._stage, self._detail, self._began = name, detail, self._clock()
        self._steps, self._earlier = [], None
        if name == "engine":
            self.engine = detail
        self._listener.stage(name, detail)

    def tuning_step(self, step: TuningStep) -> None:
        """One more."""
        self._steps.append(self._clock())
        self._listener.tuning_step(step)

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """The first call's counts, but for its own attempt, are an earlier run's."""
        if self._stage in _ASKING:
            if self._earlier is None:
                self._earlier = (attempted - 1, min(rejected, attempted - 1))
            self._counts[self._stage] = (attempted - self._earlier[0], rejected - self._earlier[1])
        self._listener.generating(done, total, attempted, rejected)

    def note(self, text: str) -> None:
        """Passed on."""
        self._listener.note(text)

    def close(self) -> None:
        """Passed on."""
        self._end()
        self._listener.close()

    def keep(self, recipe: Recipe) -> None:
        """Write down what was measured, if there was anything; a folder that cannot be written keeps nothing."""
        self._end()
        path, kept = recipe.adapters_dir / FILE, _read(recipe)
        for name, tuning in self._tuned.items():
            kept["tuning"][_adapter_key(recipe, name)] = asdict(tuning)
        if speed := self._speed(_measured(kept, recipe, self.engine)):
            kept["runs"][_run_key(recipe, self.engine)] = asdict(speed)
        if (self._tuned or speed) and (recipe.adapters or path.parent.is_dir()):
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, kept)

    def _speed(self, earlier: Speed | None) -> Speed | None:
        attempted = sum(n for n, _ in self._counts.values())
        seconds = sum(self._seconds.get(name, 0.0) for name in _ASKING)
        last = next((counts for counts in reversed(self._counts.values()) if counts[0]), (0, 0))
        if not self.engine or not attempted or seconds <= 0 or last[1] >= last[0]:
            return None
        start_s = self._seconds.get("engine", 0.0) + self._seconds.get("canary", 0.0)
        report_s = self._seconds.get("report", earlier.report_s if earlier else None)
        return Speed(
            date=time.strftime("%Y-%m-%d"),
            start_s=round(start_s, 4),
            requests_per_s=round(attempted / seconds, 4),
            accepted=round(1 - last[1] / last[0], 4),
            report_s=None if report_s is None else round(report_s, 4),
        )

    def _end(self) -> None:
        took = self._clock() - self._began
        if self._stage == "tune" and self._steps:
            n, first, last = len(self._steps), self._steps[0], self._steps[-1]
            step_s = (last - first) / (n - 1) if n > 1 else took
            around_s = max(0.0, took - n * step_s)
            self._tuned[self._detail.partition(":")[0]] = Tuning(round(step_s, 4), round(around_s, 4))
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + took
        self._stage = ""


def is_known(recipe: Recipe, engine: str) -> bool:
    """Whether a run or a preview of the recipe on this engine was measured here."""
    return _measured(_read(recipe), recipe, engine) is not None


def estimate(recipe: Recipe, engine: str, n: int, n_before: int) -> Estimate | None:
    """How long `n` records and `n_before` samples of the untuned model will take; None if nothing was measured."""
    kept = _read(recipe)
    speed = _measured(kept, recipe, engine)
    if speed is None:
        return None
    generate_s = (n / speed.accepted + min(n_before, max(n, 100))) / speed.requests_per_s
    tune_s: float | None = 0.0
    for name, spec in recipe.adapters.items():
        if spec.use is not None or (recipe.adapters_dir / f"{recipe.name}-{name}" / "manifest.json").exists():
            continue
        took = _as(Tuning, kept["tuning"].get(_adapter_key(recipe, name)))
        if took is None or tune_s is None:
            tune_s = None
        else:
            tune_s += took.around_s + took.step_s * spec.tuning_config().steps
    return Estimate(speed.date, tune_s, speed.start_s, generate_s, speed.report_s)


def _measured(kept: Mapping[str, Mapping[str, object]], recipe: Recipe, engine: str) -> Speed | None:
    return _as(Speed, kept["runs"].get(_run_key(recipe, engine)))


def _as(kind: type[Note], found: object) -> Note | None:
    try:
        return kind(**found) if isinstance(found, dict) else None
    except TypeError:  # of another version
        return None


def _read(recipe: Recipe) -> dict[str, dict[str, object]]:
    """What was kept on this machine; of another one, or damaged, nothing."""
    try:
        kept: dict[str, Any] = json.loads((recipe.adapters_dir / FILE).read_text("utf-8"))
        if (
            kept["machine"] == machine()
            and isinstance(kept["runs"], dict)
            and isinstance(kept["tuning"], dict)
        ):
            return kept
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"machine": machine(), "runs": {}, "tuning": {}}  # type: ignore[dict-item]


def machine() -> str:
    """Processor, cores that this process may use, and GPUs."""
    name = platform.processor()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [name or platform.machine(), f"{n_cores} cores"]
    for facts in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            parts += [
                line.partition(":")[2].strip() for line in facts.read_text().splitlines() if "Model" in line
            ]
    return ", ".join(parts)


def _run_key(recipe: Recipe, engine: str) -> str:
    """What decides how long a request takes."""
    asks = message(recipe.record_schema(), recipe.prompt)
    mix = sorted(name for name, _ in recipe.mix)
    spec = recipe.generate
    return _hash([recipe.model, engine, asks, mix, spec.max_tokens, spec.temperature, spec.balance, spec.ask])


def _adapter_key(recipe: Recipe, name: str) -> str:
    """What decides how long a tuning step takes, in the words of the recipe."""
    spec = recipe.adapters[name].model_dump(mode="json", by_alias=True, exclude=_PACE_ONLY)
    return _hash([recipe.model, message(recipe.record_schema(), recipe.prompt), spec])


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:12]
