"""The command line: exit codes, what goes to which stream, and what is loaded when."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from synthgen import progress
from synthgen.cli import Commands, Terminal, main, talking
from synthgen.errors import AdapterError, GateError, Incomplete, RecipeError, SinkError
from synthgen.recipe import Recipe

ROOT = Path(__file__).parent.parent
WRONG = sorted((Path(__file__).parent / "wrong_recipes").glob("*.yaml"))
HEAVY = ("torch", "transformers", "peft", "vllm", "polars", "scipy", "altair", "vl_convert")
COMMANDS = (
    "recipe",
    "init",
    "check",
    "preview",
    "tune",
    "report",
    "adapters",
    "adapters list",
    "adapters show",
)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def expected_line(path: Path) -> str:
    """What a wrong recipe must be answered: its first line says so."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def loaded_by(code: str) -> list[str]:
    """Heavy packages that a fresh interpreter has loaded after running `code`."""
    probe = f"{code}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1].split()


# ---- what is loaded ----


def test_importing_synthgen_loads_nothing_heavy() -> None:
    assert loaded_by("import synthgen, synthgen.recipe, synthgen.summary, synthgen.progress") == []


def test_help_loads_nothing_heavy_and_not_even_pydantic() -> None:
    code = "from synthgen.cli import main\nmain(['--help'], standalone_mode=False)"
    assert loaded_by(code) == []
    assert loaded_by(code + "\nimport sys\nassert 'pydantic' not in sys.modules, 'pydantic'\nprint()") == []


