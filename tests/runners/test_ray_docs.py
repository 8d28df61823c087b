"""docs/ray.md keeps its word: its commands are understood, its manifest is YAML, and the lock is the extra's."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from synthgen.cli import Terminal, main

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


(MANIFEST,) = (yaml.safe_load(block) for block in blocks("yaml"))
SLURM = blocks("bash")[0].replace("\\\n", " ")
COMMANDS = [
    *(line.partition("#")[0] for line in blocks("")[0].splitlines()),
    MANIFEST["spec"]["entrypoint"],
    SLURM.partition(" -- ")[2].replace("$head:6379", "head:6379"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["synthgen", "recipe"]
    recipe = main.commands["recipe"]
    context = recipe.make_context("recipe", words[2:], parent=click.Context(main, obj=Terminal()))
    assert context.params["runner"] == "ray"


def test_the_lock_holds_a_ray_that_the_extra_allows() -> None:
    lock = (ROOT / "requirements" / "ray.lock").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ray==([0-9.]+)$", lock, re.MULTILINE)
    assert tuple(map(int, version.split("."))) >= (2, 56)
    assert 'ray = ["ray[data]>=2.56"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
