"""The README keeps its word: its commands parse, its recipe is a recipe, its Python names exist."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from synthgen import Recipe
from synthgen.cli import Terminal, main
from synthgen.recipe_checks import DISTANCES, LEAST, LEAST_RATES, MOST_RATES
from synthgen.yaml_lines import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    line[2:].partition("#")[0].strip()
    for block in blocks("console")
    for line in block.splitlines()
    if line.startswith("$ synthgen")
]


def test_there_are_commands_to_check() -> None:
    assert {shlex.split(command)[1] for command in COMMANDS} == set(main.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_line_is_understood(command: str) -> None:
    context: click.Context | None = None
    group: click.Command = main
    words = shlex.split(command)[1:]
    while isinstance(group, click.Group):
        context = click.Context(group, parent=context, info_name=words[0], obj=Terminal())
        group = group.commands[words.pop(0)]
    group.make_context(group.name, words, parent=context, resilient_parsing=False)


def test_the_first_steps_work(tmp_path: Path) -> None:
    run = CliRunner()
    assert run.invoke(main, ["init", str(tmp_path / "my-data")]).exit_code == 0
    recipes = list((tmp_path / "my-data").rglob("*.yaml"))
    assert len(recipes) == 1
    assert run.invoke(main, ["check", str(recipes[0])]).exit_code == 0
    assert run.invoke(main, ["check", str(ROOT / "recipes/bios.yaml"), "--n", "10000"]).exit_code == 0


def test_the_recipe_shown_is_a_recipe(tmp_path: Path) -> None:
    text = blocks("yaml")[0]
    (tmp_path / "recipes").mkdir()
    (tmp_path / "schemas").symlink_to(ROOT / "schemas")
    (tmp_path / "recipes" / "bios.yaml").write_text(text, encoding="utf-8")
    recipe = Recipe.from_yaml(tmp_path / "recipes" / "bios.yaml")
    assert recipe.mix == (("biographies", 1.0),)


def test_the_adapter_of_several_prompts_shown_is_one() -> None:
    (text,) = (block for block in blocks("yaml") if "prompts:" in block)
    content = parse(f"schema: ../schemas/biography.py:Biography\n{text}").value
    assert isinstance(content, dict)
    assert len(Recipe.from_mapping(content, base=ROOT / "recipes").adapters["diffuse"].tasks) == 2


def test_the_unique_rules_shown_are_rules() -> None:
    rules = re.findall(r"^unique: .*$", "\n".join(blocks("yaml")), re.MULTILINE)
    assert len(rules) == 4
    for line in rules:
        content = parse(f"schema: schemas/biography.py:Biography\n{line}").value
        assert isinstance(content, dict)
        assert len(Recipe.from_mapping(content, base=ROOT).unique) >= 1


def test_the_gates_shown_are_gates() -> None:
    shown = re.findall(r"`FIELD: \{(\w+): …\}`|^\| `(\w+)` \|", README, re.MULTILINE)
    assert {field or rate for field, rate in shown} == {*DISTANCES, *LEAST, *LEAST_RATES, *MOST_RATES}


def test_the_python_shown_uses_names_that_exist() -> None:
    (text,) = blocks("python")
    used = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    from synthgen.report.figures import Facts
    from synthgen.run import Run

    known = set(dir(Recipe)) | set(dir(Run)) | set(Run.__dataclass_fields__) | set(dir(Facts))
    assert used <= known
