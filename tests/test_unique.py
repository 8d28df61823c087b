"""Uniqueness: what is refused as a repeat, that it is refilled, resumed and bounded, and what an end of values says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthgen import Recipe
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Request
from synthgen.errors import EngineError, Incomplete, RecipeError, SinkError
from synthgen.near import NearIndex, bands, jaccard
from synthgen.recipe import UniqueSpec
from synthgen.run import iterate, run_recipe
from synthgen.schema import RecordSchema
from synthgen.stats import shingles
from synthgen.summary import plan_summary
from synthgen.unique import ExactIndex, Uniqueness, text_for_equality
from synthgen.validation import Record, Rejection
from tests.tiny import tiny_model_folder

PERSON = """
from typing import Literal
from pydantic import BaseModel, computed_field


class Person(BaseModel):
    name: str
    sex: Literal["F", "M"]
    lives: bool
    text: str

    @computed_field
    def first(self) -> str:
        return self.name.split()[0]
"""
PATIENT: dict[str, object] = {"mix": {"base": 1.0}, "max_attempts": 400}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schema alone."""
    folder = tmp_path_factory.mktemp("schema")
    (folder / "person.py").write_text(PERSON)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schema and a model."""
    folder = tmp_path_factory.mktemp("people")
    tiny_model_folder(folder / "model")
    (folder / "person.py").write_text(PERSON)
    return folder


def make(folder: Path, unique: object, **changes: object) -> Recipe:
    content: dict[str, object] = {
        "schema": "person.py:Person",
        "model": "./model" if (folder / "model").exists() else "nano",
        "seed": 3,
        "unique": unique,
        "generate": {"mix": {"base": 1.0}},
        "export": {"rows_per_shard": 400},
    }
    return Recipe.from_mapping(content | changes, base=folder)


def people(n_names: int) -> Callable[[Request, np.random.Generator], str]:
    """Names drawn evenly from `n_names`, everything else from a few values; one answer in twenty is broken."""

    def answer(_: Request, rng: np.random.Generator) -> str:
        number = int(rng.integers(n_names))
        name = f"{LETTERS[number % 26].upper()}{number} Lee"
        if rng.random() < 0.05:
            return f"{{{name}}}"
        return f"{{{name}}}\n{{{rng.choice(['F', 'M'])}}}\n{{{rng.choice(['yes', 'no'])}}}\n{{plain}}"

    return answer


def schema_of(folder: Path) -> RecordSchema:
    return make(folder, False).record_schema()


def person(record_id: int, name: str, text: str = "plain", attempt: int = 0) -> Record:
    values = {"name": name, "sex": "F", "lives": True, "text": text, "first": name.split()[0]}
    return Record(record_id, attempt, "base", values, 4)


def completion(record: Record) -> Completion:
    values = record.values
    text = f"{{{values['name']}}}\n{{{values['sex']}}}\n{{yes}}\n{{{values['text']}}}"
    return Completion(record.id, text, "stop", 4)


def admitted(unique: Uniqueness, *records: Record) -> list[bool]:
    return [isinstance(unique.admit(record, completion(record)), Record) for record in records]


# ---- the rules ----


def test_a_repeat_is_rejected_with_the_id_that_was_first_and_the_raw_text(light: Path) -> None:
    with Uniqueness([UniqueSpec(fields=["name"])], schema_of(light)) as unique:
        first, second = person(4, "Ana Lee"), person(9, "Ana Lee", attempt=2)
        assert unique.admit(first, completion(first)) is first
        refused = unique.admit(second, completion(second))
    assert isinstance(refused, Rejection)
    assert (refused.id, refused.attempt, refused.stage) == (9, 2, "unique")
    assert (refused.reason, refused.detail) == ("duplicate:name", "name repeats record 4")
    assert refused.text == completion(second).text


def test_the_fields_of_a_rule_count_together_and_derived_ones_too(light: Path) -> None:
    records = person(0, "Ana Lee"), person(1, "Ana Roy"), person(2, "Ana Lee", "other")
    with Uniqueness([UniqueSpec(fields=["name", "text"])], schema_of(light)) as unique:
        assert admitted(unique, *records) == [True, True, True]
    with Uniqueness([UniqueSpec(fields=["first"])], schema_of(light)) as unique:
        assert admitted(unique, *records) == [True, False, False]
    with Uniqueness([UniqueSpec()], schema_of(light)) as unique:
        assert admitted(unique, *records, person(3, "Ana Roy")) == [True, True, True, False]


def test_a_record_that_a_second_rule_refuses_takes_nothing(light: Path) -> None:
    rules = [UniqueSpec(fields=["name"]), UniqueSpec(fields=["text"])]
    with Uniqueness(rules, schema_of(light)) as unique:
        records = person(0, "Ana", "a"), person(1, "Bo", "a"), person(2, "Bo", "b")
        assert admitted(unique, *records) == [True, False, True]


def test_near_duplicates_are_refused_from_the_threshold_on(light: Path) -> None:
    told = "She founded a school for forty children in Lagos after the flood."
    like = "She founded a school for fifty children in Lagos after the flood."
    other = "He rebuilt the coast railway and led a choir in Oslo for ten years."
    likeness = jaccard(shingles(told), shingles(like))
    for near, expected in ((likeness - 0.05, False), (likeness + 0.05, True)):
        with Uniqueness([UniqueSpec(fields=["text"], near=near)], schema_of(light)) as unique:
            records = person(0, "A", told), person(1, "B", other), person(2, "C", like)
            assert admitted(unique, *records) == [True, True, expected]
            assert admitted(unique, person(3, "D", told.upper())) == [False]  # case is levelled


def test_pairs_at_the_threshold_are_found_as_often_as_promised() -> None:
    """Pairs of Jaccard similarity 0.80 to 0.82 by construction; 95.3 % promised, 200 pairs: 90 % is 3.5 σ below."""
    rng = np.random.default_rng(5)
    index = NearIndex(sqlite3.connect(""), "t", 0.8)
    n_found = 0
    for i in range(200):
        text = list(rng.choice(list(LETTERS), 200))
        index.fill([(2 * i, ["".join(text)])])
        places = iter(rng.permutation(200))
        changed = list(text)
        while jaccard(shingles("".join(text)), shingles("".join(changed))) > 0.82:
            changed[next(places)] = "é"
        if jaccard(shingles("".join(text)), shingles("".join(changed))) >= 0.8:
            n_found += index.claim(2 * i + 1, ["".join(changed)]) == 2 * i
        else:
            n_found += 1  # jumped over the threshold: no such pair
    assert n_found >= 0.9 * 200


@pytest.mark.parametrize("near", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_the_bands_catch_95_percent_at_the_threshold(near: float) -> None:
    n_bands, n_rows = bands(near)
    assert n_bands * n_rows <= 128
    assert 1 - (1 - near**n_rows) ** n_bands >= 0.95


def test_a_text_stays_with_the_id_that_has_it() -> None:
    index = NearIndex(sqlite3.connect(""), "t", 0.7)
    index.fill([(0, ["She founded a school."]), (1, ["She founded a schools."])])
    assert [
        index.claim(i, [text]) for i, text in enumerate(["She founded a school.", "She founded a schools."])
    ] == [
        0,
        1,
    ]


def test_equal_first_hashes_alone_make_no_duplicate() -> None:
    database = sqlite3.connect("")
    index = ExactIndex(database, "t")
    assert index.claim(0, ["a"]) == 0
    database.execute("UPDATE t SET rest = rest + 1")
    assert index.claim(1, ["a"]) == 1


class Colour(Enum):
    RED = "red"


def test_values_are_equal_as_in_memory_so_in_parquet() -> None:
    moment = datetime(2024, 5, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    pairs: list[tuple[object, object]] = [
        (Colour.RED, "red"),
        (3.0, 3),
        (Decimal("1.50"), Decimal("1.5")),
        (moment, moment.astimezone(UTC).replace(tzinfo=None)),
        (date(2024, 5, 1), "2024-05-01"),
        (True, True),
    ]
    for value, stored in pairs:
        assert text_for_equality(value) == text_for_equality(stored)
    assert text_for_equality(None) != text_for_equality("None")


def test_a_disk_that_is_full_is_one_line(light: Path, tmp_path: Path) -> None:
    (tmp_path / ".work").write_text("in the way")
    with pytest.raises(SinkError, match=r"unique\.sqlite: cannot be written: .*; make room"):
        Uniqueness([UniqueSpec()], schema_of(light), tmp_path)


# ---- in a run ----


def test_exactly_n_records_with_n_names_all_different(folder: Path, tmp_path: Path) -> None:
    run = run_recipe(make(folder, ["name"]), 1000, tmp_path, engine=FakeEngine(people(3000), capacity=64))
    frame, rejected = run.to_polars(), run.rejections()
    assert frame["_id"].to_list() == list(range(1000))
    assert frame["name"].n_unique() == 1000
    repeats = rejected.filter(pl.col("reason") == "duplicate:name")
    assert repeats.height > 100 and set(repeats["stage"]) == {"unique"}
    # the parse rate is of the model's answers, not of what was refused for being a repeat
    n_broken = rejected.height - repeats.height
    assert run.summary["parse_rate"] == pytest.approx(1 - n_broken / (1000 + rejected.height))
    assert run.report.duplicate_rate == pytest.approx(
        1 - frame.unique(["name", "sex", "lives", "text"]).height / 1000
    )
    assert not (tmp_path / ".work").exists()


def test_the_untuned_sample_keeps_its_repeats_and_takes_no_names(folder: Path, tmp_path: Path) -> None:
    """150 samples of 200 names before the run: had they taken theirs, about 95 would be left for it."""
    recipe = make(folder, ["name"], generate=PATIENT)
    run = run_recipe(recipe, 150, tmp_path, engine=FakeEngine(people(200)))
    assert 90 < pl.read_parquet(tmp_path / "base.parquet")["name"].n_unique() < 120
    assert run.to_polars()["name"].n_unique() == 150


def test_what_was_kept_stays_across_deaths_and_nothing_repeats_it(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, ["name"])
    n_deaths = 0
    kept: dict[int, str] = {}
    for die_after in (500, 350, 400, 450, None):
        engine = FakeEngine(people(3000), capacity=40, die_after=die_after)
        try:
            run = run_recipe(recipe, 1000, tmp_path, engine=engine, n_before=100)
        except EngineError:
            n_deaths += 1
            for part in tmp_path.glob("part-*.parquet"):
                kept |= dict(pl.read_parquet(part).select("_id", "name").iter_rows())
    names = dict(run.to_polars().select("_id", "name").iter_rows())
    assert n_deaths >= 2 and kept
    assert len(set(names.values())) == 1000
    assert {id_: names[id_] for id_ in kept} == kept
    assert run.summary["n_attempted"] == 1000 + run.rejections().height


def test_a_shard_that_was_lost_does_not_stand_in_its_own_way(folder: Path, tmp_path: Path) -> None:
    """950 of 1,000 names are needed: with the lost 400 still taken, the shard could not be filled again."""
    recipe = make(folder, ["name"], generate=PATIENT)
    run_recipe(recipe, 950, tmp_path, engine=FakeEngine(people(1000)))
    shard = next(tmp_path.glob("part-00001*.parquet"))
    shard.write_bytes(b"broken")
    run = run_recipe(recipe, 950, tmp_path, engine=FakeEngine(people(1000)))
    assert run.to_polars()["name"].n_unique() == 950


def test_an_attempt_refused_before_the_kill_stays_refused(light: Path) -> None:
    """The record it repeated is gone with its journal; its own later attempt was accepted all the same."""
    first, again = person(7, "Ana Lee"), person(7, "Bo Roy", attempt=1)
    journal = [(completion(first), 0, "base"), (completion(again), 1, "base")]
    with Uniqueness([UniqueSpec(fields=["name"])], schema_of(light)) as unique:
        unique.recall(journal)
        assert admitted(unique, first, again) == [False, True]
        assert admitted(unique, person(8, "Ana Lee"), person(9, "Bo Roy")) == [True, False]


def test_near_duplicates_survive_a_restart(light: Path) -> None:
    told, like = "She founded a school in Lagos in 1999.", "She founded a school in Lagos in 1998."
    rule = UniqueSpec(fields=["text"], near=0.7)
    with Uniqueness([rule], schema_of(light)) as unique:
        unique.remember(pl.DataFrame({"_id": [0], "text": [told]}))
        assert admitted(unique, person(1, "B", like)) == [False]
    with Uniqueness([rule], schema_of(light)) as unique:
        unique.recall([(completion(person(3, "A", told)), 0, "base")])
        assert admitted(unique, person(3, "A", told), person(4, "B", like)) == [True, False]


def test_an_exhausted_support_names_the_field_and_what_to_do(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, ["name"], generate=PATIENT | {"max_attempts": 30})
    with pytest.raises(Incomplete) as caught:
        run_recipe(recipe, 60, tmp_path, engine=FakeEngine(people(40)))
    message = str(caught.value)
    assert (
        "20 records failed all 30 attempts: name has 40 different values so far, and the model seems to have few others"
        in message
    )
    assert "tune it wider, raise max_attempts, or leave unique out" in message and message.isprintable()
    assert not (tmp_path / "_SUCCESS").exists()
    with pytest.raises(Incomplete, match="name has 40 different values"):
        list(iterate(recipe, 60, engine=FakeEngine(people(40))))


def test_other_rejections_are_not_blamed_on_uniqueness(folder: Path, tmp_path: Path) -> None:
    hasty = make(folder, ["name"], generate={"mix": {"base": 1.0}, "max_attempts": 1})
    with pytest.raises(Incomplete) as caught:
        run_recipe(hasty, 300, tmp_path, engine=FakeEngine(people(10**6)))
    assert "different values" not in str(caught.value)


def test_batches_are_unique_too(folder: Path) -> None:
    batches = iterate(make(folder, ["name"]), 300, 100, engine=FakeEngine(people(600)))
    names = [record.values["name"] for batch in batches for record in batch]
    assert len(names) == len(set(names)) == 300


# ---- before a run ----


def test_more_unique_records_than_values_are_refused_at_once(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, ["sex", "lives"])
    line = (
        "recipe: unique: sex+lives has 4 different values (sex 2 × lives 2), but 5 records are asked for; "
        "ask for 4 at most, name a further field, or leave unique out"
    )
    for run in (
        lambda: plan_summary(recipe, 5),
        lambda: run_recipe(recipe, 5, tmp_path / "x", engine=FakeEngine(people(9))),
        lambda: next(iterate(recipe, 5, engine=FakeEngine(people(9)))),
    ):
        with pytest.raises(RecipeError) as caught:
            run()
        assert caught.value.problems == (line,)
    assert plan_summary(recipe, 4).unique == ("sex+lives exactly",)
    assert plan_summary(make(folder, ["sex", "name"]), 10**6).unique == ("sex+name exactly",)


def test_a_rule_has_several_spellings(light: Path) -> None:
    assert make(light, False).unique == ()
    assert make(light, True).unique == (UniqueSpec(),)
    assert make(light, ["name"]).unique == make(light, [{"fields": ["name"]}]).unique
    near = {"fields": ["text"], "near": 0.8}
    assert make(light, near).unique == make(light, [near]).unique == (UniqueSpec(**near),)  # type: ignore[arg-type]
    assert make(light, ["name"]).fingerprint not in {make(light, u).fingerprint for u in (False, True, near)}


@pytest.mark.parametrize(
    ("unique", "line"),
    [
        (["nme"], "unique: 'nme' is no field of Person; did you mean 'name'?"),
        (["name", "name"], "unique: 'name' is named twice; name it once"),
        ({"near": 2}, "unique.near: found 2; expected a number under 1"),
        ({"near": 0.2}, "unique.near: found 0.2; expected a number of at least 0.5"),
        ([{"fields": ["name"], "nea": 0.8}], "unique: unknown key 'nea'; did you mean 'near'?"),
        (
            {"fields": ["sex"], "near": 0.8},
            "unique: near compares text, and sex has none; leave near out, or name a text",
        ),
        (
            [],
            "unique: found an empty list; expected true (the whole record), field names such as [name], "
            "or {fields: [text], near: 0.8}",
        ),
    ],
)
def test_a_wrong_rule_is_one_line(light: Path, unique: object, line: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make(light, unique)
    assert caught.value.problems == (f"recipe: {line}",)