def test_check_loads_nothing_heavy() -> None:
    code = "from synthgen.cli import main\nmain(['check', 'recipes/bios.yaml'], standalone_mode=False)"
    assert loaded_by(code) == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_shows_an_example_and_the_exit_codes(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example:\n    synthgen {command}".rstrip() in result.output
    assert "4  stopped early; the same command goes on" in result.output


def test_the_version_is_the_packages() -> None:
    import synthgen

    assert call("--version").output == f"synthgen {synthgen.__version__}\n"


# ---- wrong recipes ----


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_recipe_is_one_line_on_stderr_and_exit_code_2(path: Path) -> None:
    result = call("check", path)
    assert result.exit_code == 2
    assert result.stderr == f"{path}:{expected_line(path)}\n"
    assert result.stdout == ""


def test_a_wrong_recipe_in_a_real_process() -> None:
    path = "tests/wrong_recipes/unknown_field.yaml"
    command = [sys.executable, "-m", "synthgen.cli", "recipe", path, "--n", "10", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    line = f"{path}:{expected_line(ROOT / path)}"
    assert run.returncode == 2
    assert run.stderr == line + "\n"
    assert json.loads(run.stdout) == {"exit_code": 2, "problems": [line]}


@pytest.mark.parametrize(
    "arguments", [["recipe", "x.yaml"], ["recipe", "x.yaml", "--n", "0"], ["nothing"], ["check"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


# ---- errors ----


@pytest.mark.parametrize(
    ("error", "exit_code", "lines"),
    [
        (RecipeError(["a.yaml:1: x", "a.yaml:2: y"]), 2, ["a.yaml:1: x", "a.yaml:2: y"]),
        (AdapterError("adapter 'a': other model"), 2, ["synthgen: adapter 'a': other model"]),
        (GateError("gate gender.tv"), 3, ["synthgen: gate gender.tv"]),
        (Incomplete("9 of 10"), 4, ["synthgen: 9 of 10"]),
        (SinkError("no room"), 1, ["synthgen: no room"]),
        (KeyboardInterrupt(), 4, ["synthgen: stopped; run the same command again to go on"]),
        (
            ZeroDivisionError("by\nzero"),
            1,
            ["synthgen: fault: ZeroDivisionError: by zero; run again with --debug for the traceback"],
        ),
    ],
)
def test_an_error_is_lines_on_stderr_and_an_exit_code(
    error: BaseException, exit_code: int, lines: list[str]
) -> None:
    @click.group(cls=Commands)
    @click.pass_context
    def group(ctx: click.Context) -> None:
        ctx.obj = Terminal()

    @group.command()
    @talking
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail", "--json"])
    assert (result.exit_code, result.stderr.splitlines()) == (exit_code, lines)
    assert json.loads(result.stdout.splitlines()[-1]) == {"exit_code": exit_code, "problems": lines}
    logged = CliRunner().invoke(group, ["fail", "--log-format", "json"])
    assert [json.loads(line)["text"] for line in logged.stderr.splitlines()] == lines


# ---- commands ----


def test_check_shows_the_plan_and_loads_nothing_heavy() -> None:
    """How long it takes is measured by bench/start.py."""
    code = (
        "import sys; from synthgen.cli import main; "
        "main(['check', 'recipes/bios.yaml', '--n', '120000'], standalone_mode=False); "
        "print(sorted({'torch', 'transformers', 'peft', 'vllm', 'ray', 'scipy', 'altair'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "{Gender - Female/Male/Non-binary}" in run.stdout
    assert "120,000 records in 3 shards" in run.stdout
    assert run.stdout.splitlines()[-1] == "[]"


def test_check_gives_its_plan_as_json() -> None:
    result = call("check", ROOT / "recipes" / "die.yaml", "--json", "--seed", "3")
    plan = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 0
    assert plan["schema"] == "Die"
    assert plan["out"] == str(ROOT / "data" / "die")
    assert plan["fingerprint"] != Recipe.from_yaml(ROOT / "recipes" / "die.yaml").fingerprint
    assert plan["adapters"][0]["name"] == "fair"
    assert len(plan["adapters"][0]["prompts"][0]["samples"]) == 3


def test_init_writes_a_starter_that_passes_check_unchanged(tmp_path: Path) -> None:
    result = call("init", tmp_path / "new")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["order.py", "orders.yaml"]
    checked = call("check", tmp_path / "new" / "orders.yaml")
    assert checked.exit_code == 0, checked.output
    assert "{Drink - coffee/tea/juice/water/hot chocolate}" in checked.output


def test_init_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "order.py").write_text("mine")
    result = call("init", tmp_path)
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_adapters_of_an_empty_folder_are_none(tmp_path: Path) -> None:
    assert json.loads(call("adapters", "list", tmp_path, "--json").stdout.splitlines()[-1]) == {}
    assert call("adapters", "list", tmp_path / "none").exit_code == 2
    shown = call("adapters", "show", tmp_path)
    assert shown.exit_code == 2
    assert "no manifest.json" in shown.stderr


def test_report_works_on_any_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("gender,age\n" + "Female,30\nMale,41\n" * 20)
    result = call("report", table, "--json", "--html", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[-1])["n_records"] == 40
    assert "<html" in (tmp_path / "r.html").read_text()
    assert "Gender" in call("report", table).stdout


# ---- progress ----


@dataclass(frozen=True)
class Step:
    step: int
    n_steps: int = 3
    loss: float = 14.25
    optimum: float | None = None
    kl: float | None = 0.0123
    kl_by_field: dict[str, float] = field(default_factory=lambda: {"gender": 0.0123})
    kl_by_prompt: dict[str, float] = field(default_factory=dict)
    elapsed_s: float = 1.5


def drive(listener: progress.Progress) -> None:
    listener.stage("tune", "biographies")
    for step in (1, 2, 3):
        listener.tuning_step(Step(step))
    listener.stage("generate", "vllm")
    for done in (0, 50, 100):
        listener.generating(done, 100, done + done // 10, done // 10)
    listener.note("gates passed")
    listener.close()
    listener.close()


def test_plain_progress_is_a_few_lines() -> None:
    stream = io.StringIO()
    drive(progress.PlainProgress(stream))
    assert stream.getvalue().splitlines()[:3] == [
        "synthgen: tune: biographies",
        "synthgen:   step 1/3: KL gender 0.0123, loss 14.2500 on new targets",
        "synthgen:   step 3/3: KL gender 0.0123, loss 14.2500 on new targets",
    ]
    assert "synthgen:   100/100 records, 90.9 % accepted" in stream.getvalue()
    assert "50/100" not in stream.getvalue()


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (Step(2, kl=None, kl_by_field={}), "step 2/3: loss 14.2500 on new targets"),
        (
            Step(2, optimum=14.0, kl=0.25, kl_by_field={}),
            "step 2/3: KL 0.2500, loss 14.2500 (optimum 14.0000)",
        ),
        (
            Step(2, kl=0.3, kl_by_field={"a": 0.1, "b": 0.2}),
            "step 2/3: KL 0.3000 (b 0.2000, a 0.1000), loss 14.2500 on new targets",
        ),
        (
            Step(2, kl=None, kl_by_field={}, kl_by_prompt={"Die": 0.1}),
            "step 2/3: KL Die 0.1000, loss 14.2500 on new targets",
        ),
        (
            Step(2, kl=0.3, kl_by_field={}, kl_by_prompt={f"P{i}": i / 10 for i in range(6)}),
            "step 2/3: KL 0.3000 (P5 0.5000, P4 0.4000, P3 0.3000, P2 0.2000, 2 less), loss 14.2500 on new targets",
        ),
    ],
)
def test_a_tuning_line_says_kl_first_and_an_optimum_only_where_there_is_one(step: Step, line: str) -> None:
    assert progress.tuning_line(step) == line


def test_json_progress_is_one_object_per_line() -> None:
    stream = io.StringIO()
    drive(progress.JsonProgress(stream))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        *("stage", "tuning_step", "tuning_step"),
        *("stage", "generating", "generating", "note"),
    ]
    assert events[2]["kl_by_field"] == {"gender": 0.0123}


def test_rich_progress_draws_its_bars() -> None:
    from rich.console import Console

    stream = io.StringIO()
    drive(progress.RichProgress(Console(file=stream, force_terminal=True, width=120)))
    assert "loss 14.2500" in stream.getvalue()
    assert "100/100 records" in stream.getvalue()
    assert "gates passed" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (62, "1 min 02 s"), (3 * 3600 + 299, "3 h 04 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text
