"""Every fault of docs/FAULTS.md: planted, told in one line with the right exit code, and gone after the same command."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

from synthgen import Recipe
from synthgen.cli import explain
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Request
from synthgen.errors import EngineError, SinkError, SynthgenError
from synthgen.folder import temporaries
from synthgen.plan import Plan
from synthgen.progress import SilentProgress
from synthgen.run import run_recipe
from synthgen.schema import RecordSchema
from synthgen.shard import journal_path
from synthgen.sink import Sink
from synthgen.validation import validate
from tests.tiny import tiny_tokenizer_folder
from tests.whole import findings

ROOT = Path(__file__).parent.parent
N, ROWS = 60, 20
FULL = Path("/dev/full")  # a device that every byte is too much for


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    model = tiny_tokenizer_folder(tmp_path_factory.mktemp("model"))
    (model / "config.json").write_text('{"model_type": "llama"}')
    content = {
        "schema": "schemas/die.py:Die",
        "model": str(model),
        "seed": 3,
        "generate": {"mix": {"base": 1.0}, "max_attempts": 10},
        "export": {"rows_per_shard": ROWS},
    }
    return Recipe.from_mapping(content, base=ROOT)


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """What the recipe gives when nothing happens."""
    run = run_recipe(recipe, N, tmp_path_factory.mktemp("undisturbed"), engine=engine(), n_before=10)
    return run.to_polars()


def roll(_: Request, rng: np.random.Generator) -> str:
    return f"{{{rng.integers(1, 11)}}}" if rng.random() < 0.8 else "{eleven}"


def engine(after: int | None = None, happens: Callable[[], object] = lambda: None) -> FakeEngine:
    """A die; just before it is rolled for the `after`-th time in the run proper, something happens."""
    n = 0

    def answer(request: Request, rng: np.random.Generator) -> str:
        nonlocal n
        n += 1
        if n - 100 == after:  # the first 100 rolls are the sample of the untuned model
            happens()
        return roll(request, rng)

    return FakeEngine(answer, capacity=5)


def told(recipe: Recipe, out: Path, engine: FakeEngine) -> tuple[int, str]:
    """Exit code and line of a run that fails."""
    with pytest.raises(SynthgenError) as caught:
        run_recipe(recipe, N, out, engine=engine)
    exit_code, lines = explain(caught.value)
    assert len(lines) == 1 and "\n" not in lines[0]
    return exit_code, lines[0]


def again(recipe: Recipe, out: Path, undisturbed: pl.DataFrame) -> None:
    """The same command makes the dataset that nothing happened to."""
    run = run_recipe(recipe, N, out, engine=engine())
    assert findings(out, N) == []
    assert run.to_polars().equals(undisturbed)
    assert run_recipe(recipe, N, out, engine=FakeEngine(roll, die_after=0)).summary["already_complete"]


def damage(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


# ---- the disk ----


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("name", "after"),
    [
        (".work/shard-00000.journal", 1),
        (".part-00001.parquet.tmp", 1),
        ("rejects/.part-00001.parquet.tmp", 30),
        ("._manifest.json.tmp", 1),
        ("._SUCCESS.tmp", 1),
        (".base.parquet.tmp", -50),
        (".report.json.tmp", 1),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, name: str, after: int
) -> None:
    def fill_up() -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(FULL)

    exit_code, line = told(recipe, tmp_path, engine(after, fill_up))
    assert exit_code == 1
    assert line.startswith(f"synthgen: {tmp_path}")
    if "SUCCESS" not in name:  # which is empty: it fails at the sync, with another reason
        assert "No space left on device" in line
    assert not (tmp_path / "_SUCCESS").exists()
    (tmp_path / name).unlink(missing_ok=True)
    again(recipe, tmp_path, undisturbed)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def test_a_disk_that_is_really_full_then_read_only_then_mended(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    with mounted(tmp_path, "44k"):
        exit_code, line = told(recipe, tmp_path / "d", engine())
        assert exit_code == 1
        assert line.startswith(f"synthgen: {tmp_path / 'd'}") and "No space left on device; make room" in line
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        exit_code, line = told(recipe, tmp_path / "d", engine())
        assert exit_code == 1 and "Read-only file system; make the folder writable" in line
        subprocess.run(["mount", "-o", "remount,rw,size=10m", str(tmp_path)], check=True)
        again(recipe, tmp_path / "d", undisturbed)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_turns_read_only_is_one_line(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        exit_code, line = told(recipe, tmp_path, engine(30, lambda: patch.setattr(Path, "replace", refuse)))
    assert exit_code == 1
    assert f"cannot write: {os.strerror(number)}; make the folder writable or choose another --out" in line
    again(recipe, tmp_path, undisturbed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    exit_code, line = told(recipe, tmp_path / "d", engine())
    assert exit_code == 1 and "Permission denied; make the folder writable" in line
    tmp_path.chmod(0o700)
    again(recipe, tmp_path / "d", undisturbed)


@pytest.mark.parametrize("below", ["", "below"])
def test_a_path_that_is_a_file_is_a_wrong_command(recipe: Recipe, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("precious")
    exit_code, line = told(recipe, tmp_path / "file" / below, engine())
    assert exit_code == 2 and line.endswith(
        "is a file or lies below one; expected a folder; choose another --out"
    )
    assert (tmp_path / "file").read_text() == "precious"


# ---- files that somebody touched ----


@pytest.mark.parametrize("harm", [Path.unlink, truncate, damage])
def test_a_shard_touched_during_the_run_is_found_before_success(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    part = tmp_path / "part-00000.parquet"
    exit_code, line = told(recipe, tmp_path, engine(40, lambda: harm(part)))
    assert exit_code == 1
    assert line == (
        f"synthgen: {part}: removed or changed while the run was going on; "
        "run the same command again to make it again"
    )
    assert not (tmp_path / "_SUCCESS").exists()
    again(recipe, tmp_path, undisturbed)


@pytest.mark.parametrize("harm", [Path.unlink, truncate, damage])
@pytest.mark.parametrize("finished", [True, False])
def test_a_shard_touched_between_two_runs_is_made_again(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, harm: Callable[[Path], None], finished: bool
) -> None:
    if finished:
        run_recipe(recipe, N, tmp_path, engine=engine())
    else:
        told(recipe, tmp_path, FakeEngine(roll, capacity=5, die_after=150))
    others = {p: p.stat().st_mtime_ns for p in tmp_path.glob("part-*") if "00000" not in p.name}
    harm(tmp_path / "part-00000.parquet")
    again(recipe, tmp_path, undisturbed)
    assert {p: p.stat().st_mtime_ns for p in others} == others


@pytest.mark.parametrize("text", [None, "", "no JSON", "[]", "{}", '{"identity": {"n": 60}, "shards": {}}'])
def test_a_damaged_manifest_is_one_line_and_nothing_is_touched(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, text: str | None
) -> None:
    run_recipe(recipe, N, tmp_path, engine=engine())
    manifest = tmp_path / "_manifest.json"
    if text is None:
        truncate(manifest)
    else:
        manifest.write_text(text)
    exit_code, line = told(recipe, tmp_path, engine())
    assert exit_code == 1
    assert line.startswith(f"synthgen: {manifest}: damaged, or not synthgen's (")
    assert line.endswith(
        "put back a copy, choose another --out, or pass --overwrite to make the dataset anew"
    )
    assert len(list(tmp_path.glob("part-*"))) == 3
    run_recipe(recipe, N, tmp_path, engine=engine(), overwrite=True)
    again(recipe, tmp_path, undisturbed)


class Notes(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_journal_with_garbage_and_a_torn_end_costs_only_the_damaged_lines(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    told(recipe, tmp_path, FakeEngine(roll, capacity=5, die_after=115))
    journal = journal_path(tmp_path, 0)
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 15
    lines[3] = b"\x00\xff\xfe{garbage]\n"
    lines[7] = lines[7].replace(b'"{', b'"{9')  # still JSON, and a record like any other
    journal.write_bytes(b"".join(lines)[:-9])
    n_asked = 0

    def count() -> None:
        nonlocal n_asked
        n_asked += 1

    def answer(request: Request, rng: np.random.Generator) -> str:
        count()
        return roll(request, rng)

    listener = Notes()
    run = run_recipe(recipe, N, tmp_path, engine=FakeEngine(answer, capacity=5), progress=listener)
    assert f"{tmp_path}: 2 journal lines were damaged; their records were made again" in listener.notes
    assert findings(tmp_path, N) == [] and run.to_polars().equals(undisturbed)
    attempted = run.summary["n_attempted"]
    assert isinstance(attempted, int) and n_asked == attempted - 12


def test_an_untuned_sample_that_was_touched_is_drawn_again(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    told(recipe, tmp_path, FakeEngine(roll, capacity=5, die_after=150))
    before = (tmp_path / "base.parquet").read_bytes()
    damage(tmp_path / "base.parquet")
    again(recipe, tmp_path, undisturbed)
    assert (tmp_path / "base.parquet").read_bytes() == before


def test_half_written_files_of_a_killed_run_are_swept_and_other_peoples_are_not(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    run_recipe(recipe, N, tmp_path, engine=engine())
    (tmp_path / "rejects").mkdir(exist_ok=True)
    planted = [*temporaries(tmp_path), tmp_path / ".part-00007.parquet.tmp"]
    planted.append(tmp_path / "rejects" / ".part-00007.parquet.tmp")
    for path in planted:
        path.write_text("half")
    (tmp_path / ".mine.tmp").write_text("precious")
    (tmp_path / ".work").mkdir()
    assert run_recipe(recipe, N, tmp_path, engine=engine()).summary["already_complete"]
    assert not [path for path in planted if path.exists()]
    assert (tmp_path / ".mine.tmp").read_text() == "precious"
    (tmp_path / ".mine.tmp").unlink()
    again(recipe, tmp_path, undisturbed)


def test_a_run_killed_in_its_very_first_write_can_be_repeated_and_overwritten(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    for folder, overwrite in ((tmp_path / "a", False), (tmp_path / "b", True)):
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / "._manifest.json.tmp").write_text("{")
        run_recipe(recipe, N, folder, engine=engine(), overwrite=overwrite)
        again(recipe, folder, undisturbed)


def test_completions_of_unknown_origin_are_not_taken(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path
) -> None:
    told(recipe, tmp_path, FakeEngine(lambda _r, _g: "{10}", capacity=5, die_after=115))
    (tmp_path / "_manifest.json").unlink()
    (tmp_path / "base.parquet").unlink()
    again(recipe, tmp_path, undisturbed)


# ---- the folder ----


def test_two_runs_at_once_are_one_too_many(recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path) -> None:
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        exit_code, line = told(recipe, tmp_path, engine())
        other.communicate()
    assert exit_code == 1
    assert line == (
        f"synthgen: {tmp_path}: another synthgen run is writing here; wait for it or choose another --out"
    )
    again(recipe, tmp_path, undisturbed)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_removed_during_the_run_is_not_written_to(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, replaced: bool
) -> None:
    out, moved = tmp_path / "d", tmp_path / "moved"

    def remove() -> None:
        out.rename(moved)
        if replaced:
            out.mkdir()

    exit_code, line = told(recipe, out, engine(30, remove))
    assert exit_code == 1
    assert line == (
        f"synthgen: {out}: removed or replaced while the run was going on; "
        "put it back or run the same command again to begin anew"
    )
    assert not out.exists() or not any(path.is_file() for path in out.rglob("*"))
    again(recipe, out, undisturbed)
    again(recipe, moved, undisturbed)


def test_a_journal_removed_during_the_run_is_noticed(tmp_path: Path) -> None:
    with (
        pytest.raises(SinkError, match=r"shard-00000\.journal: was removed while"),
        small_sink(tmp_path) as sink,
    ):
        put(sink, 0)
        journal_path(tmp_path, 0).unlink()
        sink.sync()


# ---- the clock ----


def test_a_clock_that_jumps_changes_no_rate_and_no_duration(
    recipe: Recipe, undisturbed: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, n_asked = time.time, 0

    def jumping() -> float:
        nonlocal n_asked
        n_asked += 1
        return real() + (86_400 if n_asked % 2 else -86_400)

    monkeypatch.setattr(time, "time", jumping)
    summary = run_recipe(recipe, N, tmp_path, engine=engine()).summary
    elapsed_s, records_per_s = summary["elapsed_s"], summary["records_per_s"]
    assert isinstance(elapsed_s, float) and 0 <= elapsed_s < 3600
    assert isinstance(records_per_s, float) and records_per_s > 0.1
    again(recipe, tmp_path, undisturbed)


# ---- every call in turn ----


class Pair(BaseModel):
    word: str
    number: int


PAIR = RecordSchema.from_model(Pair)


def small_sink(out: Path) -> Sink:
    return Sink(out, Plan(6, 1, (("base", 1.0),), 2), PAIR, {"recipe": "r"})


def put(sink: Sink, i: int, attempt: int = 0, text: str | None = None) -> None:
    completion = Completion(i, text if text is not None else f"{{w{i}}}\n{{{i}}}", "stop", 5)
    sink.write(completion, validate(PAIR, completion, attempt, "base"))


def work(out: Path) -> None:
    """A run without an engine: six records in three shards, one of them after a rejection."""
    with small_sink(out) as sink:
        for number in sink.shards_to_do():
            shard = sink.shard(number)
            for completion, attempt, adapter in list(shard.replay()):
                sink.write(completion, validate(PAIR, completion, attempt, adapter), journal=False)
            for i in sink.plan.ids(number):
                if number not in sink.shards_to_do() or shard.has(i):
                    continue
                if i == 3 and not shard.counts.rejected:
                    put(sink, i, 0, "{no}")
                put(sink, i, 1)
            sink.sync()
        sink.succeed({"n_accepted": 6, "n_attempted": 7, "n_rejected": 1})


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize(("module", "name"), [(os, "fsync"), (os, "open"), (os, "fstat"), (Path, "replace")])
def test_whatever_call_fails_it_is_one_line_and_the_next_run_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str, once: bool
) -> None:
    real, n_failed = getattr(module, name), 0
    for k in range(100):
        n_calls = 0

        def failing(*arguments: object, k: int = k, **named: object) -> object:
            nonlocal n_calls
            n_calls += 1
            if n_calls == k + 1 or (n_calls > k and not once):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*arguments, **named)

        out = tmp_path / str(k)
        monkeypatch.setattr(module, name, failing)
        try:
            work(out)
        except SinkError as error:
            assert "\n" not in str(error)
            n_failed += 1
        finally:
            monkeypatch.setattr(module, name, real)
        if n_calls <= k:
            break
        work(out)
        (out / "report.json").write_text(json.dumps({"n_records": 6}))
        assert findings(out, 6) == [], k
    assert n_failed > 3 and n_calls <= k


def test_the_table_of_faults_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "FAULTS.md").read_text(encoding="utf-8")))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in code] == []


def test_an_engine_that_dies_is_no_fault_of_the_folder(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="died"):
        run_recipe(recipe, N, tmp_path, engine=FakeEngine(roll, capacity=5, die_after=115))
    assert journal_path(tmp_path, 0).exists()
