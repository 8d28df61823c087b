"""Facts: the right figures from tables, the order worst first, and refusal of what cannot be."""

import dataclasses
import json
import math
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from synthgen import stats
from synthgen.errors import RecipeError, SynthgenError
from synthgen.report import summarise, write_reports
from synthgen.report.facts import FieldInfo, compute, load_facts, load_table
from synthgen.report.figures import Distance, Facts
from synthgen.report.reliability import RunFacts
from synthgen.report.tables import canonical_number, sample_rows, tally
from tests.report import biographies as bios


@pytest.fixture(scope="module")
def facts() -> Facts:
    return bios.facts()


def test_figures_of_a_field_worked_by_hand() -> None:
    table = pl.DataFrame({"tier": ["gold"] * 2 + ["silver", "bronze"]})
    sample = compute(table).field("tier").after
    assert (sample.n, sample.coverage, sample.n_missing) == (4, 3, 0)
    assert sample.entropy_plugin == pytest.approx(1.5 * math.log(2))
    assert sample.entropy_chao_wang_jost == pytest.approx(stats.entropy_chao_wang_jost([2, 1, 1]))
    assert sample.sample_coverage == 0.5
    assert [(t.value, t.n, t.share) for t in sample.top] == [
        ("gold", 2, 0.5),
        ("bronze", 1, 0.25),
        ("silver", 1, 0.25),
    ]


def test_distance_worked_by_hand() -> None:
    table = pl.DataFrame({"coin": ["heads"] * 3 + ["tails"]})
    target = compute(table, reference={"coin": {"heads": 0.5, "tails": 0.5}}).field("coin").target
    assert target is not None
    assert target.tv.value == pytest.approx(0.25)
    assert target.kl.value == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert target.tv.floor_mean == pytest.approx(0.1875, abs=0.01)  # E|B(4,½)/4 − ½| = 3/16
    assert (target.k, target.share_outside, target.n_unseen) == (2, 0, 0)


def test_records_outside_the_target() -> None:
    table = pl.DataFrame({"coin": ["heads"] * 3 + ["edge"]})
    facts = compute(table, reference={"coin": {"heads": 0.5, "tails": 0.5}})
    target = facts.field("coin").target
    assert target is not None
    assert (target.share_outside, target.n_unseen, target.kl.value) == (0.25, 1, None)
    assert target.tv.value == pytest.approx(0.5)
    assert facts.figure("coin", "kl")[0] == math.inf
    json.dumps(facts.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.02, "within noise"),
        (0.03, "within noise"),
        (0.04, "borderline"),
        (0.05, "off by 0.020"),
        (None, "off by inf"),
    ],
)
def test_verdicts_of_a_distance(value: float | None, verdict: str) -> None:
    assert Distance(value, floor_mean=0.02, floor_p95=0.03, limit=0.045).verdict == verdict


def test_before_and_after_at_equal_n(facts: Facts) -> None:
    first = facts.field("first_name")
    equal = first.at_equal_n
    assert equal is not None
    assert first.before is not None
    assert (equal.n, first.after.n, first.before.n) == (1000, 4000, 1000)
    assert equal.coverage_before == first.before.coverage
    assert equal.coverage_after < first.after.coverage
    assert equal.coverage_after > 10 * equal.coverage_before
    assert equal.entropy_after > equal.entropy_before + 3
    smaller = (
        compute(bios.after(200), fields=bios.FIELDS, before=bios.before()).field("first_name").at_equal_n
    )
    assert smaller is not None
    assert smaller.n == 200
    assert smaller.coverage_before < first.before.coverage


def test_good_data_is_within_noise_and_the_base_is_not(facts: Facts) -> None:
    """Seeded. Two fields, 5 % together: a fresh seed gives a false "off" once in 20."""
    for name in ("gender", "birth_year"):
        field = facts.field(name)
        assert field.target is not None
        assert field.target_before is not None
        assert field.target.state != "off"
        assert field.target_before.state == "off"
    tv, floor = facts.figure("gender", "tv")
    assert tv is not None
    assert floor is not None
    assert tv < 0.06
    assert facts.headline.startswith("all 2 fields with a target within noise")


def test_a_three_point_shift_is_flagged_and_comes_first() -> None:
    facts = bios.facts(bios.shifted())
    assert facts.worst_field == "gender"
    assert facts.field("gender").verdict.startswith("off by 0.0")
    assert facts.headline.startswith("worst field: Gender, TV 0.0")


