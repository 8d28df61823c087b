"""The dataset folder: atomic, resumable, and honest about whose it is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError, SinkError
from synthgen.files import sha256
from synthgen.folder import MANIFEST, SUCCESS
from synthgen.parquet import ShardEntry, to_frame
from synthgen.plan import Plan
from synthgen.schema import RecordSchema
from synthgen.shard import Shard, journal_path
from synthgen.sink import Sink
from synthgen.validation import Record, Rejection, validate


class Pair(BaseModel):
    word: str
    number: int


SCHEMA = RecordSchema.from_model(Pair)
PLAN = Plan(10, 1, (("base", 1.0),), 4)


def completion(i: int, text: str | None = None) -> Completion:
    return Completion(i, text if text is not None else f"{{w{i}}}\n{{{i}}}", "stop", 5)


def open_sink(out: Path, plan: Plan = PLAN, **options: Any) -> Sink:
    return Sink(out, plan, SCHEMA, {"recipe": "r1"}, **options)


def put(sink: Sink, c: Completion, attempt: int = 0) -> Record | Rejection:
    outcome = validate(SCHEMA, c, attempt, "base")
    sink.write(c, outcome)
    return outcome


def fill(sink: Sink) -> None:
    """Every record that the sink's plan still owes, then success."""
    for number in sink.shards_to_do():
        for i in sink.plan.ids(number):
            put(sink, completion(i))
    sink.succeed({})


def rows(out: Path) -> list[int]:
    return pl.read_parquet(out / "part-*.parquet")["_id"].to_list()


