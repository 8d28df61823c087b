"""When, where, with what and by which command a result was measured: every result file in `results/` carries it."""

from __future__ import annotations

import shlex
import sys

import synthgen.bench.stamp


def stamp() -> dict[str, object]:
    """Date (UTC), machine, Python, library versions, and the command."""
    return {**synthgen.bench.stamp.stamp(), "command": shlex.join(["python", *sys.argv])}


def line() -> str:
    """The same in one line, for Markdown, without the command."""
    facts = synthgen.bench.stamp.stamp()
    versions = ", ".join(f"{name} {found}" for name, found in dict(facts["versions"]).items())  # type: ignore[call-overload]
    return f"{facts['date']}; {facts['machine']}; Python {facts['python']}; {versions}"