def test_false_alarms_over_many_datasets() -> None:
    """40 datasets, 2 fields each, from the target itself: alarms at 5 % per dataset are 2 ± 1.4.

    More than 7 would come in about 1 of 1,000 seeds.
    """
    rng = np.random.default_rng(11)
    reference = {name: {str(i): 1 / k for i in range(k)} for name, k in (("a", 2), ("b", 30))}
    alarms = 0
    for i in range(40):
        table = pl.DataFrame({name: rng.integers(0, len(ps), 500) for name, ps in reference.items()})
        facts = compute(table, reference=reference, seed=i)
        alarms += any(f.target is not None and f.target.state == "off" for f in facts.fields)
    assert alarms <= 7


def test_order_is_worst_first_then_most_concentrated(facts: Facts) -> None:
    excess = [f.target.excess for f in facts.tested]  # type: ignore[union-attr]
    assert excess == sorted(excess, reverse=True)
    rest = [f for f in facts.fields if f.target is None]
    assert facts.fields == (*facts.tested, *rest)
    assert [f.after.top[0].share for f in rest] == sorted((f.after.top[0].share for f in rest), reverse=True)


def test_text_is_compared_at_equal_n(facts: Facts) -> None:
    field = facts.field("accomplishments")
    assert field.info.kind == "text"
    assert field.chart is None
    assert field.after.text is not None
    assert field.before is not None
    assert field.before.text is not None
    assert field.after.text.n_records == field.before.text.n_records == 1000
    assert field.after.text.distinct_1 > field.before.text.distinct_1


def test_types_are_written_as_on_the_wire() -> None:
    table = pl.DataFrame(
        {
            "flag": [True, True, False],
            "day": [date(1985, 3, 12)] * 3,
            "at": [datetime(2024, 5, 1, 13, 45)] * 3,
            "price": pl.Series([Decimal("1.50")] * 3, dtype=pl.Decimal(10, 2)),
            "score": [2.0, 2.0, 0.1],
            "note": ["a", "a", None],
        }
    )
    facts = compute(
        table, reference={"price": {"1.5": 1.0}, "note": {"a": 0.5, "none": 0.5}, "score": {"2": 1.0}}
    )
    tops = {f.info.name: f.after.top[0].value for f in facts.fields}
    assert tops == {
        "flag": "yes",
        "day": "1985-03-12",
        "at": "2024-05-01 13:45",
        "price": "1.50",
        "score": "2",
        "note": "a",
    }
    for name, outside in (("price", 0.0), ("note", 0.0), ("score", 1 / 3)):
        target = facts.field(name).target
        assert target is not None
        assert target.share_outside == pytest.approx(outside)
    assert facts.field("note").after.n_missing == 1


def test_ordered_fields_have_a_wasserstein_distance() -> None:
    table = pl.DataFrame({"n": [1, 1, 1, 1], "day": [date(2024, 1, 3)] * 4, "word": ["a"] * 4})
    reference = {"n": {"1": 0.5, "3": 0.5}, "day": {"2024-01-01": 1.0}, "word": {"a": 1.0}}
    facts = compute(table, reference=reference)
    found = {f.info.name: f.target.wasserstein for f in facts.fields if f.target}
    assert {name: w and w.value for name, w in found.items()} == {"n": 1.0, "day": 2.0, "word": None}
    assert found["n"] is not None and found["day"] is not None
    assert 0.3 < found["n"].floor_mean < 0.45  # E 2·|B(4,½)/4 − ½| = 3/8
    assert found["day"].limit == 0


def test_an_estimated_reference_raises_the_floor() -> None:
    table = pl.DataFrame({"x": np.random.default_rng(0).integers(0, 10, 1000)})
    reference = {"x": {str(i): 0.1 for i in range(10)}}
    exact = compute(table, reference=reference).field("x").target
    estimated = compute(table, reference=reference, reference_draws={"x": 1000}).field("x").target
    assert exact is not None
    assert estimated is not None
    assert estimated.tv.floor_mean > 1.3 * exact.tv.floor_mean


def test_a_huge_target_is_skipped_with_the_reason() -> None:
    n = 20_001
    facts = compute(pl.DataFrame({"x": ["v1"]}), reference={"x": {f"v{i}": 1 / n for i in range(n)}})
    assert facts.field("x").target is None
    assert "20,001 values" in (facts.field("x").no_target or "")


def test_the_same_seed_gives_the_same_facts(facts: Facts) -> None:
    assert bios.facts() == facts