def parts(out: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every shard."""
    return {path.name: (sha256(path), path.stat().st_mtime_ns) for path in sorted(out.glob("part-*"))}


def longer(n: int) -> Plan:
    return replace(PLAN, n=n)


def damage(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_full_run_gives_shards_in_id_order_rejects_and_success(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(7, "{no}"))
        for i in reversed(range(10)):
            put(sink, completion(i), attempt=1)
        assert sink.n_missing == 0
        sink.succeed({"done": True})
    assert sorted(p.name for p in tmp_path.glob("part-*")) == [f"part-0000{k}.parquet" for k in range(3)]
    assert rows(tmp_path) == list(range(10))
    rejects = pl.read_parquet(tmp_path / "rejects" / "*.parquet")
    assert rejects.select("_id", "reason", "text").rows() == [(7, "missing_field", "{no}")]
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    for entry in manifest["shards"].values():
        assert sha256(tmp_path / entry["file"]) == entry["sha256"]
    assert (tmp_path / SUCCESS).exists() and not (tmp_path / ".work").exists()
    with open_sink(tmp_path) as again:
        assert again.is_complete and again.counts.attempted == 11 and again.counts.accepted == 10


def test_an_interrupted_shard_is_replayed_from_its_journal(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        for i in (0, 1, 2, 3, 5):
            put(sink, completion(i))
        put(sink, completion(6, "nonsense"))
    with open_sink(tmp_path) as sink:
        assert sink.shards_to_do() == [1, 2]
        kept = [(c.id, attempt) for c, attempt, _ in sink.shard(1).replay()]
    assert kept == [(5, 0), (6, 0)]


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(0))
        put(sink, completion(1))
    journal = tmp_path / ".work" / "shard-00000.journal"
    journal.write_bytes(journal.read_bytes()[:-7])
    with open_sink(tmp_path) as sink:
        assert [c.id for c, *_ in sink.shard(0).replay()] == [0]
        put(sink, completion(1))
    with open_sink(tmp_path) as sink:
        assert [c.id for c, *_ in sink.shard(0).replay()] == [0, 1]


def test_a_damaged_shard_is_found_and_made_again(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        for i in range(10):
            put(sink, completion(i))
        sink.succeed({})
    part = tmp_path / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with open_sink(tmp_path) as sink:
        assert not sink.is_complete and sink.shards_to_do() == [1]
        assert not (tmp_path / SUCCESS).exists()


def test_the_rejects_of_a_shard_go_with_it_when_it_is_made_again_without_any(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(5, "{no}"))
        fill(sink)
    assert (tmp_path / "rejects" / "part-00001.parquet").exists()
    damage(tmp_path / "part-00001.parquet")
    with open_sink(tmp_path) as sink:
        fill(sink)
        assert sink.counts.attempted == 10
    assert not (tmp_path / "rejects" / "part-00001.parquet").exists()


def test_another_identity_is_refused_by_name_unless_overwritten(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(0))
    with pytest.raises(RecipeError, match=r"recipe 'r1' → 'r2'.*--overwrite"):
        Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r2"})
    with Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r2"}, overwrite=True) as sink:
        assert sink.counts.accepted == 0 and not (tmp_path / ".work").exists()


def test_a_refusal_names_what_of_the_recipe_changed(tmp_path: Path) -> None:
    def facts(temperature: float, schema: str, **more: object) -> dict[str, object]:
        return {"generate": {"temperature": temperature, "top_p": 1.0}, "schema": [schema], **more}

    with Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r1"}, origin=facts(1.0, "a" * 64)) as sink:
        put(sink, completion(0))
    with pytest.raises(RecipeError) as refused:
        Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r2"}, origin=facts(0.9, "b" * 64, unique=[{"near": 0.8}]))
    said = '(generate.temperature 1.0 → 0.9, schema changed, unique null → [{"near": 0.8}])'
    assert said in str(refused.value) and "top_p" not in str(refused.value)


def test_overwrite_never_clears_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RecipeError, match="holds none"):
        open_sink(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_overwrite_leaves_a_readme_that_may_be_the_users(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    (tmp_path / "README.md").write_text("mine")
    with open_sink(tmp_path, overwrite=True) as sink:
        assert sink.shards_to_do() == [0, 1, 2] and not list(tmp_path.glob("part-*"))
    assert (tmp_path / "README.md").read_text() == "mine"


def test_an_overwriting_that_was_killed_half_way_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    real = Path.unlink

    class Killed(BaseException):
        pass

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if len(list(tmp_path.glob("part-*"))) < 3:
            raise Killed
        real(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            open_sink(tmp_path, overwrite=True)
    assert len(list(tmp_path.glob("part-*"))) == 2
    with open_sink(tmp_path, overwrite=True) as sink:
        fill(sink)
        assert rows(tmp_path) == list(range(10))


def test_other_peoples_parquet_is_left_alone(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "theirs.parquet")
    with pytest.raises(RecipeError, match="not synthgen's"):
        open_sink(tmp_path)


def test_two_runs_on_one_folder_are_one_too_many(tmp_path: Path) -> None:
    with open_sink(tmp_path), pytest.raises(SinkError, match="another synthgen run"):
        open_sink(tmp_path)


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="is a file or lies below one"):
        open_sink(tmp_path / "file" / "below")
    with pytest.raises(RecipeError, match="is a file or lies below one"):
        open_sink(tmp_path / "file")


# ---- extension ----


def test_an_extended_dataset_keeps_its_shards_byte_for_byte_and_grows_twice(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    first = parts(tmp_path)
    with open_sink(tmp_path, longer(19), extend=True) as sink:
        assert sink.shards_to_do() == [3, 4, 5] and not (tmp_path / SUCCESS).exists()
        assert set(sink.manifest) == {
            "identity",
            "starts",
            "created",
            "origin",
            "shards",
        }  # no summary of the shorter one
        assert [sink.plan.ids(k) for k in (2, 3, 5)] == [range(8, 10), range(10, 14), range(18, 19)]
        fill(sink)
    second = parts(tmp_path)
    assert {name: second[name] for name in first} == first
    with open_sink(tmp_path, longer(20), extend=True) as sink:
        assert sink.shards_to_do() == [6]
        fill(sink)
    assert {name: parts(tmp_path)[name] for name in second} == second
    assert rows(tmp_path) == list(range(20))
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["starts"] == [0, 10, 19] and manifest["identity"]["n"] == 20
    assert [entry["first_id"] for entry in manifest["shards"].values()] == [0, 4, 8, 10, 14, 18, 19]


@pytest.mark.parametrize("extend", [True, False])
def test_an_interrupted_extension_goes_on_by_the_same_command_with_and_without_extend(
    tmp_path: Path, extend: bool
) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    with open_sink(tmp_path, longer(19), extend=True) as sink:
        put(sink, completion(11))
    with open_sink(tmp_path, longer(19), extend=extend) as sink:
        assert [c.id for c, *_ in sink.shard(3).replay()] == [11]
        fill(sink)
    with open_sink(tmp_path, longer(19), extend=extend) as sink:
        assert sink.is_complete and sink.counts.accepted == 19


def test_an_extension_killed_in_its_first_moment_goes_on_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)

    class Killed(BaseException):
        pass

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            open_sink(tmp_path, longer(19), extend=True)
    with open_sink(tmp_path, longer(19), extend=True) as sink:
        assert sink.shards_to_do() == [3, 4, 5]


@pytest.mark.parametrize("n", [10, 9])
def test_an_extension_that_adds_nothing_is_refused(tmp_path: Path, n: int) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    with pytest.raises(
        RecipeError, match=rf"holds 10 records already; --extend needs a larger --n, found {n}"
    ):
        open_sink(tmp_path, longer(n), extend=True)
    assert (tmp_path / SUCCESS).exists()


def test_an_unfinished_dataset_is_not_extended(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        for i in range(5):
            put(sink, completion(i))
    with pytest.raises(RecipeError, match=r"2 of its 3 shards are not finished.*--n 10 and without --extend"):
        open_sink(tmp_path, longer(20), extend=True)


def test_another_size_is_refused_and_extend_named_as_the_remedy(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        fill(sink)
    with pytest.raises(RecipeError, match=r"n 10 → 12\); pass --extend to add 2, choose"):
        open_sink(tmp_path, longer(12))
    with pytest.raises(RecipeError, match=r"n 10 → 8\); choose another --out") as caught:
        open_sink(tmp_path, longer(8))
    assert "--extend" not in str(caught.value) and (tmp_path / SUCCESS).exists()


def test_there_must_be_something_to_extend(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds no dataset to extend; leave out --extend"):
        open_sink(tmp_path, extend=True)


# ---- shards that another process writes ----


def write_elsewhere(out: Path, metadata: dict[str, str], ids: range = PLAN.ids(1)) -> ShardEntry:
    shard = Shard(PLAN.ids(1), journal_path(out, 1), SCHEMA)
    for i in ids:
        shard.journal(completion(i), 0, "base")
        outcome = validate(SCHEMA, completion(i), 0, "base")
        shard.add(outcome)
    entry = shard.write(out, 1, metadata)
    shard.close()
    return entry


def test_a_shard_written_elsewhere_is_adopted_and_equals_one_written_here(tmp_path: Path) -> None:
    with open_sink(tmp_path / "whole") as sink:
        fill(sink)
    with open_sink(tmp_path / "adopted") as sink:
        sink.adopt(1, write_elsewhere(sink.out, sink.metadata))
        assert sink.shards_to_do() == [0, 2] and not journal_path(sink.out, 1).exists()
        fill(sink)
    assert {name: digest for name, (digest, _) in parts(tmp_path / "adopted").items()} == {
        name: digest for name, (digest, _) in parts(tmp_path / "whole").items()
    }
    with open_sink(tmp_path / "adopted") as sink:
        assert sink.is_complete and sink.counts.attempted == 10


def test_an_unfinished_shard_written_elsewhere_stays_to_do_with_its_journal(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        sink.adopt(1, write_elsewhere(tmp_path, sink.metadata, range(4, 6)))
        assert sink.shards_to_do() == [0, 1, 2] and sink.counts.accepted == 2
    with open_sink(tmp_path) as sink:
        assert [c.id for c, *_ in sink.shard(1).replay()] == [4, 5]


def test_a_shard_that_is_not_what_the_worker_said_is_refused(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        entry = write_elsewhere(tmp_path, sink.metadata)
        with pytest.raises(SinkError, match="not the shard 2"):
            sink.adopt(2, entry)
        damage(tmp_path / entry["file"])
        with pytest.raises(SinkError, match="not the shard 1"):
            sink.adopt(1, entry)
        assert sink.shards_to_do() == [0, 1, 2]


# ---- columns ----


class Colour(Enum):
    RED = "red"


class Everything(BaseModel):
    s: str
    i: int
    f: float
    b: bool
    d: date
    t: datetime
    m: Decimal = Field(decimal_places=2)
    lit: Literal["a", "b"]
    e: Colour
    o: int | None


@pytest.fixture
def everything() -> Iterator[Record]:
    text = "{x}\n{1}\n{1.5}\n{yes}\n{2024-02-29}\n{2024-02-29 13:45}\n{9.90}\n{b}\n{red}\n{none}"
    outcome = validate(RecordSchema.from_model(Everything), Completion(0, text, "stop", 1), 0, "base")
    assert isinstance(outcome, Record), outcome
    yield outcome


def test_column_types_come_from_the_declaration(everything: Record, tmp_path: Path) -> None:
    frame = to_frame([everything], RecordSchema.from_model(Everything))
    frame.write_parquet(tmp_path / "x.parquet")
    back = pl.read_parquet(tmp_path / "x.parquet")
    assert back.schema == frame.schema
    assert back.drop("_id", "_adapter").row(0) == (
        "x", 1, 1.5, True, date(2024, 2, 29), datetime(2024, 2, 29, 13, 45), Decimal("9.90"), "b", "red", None,
    )  # fmt: skip
    assert to_frame([], RecordSchema.from_model(Everything)).schema == frame.schema
