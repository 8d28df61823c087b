"""The page, the terminal, the JSON and the command: what is shown, what is escaped, what is refused."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from synthgen.cli import main
from synthgen.probe import html, plane, samplers, terminal
from synthgen.probe.facts import FieldFacts, ProbeFacts, RecipeFacts
from synthgen.probe.questions import questions
from synthgen.probe.run import Settings, Subject, default_folder, probe, write
from synthgen.probe.tasks import battery
from tests.probe.scripted import ByteTokenizer, by_law

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>"
HEAVY = ("torch", "transformers", "peft", "vllm", "polars", "scipy", "altair", "numpy")


@cache
def facts() -> ProbeFacts:
    """Two tasks, one of them with values that are markup, and a recipe with such a field."""
    settings = Settings(n_draws=8, n_lists=1, n_wordings=2)
    tasks = battery(["flat/3/digits"], [f"{EVIL}=0.5, &amp\"'=0.25, ok=0.25"])
    asked = questions(tasks, settings.n_draws, settings.n_wordings, ByteTokenizer())
    found = probe(
        by_law(samplers.balancer, asked, 8, leak=0.1), Subject(EVIL, "", ByteTokenizer()), asked, settings
    )
    single = found.tasks[1].singles
    field = FieldFacts(
        name="x", label=EVIL, values=(EVIL, "b"), target=(0.5, 0.5), token=(0.9, 0.1),
        distance=single.alignment, alignment=single.alignment, dependence=0.1, outside=single.outside,
        result=None, temperature=single.temperature, entropies=single.entropies, n_prefixes=3,
    )  # fmt: skip
    return replace(found, recipe=RecipeFacts(EVIL, EVIL, 0.7, 10, 9, (field,), EVIL))


@cache
def page() -> str:
    return html.render(facts())


class Tags(HTMLParser):
    """Collects the tags of a page, and what is open at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)


def test_planted_markup_is_text_on_the_page() -> None:
    tags = Tags()
    tags.feed(page())
    assert "script" not in tags.seen
    assert EVIL not in page()
    assert "&lt;script&gt;" in page()
    assert "default-src 'none'" in page()


def test_the_page_asks_for_nothing_and_says_the_verdict() -> None:
    assert not re.search(r"(?:src|href)\s*=|url\(|@import", page())
    assert "D-like" in page() and "balancer" in page() and "own thresholds" in page()
    assert page().count('role="img"') >= 1 + 2 * 4 + 1  # plane, tasks, field


def test_the_json_holds_p_token_at_every_step_and_reads_back(tmp_path: Path) -> None:
    paths = write(facts(), tmp_path)
    assert [path.name for path in paths] == ["probe.json", "probe.html"]
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    lists = [entry for entry in content["steps"] if entry["protocol"] == "list"]
    assert len(lists) == 2 * 2
    assert all(len(entry["p_token"]) == len(entry["draws"]) == 8 for entry in lists)
    assert content["verdict"]["label"] == "D-like"
    assert content["tasks"][0]["target"] == [1 / 3] * 3 or sum(
        content["tasks"][0]["target"]
    ) == pytest.approx(1)


@pytest.mark.parametrize("width", [60, 140])
def test_the_terminal_says_it_in_ascii_for_logs(width: int) -> None:
    stream = io.StringIO()
    terminal.render(facts(), Console(file=stream, width=width), plain=True)
    shown = stream.getvalue()
    assert "D-like" in shown and "flat/3/digits" in shown and "M the model" in shown
    drawn = "\n".join(plane.characters(facts(), plain=True))
    assert drawn.isascii()
    assert "M" in drawn


def test_the_plane_in_characters_puts_marks_where_they_belong() -> None:
    rows = plane.characters(facts(), width=41, height=11)
    a, v = facts().lists.alignment.value, facts().lists.variability.value
    assert rows[round((1 - v) * 10)][3 + round(a * 40)] == "M"
    assert rows[10][3] == "a"  # the exact sampler, at the origin


def test_the_summary_is_plain_json() -> None:
    summary = json.loads(json.dumps(facts().summary()))
    assert summary["verdict"] == "D-like"
    assert summary["fields"] == {"x": pytest.approx(facts().tasks[1].singles.alignment.value, abs=1e-4)}


def test_the_folder_is_named_by_what_was_probed() -> None:
    assert default_folder("/models/tiny", None, None) == Path("data/probe/tiny")
    assert default_folder("org/tiny", None, Path("adapters/local/fair")) == Path("data/probe/tiny-fair")


# ---- the command ----


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["probe", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nano", "--declare", "a=0.5,b=0.6"], "--declare 'a=0.5,b=0.6': the chances sum to 1.1; expected 1"),
        (["./nowhere"], "model: found no folder"),
        ([], "probe: found neither a model nor --recipe"),
        (["https://models.example/v1"], "is an endpoint: it gives no log-probabilities"),
        (["nano", "--adapter", "nowhere"], "nowhere: no manifest.json; expected an adapter folder"),
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], line: str) -> None:
    result = call(*arguments, "--quiet")
    assert result.exit_code == 2
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_dry_run_on_the_engine_without_a_model(tmp_path: Path) -> None:
    size = ["--draws", "3", "--lists", "1", "--wordings", "1"]
    result = call(
        "nano", "--engine", "fake", "--task", "flat/2/words", *size, "--out", tmp_path, "--json", "--quiet"
    )
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout.splitlines()[-1])
    assert summary["engine"] == "fake"
    assert (tmp_path / "probe.html").exists()
    assert json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))["format"] == 1


def test_a_folder_that_cannot_be_written_is_one_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = call("nano", "--engine", "fake", "--out", tmp_path / "file" / "folder")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"synthgen: {tmp_path}/file/folder: cannot write")
    assert len(result.stderr.splitlines()) == 1


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, synthgen.probe\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
