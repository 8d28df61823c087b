"""Quotas: shares met to the record, whatever happened on the way; what cannot be met is said; nothing is silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from synthgen import Recipe
from synthgen.engines.fake import FakeEngine
from synthgen.engines.protocol import Completion, Request
from synthgen.errors import EngineError, Incomplete, RecipeError
from synthgen.generation import generate
from synthgen.job import prepare
from synthgen.parquet import rejects_frame
from synthgen.plan import Plan
from synthgen.progress import SilentProgress
from synthgen.quota import Quotas, most_refused, quota_shares
from synthgen.report.rejection import lines
from synthgen.run import iterate, run_recipe
from synthgen.runners.local import accept
from synthgen.schema import RecordSchema
from synthgen.sink import Sink
from synthgen.summary import plan_summary
from synthgen.validation import Record, Rejection
from tests.tiny import tiny_tokenizer_folder
from tests.whole import findings

PERSON = """
from typing import Literal
from pydantic import BaseModel, Field, computed_field


class Person(BaseModel):
    sex: Literal["F", "M", "X"]
    born: int = Field(ge=1900, le=2009)
    name: str

    @computed_field
    def decade(self) -> int:
        return self.born // 10 * 10


def people(rng, n):
    return [("F", 1950, f"Name {i}") for i in range(n)]
"""
EVEN: dict[str, object] = {"sex": {"F": 0.48, "M": 0.48, "X": 0.04}}
Answer = Callable[[Request, np.random.Generator], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the schema, and a tokenizer for a model."""
    folder = tmp_path_factory.mktemp("people")
    (tiny_tokenizer_folder(folder / "model") / "config.json").write_text('{"model_type": "llama"}')
    (folder / "person.py").write_text(PERSON)
    return folder


def make(
    folder: Path, targets: object = None, fields: list[str] | None = None, attempts: int = 10, **more: object
) -> Recipe:
    generate: dict[str, object] = {"mix": {"base": 1.0}, "balance": "quota", "max_attempts": attempts}
    if fields:
        generate["balance_fields"] = fields
    content: dict[str, object] = {
        "schema": "person.py:Person",
        "model": "./model",
        "seed": 3,
        "target": {"targets": targets or EVEN},
        "generate": generate,
        "export": {"rows_per_shard": 150},
    }
    return Recipe.from_mapping(content | more, base=folder)


def skewed(
    sexes: tuple[float, float, float] = (0.8, 0.15, 0.05), n_names: int = 10**6, broken: float = 0.05
) -> Answer:
    """Far from even: sexes by these shares, late years more often; one answer in twenty broken."""

    def answer(_: Request, rng: np.random.Generator) -> str:
        sex = rng.choice(["F", "M", "X"], p=sexes)
        born = 1950 + int(60 * rng.random() ** 0.7)
        if rng.random() < broken:
            return f"{{{sex}}}"
        return f"{{{sex}}}\n{{{born}}}\n{{Name {rng.integers(n_names)}}}"

    return answer


