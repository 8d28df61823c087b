"""`synthgen bench NAME` runs the scripts of the repository's bench folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from synthgen.bench import scripts
from synthgen.cli import main

ROOT = Path(__file__).parents[2]


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "synthgen.cli", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_script_is_listed_with_what_it_measures() -> None:
    lines = CliRunner().invoke(main, ["bench"]).output.splitlines()
    said = {line.split()[0]: line[18:] for line in lines}
    assert {"paper", "elicit", "kill-storm", "memory", "report-speed"} <= set(said)
    assert "stamp" not in said
    assert all(len(text) > 20 and "python bench" not in text for text in said.values())


def test_arguments_and_exit_code_pass_through() -> None:
    helped = ran("memory", "--help")
    assert helped.returncode == 0 and "--rows-per-shard" in helped.stdout
    refused = ran("memory", "--sizes", "many")
    assert refused.returncode == 2 and "invalid int value" in refused.stderr


def test_an_installed_package_has_its_own_measurements_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.py").write_text('"""Of another project."""')
    monkeypatch.setattr(scripts, "FOLDER", tmp_path)
    listed = CliRunner().invoke(main, ["bench"]).output
    assert "paper" in listed and "theirs" not in listed
    assert CliRunner().invoke(main, ["bench", "theirs"]).exit_code == 2
