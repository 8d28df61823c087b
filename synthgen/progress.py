"""What a run tells while it works, on stderr: a live bar for people, lines for logs, JSON for programs.

The pipeline speaks to the Progress protocol; the command line chooses who listens. Nothing here is needed for
the data: `SilentProgress` is a full member.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

MOST_PARTS = 4  # fields or prompts whose KL a line shows
EVERY_S = 5.0  # the least time between two lines of plain or JSON progress


class TuningStep(Protocol):
    """What is shown of one tuning step; `tuning.StepLog` is one. Figures in nats."""

    @property
    def step(self) -> int:
        """From 1."""

    @property
    def n_steps(self) -> int:
        """At most."""

    @property
    def loss(self) -> float:
        """Cross-entropy of the step's targets; of several prompts, loss, optimum and KL are weighted means."""

    @property
    def optimum(self) -> float | None:
        """The least it can be; None where every step draws other targets."""

    @property
    def kl(self) -> float | None:
        """Exact divergence from the target, where it is known: of the declared fields, given the leading ones."""

    @property
    def kl_by_field(self) -> Mapping[str, float]:
        """The same, field by field, of an adapter's only prompt."""

    @property
    def kl_by_prompt(self) -> Mapping[str, float]:
        """The same of each of the step's prompts, of an adapter with several."""

    @property
    def elapsed_s(self) -> float:
        """Since tuning began."""


class Progress(Protocol):
    """Listens to a run. Calls come from one thread, in order; none may raise or be slow."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage begins: "tune", "canary", "generate", "report" …; the one before has ended."""

    def tuning_step(self, step: TuningStep) -> None:
        """One optimiser step is done."""

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """Counts so far: accepted records of all wanted, attempts, and rejected attempts."""

    def note(self, text: str) -> None:
        """Something worth knowing, in one line."""

    def close(self) -> None:
        """The run is over; calling it twice is fine."""


class SilentProgress:
    """Says nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Nothing."""

    def tuning_step(self, step: TuningStep) -> None:
        """Nothing."""

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class _Rate:
    """Records per second of a stage, counted from its first report, so that resumed records are not speed."""

    def __init__(self) -> None:
        self.start: tuple[float, int] | None = None

    def per_s(self, done: int) -> float | None:
        """Since the first call; None until time has passed."""
        now = time.monotonic()
        if self.start is None:
            self.start = (now, done)
        elapsed = now - self.start[0]
        return (done - self.start[1]) / elapsed if elapsed > 0 and done > self.start[1] else None


def tuning_line(step: TuningStep) -> str:
    """`step 40/120: KL 0.0213 (gender 0.0123, smoker 0.0090), loss 14.2103 on new targets`, worst parts first."""
    parts = step.kl_by_prompt or step.kl_by_field
    worst = sorted(parts.items(), key=lambda part: -part[1])[:MOST_PARTS]
    listed = ", ".join(f"{name} {kl:.4f}" for name, kl in worst)
    more = f", {len(parts) - MOST_PARTS} less" if len(parts) > MOST_PARTS else ""
    total = "" if step.kl is None else f"{step.kl:.4f}"
    if len(parts) == 1 or (parts and not total):
        total = f"{listed}{more}"
    elif parts:
        total = f"{total} ({listed}{more})"
    kl = f"KL {total}, " if total else ""
    against = "on new targets" if step.optimum is None else f"(optimum {step.optimum:.4f})"
    return f"step {step.step}/{step.n_steps}: {kl}loss {step.loss:.4f} {against}"


