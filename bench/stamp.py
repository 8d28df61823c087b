"""When, where, with what and by which command a result was measured: every result file in `results/` carries it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import synthgen.bench.stamp


def stamp() -> dict[str, object]:
    """Date (UTC), machine, Python, library versions, commit, and the command."""
    return {
        **synthgen.bench.stamp.stamp(),
        "commit": commit(),
        "command": shlex.join(["python", *sys.argv]),
    }


def commit() -> str:
    """The commit that is measured, with a + where files other than results differ from it; "" outside git."""

    def git(*words: str) -> str:
        said = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return said.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!results")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def line() -> str:
    """The same in one line, for Markdown, without the command."""
    facts = synthgen.bench.stamp.stamp()
    versions = ", ".join(f"{name} {found}" for name, found in dict(facts["versions"]).items())  # type: ignore[call-overload]
    return f"{facts['date']}; {facts['machine']}; Python {facts['python']}; {versions}"
