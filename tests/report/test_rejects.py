"""Rejected attempts: counted by adapter and by value, so that a bias made by rejection is seen, and only then."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from synthgen.errors import SynthgenError
from synthgen.report import card, html, rejection, terminal
from synthgen.report.facts import Facts, FieldInfo, compute
from synthgen.report.rejects import reject_facts
from synthgen.report.reliability import AdapterAttempts, RejectFacts, RunFacts

TARGET = {"gender": {"Female": 0.5, "Male": 0.4, "Non-binary": 0.1}}
FIELDS = (FieldInfo("name", "Name", "open"), FieldInfo("gender", "Gender", "closed"))


def dataset(
    folder: Path, rates: dict[str, float], n: int = 4000, unknown: int = 0, seed: int = 1
) -> tuple[pl.DataFrame, RejectFacts]:
    """Accepted records and the facts of their rejects: `rates` says how often each gender is rejected."""
    rng = np.random.default_rng(seed)
    genders = rng.choice(list(TARGET["gender"]), n, p=list(TARGET["gender"].values()))
    is_rejected = rng.random(n) < np.array([rates[str(gender)] for gender in genders])
    accepted = pl.DataFrame({"name": "Ana", "gender": genders[~is_rejected]})
    texts = [f"Name: {{Ana}}\n{{{g}}}\n{{1985-02-30}}" for g in genders[is_rejected]]
    texts = [text.replace("Female", '"female"') if i % 2 else text for i, text in enumerate(texts)]
    texts += ["{Ana"] * unknown
    rejects = pl.DataFrame(
        {
            "_id": range(len(texts)),
            "_attempt": pl.Series([i % 3 // 2 for i in range(len(texts))], dtype=pl.Int32),
            "_adapter": "bios",
            "reason": ["invalid:born"] * (len(texts) - unknown) + ["truncated"] * unknown,
            "text": texts,
        }
    )
    rejects.write_parquet(folder / "part-00000.parquet")
    found = reject_facts(
        accepted.lazy(),
        [folder / "part-00000.parquet"],
        {"bios": (n + unknown, accepted.height)},
        {"name": 0, "gender": 1},
        {"gender": list(TARGET["gender"]), "birth_year": ["1985"]},
    )
    assert found is not None
    return accepted, found


def facts_of(accepted: pl.DataFrame, found: RejectFacts) -> Facts:
    n_rejected = sum(sum(adapter.reasons.values()) for adapter in found.adapters)
    run: dict[str, object] = {"attempted": accepted.height + n_rejected, "accepted": accepted.height}
    run |= {"rejected": n_rejected, "rejection": found}
    return compute(accepted, fields=FIELDS, reference=TARGET, run=run)


def test_a_value_that_is_rejected_more_often_is_named(tmp_path: Path) -> None:
    accepted, found = dataset(tmp_path, {"Female": 0.05, "Male": 0.05, "Non-binary": 0.3}, unknown=20)
    (gender,) = found.fields  # derived fields stand in no answer
    assert gender.n_unknown == 20 and gender.attempted == 4000
    assert [value.value for value in gender.biased][:1] == ["Non-binary"]
    worst = gender.biased[0]
    true_share = 1 - accepted.filter(pl.col("gender") == "Non-binary").height / worst.attempted
    assert worst.reject_rate == pytest.approx(true_share)
    assert worst.interval[0] < 0.3 < worst.interval[1] and worst.p_value < 1e-9
    # TV between accepted and attempted, from the two tables themselves
    shares = {value.value: value.attempted / 4000 for value in gender.values}
    after = {g: accepted.filter(pl.col("gender") == g).height / accepted.height for g in TARGET["gender"]}
    assert gender.moved == pytest.approx(sum(abs(after[g] - shares[g]) for g in shares) / 2)
    said = rejection.lines(facts_of(accepted, found))
    assert said[-1].startswith("by value: ") and "Gender 'Non-binary' (" in said[-1]
    assert "this moved Gender by TV 0.0" in said[-1]


def test_rejection_that_does_not_look_at_the_value_is_called_no_bias(tmp_path: Path) -> None:
    """Twenty datasets at 5 % family-wise: 1 false alarm expected, 5 or more has a chance of 0.3 %."""
    alarms = 0
    for seed in range(20):
        _, found = dataset(tmp_path, dict.fromkeys(TARGET["gender"], 0.1), n=1000, seed=seed)
        alarms += bool(found.fields[0].biased)
    assert alarms < 5
    accepted, found = dataset(tmp_path, dict.fromkeys(TARGET["gender"], 0.1))
    assert rejection.lines(facts_of(accepted, found))[-1].startswith(
        "by value: no bias seen; 3 values of Gender"
    )


def test_p_values_are_adjusted_for_all_values_tested(tmp_path: Path) -> None:
    from scipy.stats import fisher_exact

    _, found = dataset(tmp_path, {"Female": 0.1, "Male": 0.13, "Non-binary": 0.1})
    (gender,) = found.fields
    plain = [
        float(
            fisher_exact(
                [
                    [v.rejected, v.attempted - v.rejected],
                    [
                        gender.rejected - v.rejected,
                        gender.attempted - v.attempted - gender.rejected + v.rejected,
                    ],
                ]
            )[1]
        )
        for v in gender.values
    ]
    smallest = int(np.argmin(plain))
    assert gender.values[smallest].p_value == pytest.approx(min(1.0, 3 * plain[smallest]))
    assert max(v.p_value for v in gender.values) >= max(plain)


def test_records_tried_again_and_reasons_by_adapter_are_counted(tmp_path: Path) -> None:
    accepted, found = dataset(tmp_path, dict.fromkeys(TARGET["gender"], 0.1), unknown=30)
    rejected = pl.read_parquet(tmp_path / "part-00000.parquet")
    assert found.n_refilled == rejected.filter(pl.col("_attempt") == 0).height
    assert found.most_attempts == 3
    (bios,) = found.adapters
    assert bios.reasons == {"invalid:born": rejected.height - 30, "truncated": 30}
    assert bios.reject_rate == pytest.approx(rejected.height / 4030)
    assert accepted.height + rejected.height == bios.attempted


def test_without_a_rejection_nothing_is_said(tmp_path: Path) -> None:
    assert (
        reject_facts(
            pl.LazyFrame({"gender": ["Female"]}), [], {"a": (1, 1)}, {"gender": 0}, {"gender": ["Female"]}
        )
        is None
    )
    plain = compute(pl.DataFrame({"name": ["A"], "gender": ["Female"]}), fields=FIELDS)
    assert rejection.lines(plain) == []
    assert "Rejected attempts" not in html.render(plain)


def test_every_report_shows_it_and_report_json_keeps_it(tmp_path: Path) -> None:
    facts = facts_of(*dataset(tmp_path, {"Female": 0.02, "Male": 0.1, "Non-binary": 0.02}, unknown=3))
    page = html.render(facts)
    assert "<h2>Rejected attempts</h2>" in page and "invalid:born" in page
    stream = io.StringIO()
    terminal.render(facts, Console(file=stream, width=200), plain=True)
    assert "Gender 'Male'" in stream.getvalue() and "tried again: " in stream.getvalue()
    assert card.render(facts)
    kept = Facts.from_dict(json.loads(json.dumps(facts.to_dict())))
    assert kept.run.rejection == facts.run.rejection
    assert (
        RunFacts.from_mapping(json.loads(json.dumps(facts.to_dict()))["run"]).rejection == facts.run.rejection
    )


def test_adapters_are_compared_where_there_are_several() -> None:
    adapters = (
        AdapterAttempts("bios", 1000, 900, {"invalid:born": 60, "truncated": 40}),
        AdapterAttempts("base", 500, 495, {"truncated": 5}),
    )
    found = RejectFacts(adapters, (), 90, 4)
    facts = facts_of(pl.DataFrame({"name": "A", "gender": ["Female"] * 1395}), found)
    assert rejection.lines(facts) == [
        "by adapter: bios 10.0 % of 1,000, base 1.0 % of 500",
        "tried again: 90 records, 4 attempts at most",
    ]
    assert rejection.adapter_rows(found)[0] == [
        "bios", "1,000", "900", "10.0 %", "invalid:born 60, truncated 40",
    ]  # fmt: skip


def test_counts_that_cannot_be_are_refused() -> None:
    wrong = RejectFacts((AdapterAttempts("a", 10, 8, {"truncated": 1}),), (), 1, 2)
    with pytest.raises(SynthgenError, match="attempted 10 is not accepted 8"):
        RunFacts.from_mapping({"rejection": wrong})


def test_a_run_counts_its_rejects_by_declared_value(tmp_path: Path) -> None:
    """A die whose sixes fall off the table every other time; tuned for one step, so that there is a target."""
    from synthgen import Recipe
    from synthgen.engines.fake import FakeEngine
    from synthgen.engines.protocol import Request
    from synthgen.run import run_recipe
    from tests.tiny import tiny_model_folder

    tuned = {"targets": {"value": {str(face): 1 for face in range(1, 7)}}, "steps": 1, "anchor": "none"}
    content = {
        "schema": "schemas/die.py:Die",
        "model": str(tiny_model_folder(tmp_path / "model")),
        "adapters": {"fair": tuned},
        "tuned_dir": str(tmp_path / "adapters"),
        "generate": {"max_tokens": 4},
    }
    recipe = Recipe.from_mapping(content, base=Path(__file__).parents[2])

    def roll(_: Request, rng: np.random.Generator) -> str:
        face = int(rng.integers(1, 7))
        fell = face == 6 and rng.random() < 0.5
        return f"{{{face}}}" + ("\n{off the table}" if fell else "")

    run = run_recipe(recipe, 600, tmp_path / "out", engine=FakeEngine(roll, adapters=("fair",)))
    found = run.report.run.rejection
    assert found is not None
    (value,) = found.fields
    assert [biased.value for biased in value.biased][:1] == ["6"] and value.n_unknown == 0
    (fair,) = found.adapters
    assert (fair.name, fair.accepted, set(fair.reasons)) == ("fair", 600, {"extra_field"})
    assert found.n_refilled == run.rejections().filter(pl.col("_attempt") == 0).height