def generating_line(done: int, total: int, attempted: int, rejected: int, per_s: float | None) -> str:
    """`2,000/10,000 records, 95.2 % accepted, 130 records/s, 1 min 02 s left`."""
    parts = [f"{done:,}/{total:,} records"]
    if attempted:
        parts.append(f"{100 * (attempted - rejected) / attempted:.1f} % accepted")
    if per_s:
        parts += [f"{per_s:,.0f} records/s", f"{duration((total - done) / per_s)} left"]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`7 s`, `1 min 02 s`, `3 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Timed(SilentProgress):
    """Lets the first and last event of a stage through, and one every few seconds between."""

    def __init__(self, stream: IO[str] | None = None, every_s: float = EVERY_S) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._every_s = every_s
        self._last = float("-inf")
        self._rate = _Rate()

    def _is_due(self, is_last: bool) -> bool:
        now = time.monotonic()
        if is_last or now - self._last >= self._every_s:
            self._last = now
            return True
        return False

    def _begin(self) -> None:
        self._last, self._rate = float("-inf"), _Rate()

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class PlainProgress(_Timed):
    """Plain lines, for logs and pipes."""

    def stage(self, name: str, detail: str = "") -> None:
        """A line when a stage begins."""
        self._begin()
        self._write(f"synthgen: {name}{': ' if detail else ''}{detail}")

    def tuning_step(self, step: TuningStep) -> None:
        """A line every few seconds."""
        if self._is_due(step.step == step.n_steps):
            self._write(f"synthgen:   {tuning_line(step)}")

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """A line every few seconds."""
        per_s = self._rate.per_s(done)
        if self._is_due(done == total):
            self._write(f"synthgen:   {generating_line(done, total, attempted, rejected, per_s)}")

    def note(self, text: str) -> None:
        """A line."""
        self._write(f"synthgen: {text}")


class JsonProgress(_Timed):
    """One JSON object per line: `{"event": "generating", "time": …, "done": 2000, …}`."""

    def _event(self, event: str, **facts: object) -> None:
        content = {"event": event, "time": round(time.time(), 3), **facts}
        self._write(json.dumps(content, ensure_ascii=False))

    def stage(self, name: str, detail: str = "") -> None:
        """An event when a stage begins."""
        self._begin()
        self._event("stage", name=name, detail=detail)

    def tuning_step(self, step: TuningStep) -> None:
        """An event every few seconds."""
        if self._is_due(step.step == step.n_steps):
            self._event(
                "tuning_step",
                step=step.step,
                n_steps=step.n_steps,
                loss=step.loss,
                optimum=step.optimum,
                kl=step.kl,
                kl_by_field=dict(step.kl_by_field),
                kl_by_prompt=dict(step.kl_by_prompt),
                elapsed_s=round(step.elapsed_s, 3),
            )

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """An event every few seconds."""
        per_s = self._rate.per_s(done)
        if self._is_due(done == total):
            facts = {"done": done, "total": total, "attempted": attempted, "rejected": rejected}
            self._event("generating", **facts, records_per_s=None if per_s is None else round(per_s, 2))

    def note(self, text: str) -> None:
        """An event."""
        self._event("note", text=text)


class RichProgress(SilentProgress):
    """A live line per stage on a terminal: a bar, the figures, the time; ended stages stay above it."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._console = console if console is not None else RichConsole(stderr=True)
        self._bars = Bars(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._rate = _Rate()

    def stage(self, name: str, detail: str = "") -> None:
        """A new line; the one before is ticked off."""
        self._end()
        self._bars.start()
        self._rate = _Rate()
        self._task = self._bars.add_task(f"{name:<9}", total=None, figures=detail)

    def tuning_step(self, step: TuningStep) -> None:
        """The bar moves."""
        self._show(step.step, step.n_steps, tuning_line(step).partition(": ")[2])

    def generating(self, done: int, total: int, attempted: int, rejected: int) -> None:
        """The bar moves."""
        self._show(done, total, generating_line(done, total, attempted, rejected, self._rate.per_s(done)))

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """The last line stays as it is."""
        self._end()
        self._bars.stop()

    def _show(self, done: int, total: int, figures: str) -> None:
        if self._task is None:
            self.stage("work")
        assert self._task is not None
        self._bars.update(self._task, completed=done, total=total, figures=figures)

    def _end(self) -> None:
        if self._task is None:
            return
        task = next(task for task in self._bars.tasks if task.id == self._task)
        total = task.total or 1
        if task.total is None or task.completed >= total:  # a stage cut short keeps its bar where it was
            self._bars.update(self._task, completed=total, total=total)
        self._bars.stop_task(self._task)
        self._task = None
