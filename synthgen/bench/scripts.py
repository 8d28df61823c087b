"""The bench scripts of a checkout as commands: `synthgen bench memory --sizes 10000`. Only click and the stdlib."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import click

FOLDER = Path(__file__).resolve().parents[2] / "bench"
STAMP = "stamp"  # what every script imports, and no other project's folder has beside this package


class Benches(click.Group):
    """The package's own measurements and, in a checkout, every script of its `bench` folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in alphabetical order."""
        return sorted({*super().list_commands(ctx), *scripts()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A measurement by its name, the package's own first."""
        found = super().get_command(ctx, cmd_name)
        path = scripts().get(cmd_name)
        return found if found is not None or path is None else _command(cmd_name, path)


def scripts() -> dict[str, Path]:
    """Scripts by command name; none where the package is installed without its repository."""
    if not (FOLDER / f"{STAMP}.py").exists():
        return {}
    return {path.stem.replace("_", "-"): path for path in FOLDER.glob("*.py") if path.stem != STAMP}


def _command(name: str, path: Path) -> click.Command:
    """A command that hands all its arguments to a script and ends with the script's exit code."""

    @click.pass_context
    def run(ctx: click.Context) -> None:
        ctx.exit(
            subprocess.run([sys.executable, str(path), *ctx.args], cwd=FOLDER.parent, check=False).returncode
        )

    docs = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(
        name, callback=run, help=docs.partition("\n\n")[0], add_help_option=False, context_settings=settings
    )
