"""The dataset folder: atomic, resumable, and honest about whose it is."""

import json
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from pydantic import BaseModel, Field

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError, SinkError
from synthgen.plan import Plan
from synthgen.schema import RecordSchema
from synthgen.sink import MANIFEST, SUCCESS, Sink, sha256, to_frame
from synthgen.validation import Record, Rejection, validate


class Pair(BaseModel):
    word: str
    number: int


SCHEMA = RecordSchema.from_model(Pair)
PLAN = Plan(10, 1, (("base", 1.0),), 4)


def completion(i: int, text: str | None = None) -> Completion:
    return Completion(i, text if text is not None else f"{{w{i}}}\n{{{i}}}", "stop", 5)


def open_sink(out: Path, plan: Plan = PLAN, **options: bool) -> Sink:
    return Sink(out, plan, SCHEMA, {"recipe": "r1"}, **options)


def put(sink: Sink, c: Completion, attempt: int = 0) -> Record | Rejection:
    outcome = validate(SCHEMA, c, attempt, "base")
    sink.write(c, outcome)
    return outcome


def rows(out: Path) -> list[int]:
    return pl.read_parquet(out / "part-*.parquet")["_id"].to_list()


def test_a_full_run_gives_shards_in_id_order_rejects_and_success(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(7, "{no}"))
        for i in reversed(range(10)):
            put(sink, completion(i), attempt=1)
        assert sink.n_missing == 0
        sink.succeed({"done": True})
    assert sorted(p.name for p in tmp_path.glob("part-*")) == [
        f"part-0000{k}-of-00003.parquet" for k in range(3)
    ]
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
    journal = tmp_path / ".work" / "shard-00000.jsonl"
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
    part = tmp_path / "part-00001-of-00003.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with open_sink(tmp_path) as sink:
        assert not sink.is_complete and sink.shards_to_do() == [1]
        assert not (tmp_path / SUCCESS).exists()


def test_another_identity_is_refused_by_name_unless_overwritten(tmp_path: Path) -> None:
    with open_sink(tmp_path) as sink:
        put(sink, completion(0))
    with pytest.raises(RecipeError, match=r"recipe 'r1' → 'r2'.*--overwrite"):
        Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r2"})
    with Sink(tmp_path, PLAN, SCHEMA, {"recipe": "r2"}, overwrite=True) as sink:
        assert sink.counts.accepted == 0 and not (tmp_path / ".work").exists()


def test_overwrite_never_clears_a_folder_that_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RecipeError, match="holds none"):
        open_sink(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_other_peoples_parquet_is_left_alone(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "theirs.parquet")
    with pytest.raises(RecipeError, match="not synthgen's"):
        open_sink(tmp_path)


def test_two_runs_on_one_folder_are_one_too_many(tmp_path: Path) -> None:
    with open_sink(tmp_path), pytest.raises(SinkError, match="another synthgen run"):
        open_sink(tmp_path)


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        open_sink(tmp_path / "file" / "below")


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