def test_json_and_back(facts: Facts) -> None:
    plain = json.loads(json.dumps(facts.to_dict(), allow_nan=False))
    assert Facts.from_dict(plain) == facts
    assert plain["worst_field"] == facts.worst_field
    with pytest.raises(SynthgenError, match="format 1"):
        Facts.from_dict({})


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"genus": {"a": 1.0}}, "'genus' is no field of the table"),
        ({"gender": {"Female": 0.5, "Male": 0.4}}, "gender: expected probabilities that add up to 1"),
        ({"gender": {"Female": 1.5, "Male": -0.5}}, "gender: expected probabilities"),
        ({"gender": {}}, "gender: expected probabilities"),
    ],
)
def test_wrong_references_are_refused(reference: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        compute(bios.after(50), reference=reference)


def test_tables_that_cannot_be_reported() -> None:
    with pytest.raises(SynthgenError, match="no rows"):
        compute(pl.DataFrame({"a": []}))
    with pytest.raises(RecipeError, match="no column 'b'"):
        compute(pl.DataFrame({"a": [1]}), fields=[FieldInfo("b", "B", "open")])
    with pytest.raises(RecipeError, match="no column to report on"):
        compute(pl.DataFrame({"_id": [1]}))
    assert "list" in compute(pl.DataFrame({"a": [1], "list": [[1, 2]]})).skipped


class TestSelfChecks:
    """Every impossible figure, planted, is refused by field and figure."""

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"entropy_plugin": 6.18, "coverage": 375}, r"gender, after: entropy 6\.18.* coverage 375"),
            ({"entropy_plugin": -0.1}, "gender, after: entropy"),
            ({"coverage": 5000}, "gender, after: coverage 5000 of 4000"),
            ({"coverage": 0}, "gender, after: coverage 0"),
            ({"n": 3999}, "gender, after: counts add up to 3999, the table has 4000 rows"),
            ({"sample_coverage": 1.2}, r"gender, after: sample coverage is 1\.2"),
            (
                {"entropy_interval": (2.0, 3.0)},
                r"gender, after: entropy 0\.8\d* lies outside its interval, 2 to 3",
            ),
            ({"sample_coverage_interval": (0.1, 0.2)}, "gender, after: sample coverage 1 lies outside"),
            ({"fewest_values": 4}, "gender, after: at least 4 values; expected 3 to 3"),
        ],
    )
    def test_sample(self, facts: Facts, change: dict[str, Any], message: str) -> None:
        field = facts.field("gender")
        planted = dataclasses.replace(field, after=dataclasses.replace(field.after, **change))
        self._refused(facts, planted, message)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"share": 1.5}, r"share of '.*' is 1\.5"),
            ({"share": 0.9}, r"share of '.*' is 0\.9, not"),
            ({"n": 9000, "share": 0.5}, "top values count"),
        ],
    )
    def test_top_values(self, facts: Facts, change: dict[str, Any], message: str) -> None:
        field = facts.field("gender")
        top = (dataclasses.replace(field.after.top[0], **change), *field.after.top[1:])
        self._refused(
            facts, dataclasses.replace(field, after=dataclasses.replace(field.after, top=top)), message
        )

    def test_distances(self, facts: Facts) -> None:
        field = facts.field("gender")
        assert field.target is not None
        for name, value, message in (
            ("tv", 1.4, r"gender, after: TV is 1\.4"),
            ("js", 0.8, "gender, after: JS 0.8 nats; it cannot pass ln 2"),
            ("kl", None, "gender, after: KL is infinite"),
        ):
            distance = dataclasses.replace(getattr(field.target, name), value=value)
            target = dataclasses.replace(field.target, **{name: distance})
            self._refused(facts, dataclasses.replace(field, target=target), message)
        target = dataclasses.replace(field.target, share_outside=0.5)
        self._refused(facts, dataclasses.replace(field, target=target), "TV .* below the share outside")

    def test_equal_n(self, facts: Facts) -> None:
        field = facts.field("gender")
        assert field.at_equal_n is not None
        equal = dataclasses.replace(field.at_equal_n, entropy_after=1.2)
        self._refused(
            facts, dataclasses.replace(field, at_equal_n=equal), "gender, at equal n, after: entropy"
        )
        equal = dataclasses.replace(field.at_equal_n, coverage_before=1001.0)
        self._refused(
            facts, dataclasses.replace(field, at_equal_n=equal), "at equal n, before: coverage 1001"
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"attempted": 5000}, "attempted 5000 is not accepted 4000"),
            ({"rejects": {"truncated": 1}}, "rejects by reason add up to 1, rejected is 120"),
            ({"parse_rate": 1.01}, "parse_rate is 1.01"),
            ({"other_spelling": 1.2}, "other_spelling is 1.2"),
            ({"attempted": 3120, "accepted": 3000}, "accepted 3000, but the table has 4000 rows"),
        ],
    )
    def test_run(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(SynthgenError, match=message):
            compute(bios.after(), fields=bios.FIELDS[:2], run={**bios.RUN, **change})

    def test_adapter(self) -> None:
        after = {"kl": 2.0, "leak": 0.5, "shape": 0.5}
        with pytest.raises(SynthgenError, match=r"adapter a: KL 2\.0000 is not leak 0\.5000"):
            RunFacts.from_mapping({"adapters": {"a": {"after": after}}})
        with pytest.raises(SynthgenError, match="finite number"):
            RunFacts.from_mapping({"adapters": {"a": {"after": {"kl": math.nan}}}})

    def _refused(self, facts: Facts, planted: Any, message: str) -> None:
        fields = tuple(planted if f.info.name == planted.info.name else f for f in facts.fields)
        with pytest.raises(SynthgenError, match=message):
            dataclasses.replace(facts, fields=fields).check()


class TestTables:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """A dataset folder: two shards, rejects, the base's sample, and files that are not data."""
        data = bios.after(300)
        data[:200].write_parquet(tmp_path / "part-00000.parquet")
        data[200:].write_parquet(tmp_path / "part-00001.parquet")
        bios.before(100).write_parquet(tmp_path / "base.parquet")
        (tmp_path / "rejects").mkdir()
        data.write_parquet(tmp_path / "rejects" / "part-00000.parquet")
        data.write_parquet(tmp_path / ".part.parquet")
        (tmp_path / "_manifest.json").write_text("{}")
        return tmp_path

    def test_a_dataset_folder(self, folder: Path) -> None:
        assert load_table(folder).collect().height == 300
        facts = summarise(folder, reference=bios.REFERENCE)
        assert (facts.n_records, facts.n_before) == (300, 100)
        write_reports(facts, folder)
        assert load_facts(folder) == facts

    def test_the_run_is_kept_when_a_folder_is_reported_again(self, folder: Path) -> None:
        run: dict[str, object] = {"attempted": 310, "accepted": 300, "rejected": 10, "engine": "fake"}
        write_reports(summarise(folder, run=run), folder)
        assert summarise(folder).run.rejected == 10

    def test_other_formats(self, tmp_path: Path) -> None:
        data = bios.after(50).drop("_id")
        data.write_csv(tmp_path / "a.csv")
        data.write_ndjson(tmp_path / "b.jsonl")
        for file in ("a.csv", "b.jsonl"):
            facts = summarise(tmp_path / file, reference={"gender": bios.GENDER_TARGET})
            assert facts.field("gender").target is not None
            assert facts.n_records == 50
        with pytest.raises(RecipeError, match="one format"):
            load_table([tmp_path / "a.csv", tmp_path / "b.jsonl"])

    def test_paths_that_hold_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").write_text("")
        for path, message in (
            (tmp_path, "no .parquet"),
            (tmp_path / "y", "no such"),
            (tmp_path / "x.txt", "'.txt'"),
        ):
            with pytest.raises(RecipeError, match=message):
                load_table(path)
        with pytest.raises(RecipeError, match="no report here"):
            load_facts(tmp_path)

    def test_ties_and_top(self) -> None:
        column = tally(pl.LazyFrame({"x": ["b", "a", "c", "c", "d"]}), "x")
        assert column.top(3) == [("c", 2), ("a", 1), ("b", 1)]
        assert column.top(9) == [("c", 2), ("a", 1), ("b", 1), ("d", 1)]

    def test_samples_are_aligned_rows(self) -> None:
        table = pl.LazyFrame({"a": [f"a{i}" for i in range(50)], "b": [f"b{i}" for i in range(50)]})
        rows = sample_rows(table, ["a", "b"], 50, 20, np.random.default_rng(0))
        assert len(set(rows["a"])) == 20
        assert [t[1:] for t in rows["a"]] == [t[1:] for t in rows["b"]]

    @pytest.mark.parametrize(
        ("text", "spelling"), [("7.0", "7"), ("7", "7"), ("-0.50", "-0.5"), ("1e3", "1000"), ("none", "none")]
    )
    def test_numbers_have_one_spelling(self, text: str, spelling: str) -> None:
        assert canonical_number(text) == spelling


def test_fields_of_a_record_schema() -> None:
    from synthgen.report.facts import field_infos
    from synthgen.schema import RecordSchema, load_model

    model = load_model("schemas/biography.py:Biography", Path(__file__).parents[2])
    infos = {info.name: info for info in field_infos(RecordSchema.from_model(model))}
    assert list(infos) == [
        "name", "gender", "born", "birthplace", "profession", "accomplishments",
        "first_name", "last_name", "birth_year", "city", "country",
    ]  # fmt: skip
    assert infos["gender"] == FieldInfo("gender", "Gender", "closed")
    assert infos["born"].kind == "date"
    assert infos["birth_year"] == FieldInfo("birth_year", "Birth year", "number", derived=True)


def test_importing_the_report_loads_nothing_heavy() -> None:
    code = (
        "import sys, synthgen.report; print(*sorted({'polars', 'scipy', 'rich', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