def generated(
    recipe: Recipe, n: int, out: Path, engine: FakeEngine, extend: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Records and rejections of a run without its report; every record is there once, every attempt once."""
    job, plan = prepare(recipe), Plan(n, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    with Sink(out, plan, job.schema, {"recipe": recipe.fingerprint}, extend=extend) as sink:
        generate(job, {}, sink, 0.0, 20, engine, SilentProgress())
        sink.succeed({})
    frame = pl.read_parquet(out / "part-*.parquet")
    rejected = pl.concat([rejects_frame([]), *map(pl.read_parquet, sorted((out / "rejects").glob("*")))])
    assert frame["_id"].to_list() == list(range(n))
    assert rejected.select("_id", "_attempt").is_unique().all()
    return frame, rejected


def counts(frame: pl.DataFrame, name: str) -> dict[object, int]:
    return dict(Counter(frame[name].to_list()))


def n_quota(rejected: pl.DataFrame) -> int:
    return rejected.filter(pl.col("reason").str.starts_with("quota:")).height


def schema_of(folder: Path) -> RecordSchema:
    return make(folder).record_schema()


def person(record_id: int, sex: str, born: int = 1950, attempt: int = 0) -> Record:
    values = {"sex": sex, "born": born, "name": "A", "decade": born // 10 * 10}
    return Record(record_id, attempt, "base", values, 4)


def completion(record: Record) -> Completion:
    return Completion(record.id, f"{{{record.values['sex']}}}\n{{{record.values['born']}}}\n{{A}}", "stop", 4)


def admitted(quotas: Quotas, *records: Record) -> list[bool]:
    admit = quotas.admitting(accept)
    return [isinstance(admit(record, completion(record)), Record) for record in records]


# ---- the rule ----


def test_a_record_whose_places_are_taken_is_rejected_with_field_value_and_raw_text(folder: Path) -> None:
    quotas = Quotas({"sex": {"F": 0.5, "M": 0.5}}, schema_of(folder), 2, 10)
    admit = quotas.admitting(accept)
    first, second = person(0, "F"), person(1, "F", attempt=3)
    assert admit(first, completion(first)) is first
    refused = admit(second, completion(second))
    assert isinstance(refused, Rejection)
    assert (refused.id, refused.attempt, refused.adapter, refused.stage) == (1, 3, "base", "quota")
    assert (refused.reason, refused.detail) == ("quota:sex", "sex 'F' has its 1 of 2 records")
    assert refused.text == completion(second).text
    assert admitted(quotas, person(1, "M", attempt=4)) == [True]


def test_a_value_without_a_share_has_no_place(folder: Path) -> None:
    quotas = Quotas({"sex": {"F": 0.5, "M": 0.5}, "born": {"1950": 1.0}}, schema_of(folder), 10, 10)
    records = person(0, "X"), person(1, "F", born=1951), person(2, "F")
    assert admitted(quotas, *records) == [False, False, True]


def test_no_value_runs_far_ahead_of_the_others(folder: Path) -> None:
    """Of 100 records, 50 of each: with k women and no man, (50 − k/2) − (50 − k) is over a fifth of it from 17 on."""
    quotas = Quotas({"sex": {"F": 0.5, "M": 0.5}}, schema_of(folder), 100, 10)
    assert sum(admitted(quotas, *(person(i, "F") for i in range(40)))) == 17
    refused = quotas.admitting(accept)(person(40, "F"), completion(person(40, "F")))
    assert isinstance(refused, Rejection) and refused.detail == "sex 'F' is ahead of its share for now"
    assert admitted(quotas, person(41, "M"), person(42, "F")) == [True, True]


def test_with_several_fields_spare_places_are_kept_for_what_others_lack(folder: Path) -> None:
    """10 records, to within one of 5 of each sex and decade; after four women of the fifties two places are spare."""
    shares = {"sex": {"F": 0.5, "M": 0.5}, "decade": {"1950": 0.5, "1960": 0.5}}
    quotas = Quotas(shares, schema_of(folder), 10, 10)
    quotas.recall([(completion(person(i, "F", 1950)), 0, "base") for i in range(4)])
    assert quotas.n_left == 6
    refused = quotas.admitting(accept)(person(4, "F", 1950), completion(person(4, "F", 1950)))
    assert isinstance(refused, Rejection) and "take a place that other values may need" in refused.detail
    assert admitted(quotas, person(4, "F", 1965), person(4, "M", 1955)) == [False, False]
    assert admitted(quotas, person(4, "M", 1965), person(5, "F", 1965)) == [True, True]
    assert admitted(quotas, *(person(6 + i, "M", 1965) for i in range(3)), person(9, "M", 1955)) == [True] * 4
    assert quotas.n_left == 0


def test_what_another_rule_refuses_takes_no_place(folder: Path) -> None:
    quotas = Quotas({"sex": {"F": 0.5, "M": 0.5}}, schema_of(folder), 2, 10)

    def refuse(record: Record, asked: Completion) -> Rejection:
        return Rejection(record.id, 0, "base", "unique", "duplicate:name", "", asked.text, 4)

    record = person(0, "F")
    assert isinstance(quotas.admitting(refuse)(record, completion(record)), Rejection)
    assert admitted(quotas, person(1, "F")) == [True]


def test_without_quotas_nothing_is_in_the_way(folder: Path) -> None:
    assert Quotas({}, schema_of(folder), 5, 10).admitting(accept) is accept


# ---- in a run ----


def test_shares_are_met_to_the_record_and_faults_are_counted_apart(folder: Path, tmp_path: Path) -> None:
    run = run_recipe(
        make(folder, attempts=20), 400, tmp_path, engine=FakeEngine(skewed(), capacity=64), n_before=50
    )
    assert findings(tmp_path, 400) == []
    assert counts(run.to_polars(), "sex") == {"F": 192, "M": 192, "X": 16}
    rejected = run.rejections()
    full = rejected.filter(pl.col("stage") == "quota")
    assert full.height > 500 and set(full["reason"]) == {"quota:sex"}
    assert full["text"].str.contains("{Name ", literal=True).all()
    n_broken = rejected.height - full.height
    # the parse rate is of the model's answers, not of what was refused for its places
    assert run.summary["parse_rate"] == pytest.approx(1 - n_broken / (400 + rejected.height))
    card = (tmp_path / "README.md").read_text()
    assert "Balance: sex: accepted only while their declared share is not filled" in card
    assert "rows are correlated" in card and "independent draws" not in card
    found = run.report.run.rejection
    assert found is not None
    assert dict(found.quota) == {"sex": full.height}
    assert found.adapters[0].reject_rate == pytest.approx(n_broken / (400 + rejected.height))
    said = (
        f"refused to keep quotas: {full.height:,} sound answers whose places were taken (sex {full.height:,})"
    )
    assert said in "\n".join(lines(run.report)).lower()
    (sexes,) = [entry for entry in found.fields if entry.field == "sex"]
    assert sexes.attempted == 400 + rejected.height - sexes.n_unknown
    assert (
        sexes.rejected + sexes.n_unknown == n_broken and not sexes.biased
    )  # faults fell on all values alike


def test_several_fields_are_within_one_record_at_a_bounded_cost(folder: Path, tmp_path: Path) -> None:
    """Early years are given a third as often as they should be, men two thirds: three answers a record, and more."""

    def answer(_: Request, rng: np.random.Generator) -> str:
        sex, late = rng.choice(["F", "M", "X"], p=[0.6, 0.32, 0.08]), rng.random() < 0.9
        return f"{{{sex}}}\n{{{1950 + int(rng.integers(10, 30) if late else rng.integers(0, 10))}}}\n{{A}}"

    recipe = make(folder, EVEN | {"born": {"range": [1950, 1979]}}, attempts=20)
    frame, rejected = generated(recipe, 900, tmp_path, FakeEngine(answer, capacity=128))
    for name in ("sex", "born"):
        found = Counter(str(value) for value in frame[name].to_list())
        for text, share in recipe.reference().shares[name].items():
            assert abs(found[text] - 900 * share) <= 1 + 1e-9, (name, text)
    assert set(rejected["reason"]) == {"quota:sex", "quota:born"}
    assert rejected.height < 6 * 900


def test_quotas_are_kept_of_derived_fields(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, EVEN | {"born": {"range": [1950, 2009]}}, ["sex", "decade"], attempts=20)
    frame, rejected = generated(recipe, 300, tmp_path, FakeEngine(skewed((0.6, 0.3, 0.1))))
    assert all(abs(n - 50) <= 1 for n in counts(frame, "decade").values())
    assert "quota:decade" in set(rejected["reason"])


def test_a_fault_of_the_model_still_uses_up_attempts(folder: Path, tmp_path: Path) -> None:
    def answer(request: Request, rng: np.random.Generator) -> str:
        return "{F}" if request.id == 7 else skewed(broken=0)(request, rng)

    with pytest.raises(Incomplete, match="1 records failed all 20 attempts"):
        generated(make(folder, attempts=20), 100, tmp_path, FakeEngine(answer))


def test_quota_rejections_use_up_no_attempts(folder: Path, tmp_path: Path) -> None:
    """One answer in five is broken: within three attempts in all, most records would have none."""
    frame, rejected = generated(make(folder, attempts=5), 200, tmp_path, FakeEngine(skewed(broken=0.2)))
    most = rejected.group_by("_id").agg(pl.col("stage").eq("parse").sum().alias("faults"))["faults"].max()
    assert isinstance(most, int) and most > 5  # in all, but never so many in a row
    assert counts(frame, "sex") == {"F": 96, "M": 96, "X": 8}


def test_a_value_that_the_model_never_gives_is_named_and_ends_the_run_early(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(Incomplete) as caught:
        generated(make(folder), 5000, tmp_path, FakeEngine(skewed((0.6, 0.4, 0.0), broken=0)))
    message = str(caught.value)
    assert "quotas cannot be filled: " in message and "sex lacks 200 of 200 'X' (0 of " in message
    assert "raise max_attempts" in message and message.isprintable()
    summary = caught.value.summary
    assert summary is not None
    assert int(str(summary["n_attempted"])) < 3000  # of the 50,000 refusals that are allowed
    assert not (tmp_path / "_SUCCESS").exists()


def test_values_that_never_come_together_end_the_run_when_what_is_allowed_is_used_up(
    folder: Path, tmp_path: Path
) -> None:
    def answer(_: Request, rng: np.random.Generator) -> str:
        """Every woman is of the fifties, every man of the sixties: 50 : 50 by sex and 90 : 10 by year cannot be."""
        return "{F}\n{1955}\n{A}" if rng.random() < 0.5 else "{M}\n{1965}\n{A}"

    targets = {"sex": {"F": 1, "M": 1}, "born": {"1955": 9, "1965": 1}}
    with pytest.raises(Incomplete, match="values that are lacking seldom come together") as caught:
        generated(make(folder, targets, ["sex", "born"], attempts=2), 300, tmp_path, FakeEngine(answer))
    assert "born lacks " in str(caught.value)
    assert caught.value.summary is not None
    rejects = caught.value.summary["rejects"]
    assert isinstance(rejects, dict)
    assert sum(rejects.values()) == pytest.approx(most_refused(300, 2), abs=256)


def test_more_patience_goes_on_where_the_run_ended(folder: Path, tmp_path: Path) -> None:
    rare = skewed((0.749, 0.25, 0.001), broken=0)
    with pytest.raises(Incomplete, match="'X'"):
        generated(make(folder, attempts=1), 100, tmp_path, FakeEngine(rare))
    kept = {path.name: pl.read_parquet(path) for path in tmp_path.glob("part-*")}
    n_kept = sum(frame.height for frame in kept.values())
    assert n_kept > 30
    frame, _ = generated(make(folder, attempts=50), 100, tmp_path, FakeEngine(rare))
    assert counts(frame, "sex") == {"F": 48, "M": 48, "X": 4}
    before = pl.concat(kept.values())
    assert frame.join(before, on=["_id", "sex", "born", "name"], how="inner").height == n_kept


def test_counts_are_exact_across_deaths(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, EVEN | {"born": {"range": [1950, 2009]}}, attempts=40)
    n_deaths = 0
    for die_after in (300, 200, 250, 400, 350, None):
        engine = FakeEngine(skewed((0.6, 0.3, 0.1)), capacity=40, die_after=die_after)
        try:
            frame, _ = generated(recipe, 600, tmp_path, engine)
        except EngineError:
            n_deaths += 1
    assert n_deaths >= 3
    for name in ("sex", "born"):
        found, shares = Counter(str(v) for v in frame[name].to_list()), recipe.reference().shares[name]
        assert all(abs(found[text] - 600 * share) <= 1 + 1e-9 for text, share in shares.items()), name


def test_a_resumed_run_counts_what_was_refused_before(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, attempts=20)
    _, rejected = generated(recipe, 450, tmp_path, FakeEngine(skewed()))
    n_refused = n_quota(rejected)
    assert n_refused > 100
    next(tmp_path.glob("part-00002*.parquet")).write_bytes(b"broken")
    plan = Plan(450, recipe.seed, recipe.mix, recipe.export.rows_per_shard)
    quotas = Quotas(quota_shares(recipe), schema_of(folder), 450, 20)
    with Sink(tmp_path, plan, schema_of(folder), {"recipe": recipe.fingerprint}) as sink:
        quotas.recollect(sink)
    lost = n_quota(pl.read_parquet(tmp_path / "rejects" / "part-00002.parquet"))
    assert 0 < lost < n_refused
    assert quotas.n_refused == n_refused - lost


def test_a_lost_shard_gives_its_places_back(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, attempts=20)
    generated(recipe, 450, tmp_path, FakeEngine(skewed()))
    next(tmp_path.glob("part-00001*.parquet")).write_bytes(b"broken")
    frame, _ = generated(recipe, 450, tmp_path, FakeEngine(skewed()))
    assert counts(frame, "sex") == {"F": 216, "M": 216, "X": 18}


def test_an_extension_keeps_the_quotas_of_the_whole(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, {"sex": {"F": 1, "M": 1, "X": 1}}, attempts=40)
    old, _ = generated(recipe, 100, tmp_path, FakeEngine(skewed()))
    assert sorted(counts(old, "sex").values()) == [33, 33, 34]
    frame, _ = generated(recipe, 401, tmp_path, FakeEngine(skewed()), extend=True)
    assert frame.head(100).equals(old)
    assert sorted(counts(frame, "sex").values()) == [133, 134, 134]


def test_quotas_and_uniqueness_hold_together_across_deaths(folder: Path, tmp_path: Path) -> None:
    recipe = make(folder, attempts=60, unique=["name"])
    for die_after in (400, 500, 300, None):
        engine = FakeEngine(skewed(n_names=2000), capacity=40, die_after=die_after)
        try:
            frame, rejected = generated(recipe, 500, tmp_path, engine)
        except EngineError:
            continue
    assert frame["name"].n_unique() == 500
    assert counts(frame, "sex") == {"F": 240, "M": 240, "X": 20}
    stages = Counter(rejected["stage"].to_list())
    assert stages["quota"] > 300 and stages["unique"] > 20


def test_batches_keep_quotas_too(folder: Path) -> None:
    batches = iterate(make(folder, attempts=20), 300, 100, engine=FakeEngine(skewed()))
    sexes = Counter(record.values["sex"] for batch in batches for record in batch)
    assert sexes == {"F": 144, "M": 144, "X": 12}
    with pytest.raises(Incomplete, match=r"records are lacking; quotas cannot be filled: .*'X'"):
        list(iterate(make(folder), 3000, engine=FakeEngine(skewed((0.5, 0.5, 0.0)))))


def test_a_journals_last_attempt_that_had_no_place_stays_out_of_the_other_rules_way(folder: Path) -> None:
    quotas = Quotas({"sex": {"F": 0.5, "M": 0.5}}, schema_of(folder), 4, 10)
    journal = [person(0, "F"), person(1, "F"), person(2, "F"), person(3, "F"), person(3, "M", attempt=1)]
    quotas.recall([(completion(record), record.attempt, "base") for record in journal])
    assert [quotas.keeps(record) for record in journal] == [True, True, False, False, True]
    assert (quotas.n_left, quotas.n_refused) == (1, 0)
    assert admitted(quotas, *journal) == [True, True, False, False, True]
    assert (quotas.n_left, quotas.n_refused) == (1, 2)
    assert admitted(quotas, person(2, "F", attempt=1), person(2, "M", attempt=2)) == [False, True]


# ---- before a run ----


def test_check_says_what_quotas_may_cost(folder: Path) -> None:
    (note,) = plan_summary(make(folder), 5000).notes
    assert note == "answers whose places are taken by quota are drawn again, 50,000 times in all at most"


def test_a_field_without_shares_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    targets = {"targets": "person.py:people"}
    recipe = make(folder, fields=["sex", "name"], target=targets)
    line = (
        "recipe: generate.balance_fields: 'name' has no declared distribution of finitely many values; "
        "those that have: sex, born, decade"
    )
    with pytest.raises(RecipeError) as caught:
        run_recipe(recipe, 10, tmp_path / "x", engine=FakeEngine(skewed()))
    assert caught.value.problems == (line,)
    assert set(quota_shares(make(folder, target=targets))) == {"sex", "born"}  # and decade follows from born
    with pytest.raises(RecipeError, match="'sx' is no field of Person; did you mean 'sex'"):
        make(folder, fields=["sx"])
    both = make(folder, {"born": {"range": [1950, 2009]}, "sex": "uniform"}, ["born", "decade"])
    with pytest.raises(
        RecipeError, match="'decade' follows from 'born', and their quotas would block each other"
    ):
        quota_shares(both)
