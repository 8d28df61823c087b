"""The study: targets of the entropy that was asked for, findings that follow the numbers, a page that says so."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from synthgen.elicit.study import Plan, run_study, write_study
from synthgen.elicit.study_findings import Row, difference, estimate, findings, verdict_of
from synthgen.elicit.study_page import statement
from synthgen.elicit.study_targets import (
    N_OUTLIERS,
    OUTLIER_MASS,
    entropy_of,
    grid,
    outlier_distribution,
    outlier_entropies,
    random_distribution,
    spread,
)
from tests.elicit.models import model_folder

SIZE = 3072


@pytest.mark.parametrize("entropy", [0.001, 0.3, 2.0, 4.0, 7.0, 7.9, math.log(SIZE) - 0.001])
def test_random_targets_have_the_entropy_that_was_asked_for(entropy: float) -> None:
    p = random_distribution(entropy, SIZE, np.random.default_rng(0))
    assert p.sum() == pytest.approx(1, abs=1e-9)
    assert entropy_of(p) == pytest.approx(entropy, abs=2e-4)


@pytest.mark.parametrize("entropy", [0.0, math.log(SIZE), 9.0])
def test_an_impossible_entropy_is_refused(entropy: float) -> None:
    with pytest.raises(ValueError, match="expected one above 0 and below ln 3072"):
        random_distribution(entropy, SIZE, np.random.default_rng(0))


def test_outlier_targets_hold_their_mass_at_the_same_entropy() -> None:
    least, most = outlier_entropies(SIZE)
    for entropy in np.linspace(least + 0.1, most - 0.1, 4):
        p = outlier_distribution(float(entropy), SIZE, np.random.default_rng(1))
        assert entropy_of(p) == pytest.approx(entropy, abs=2e-4)
        assert p.sum() == pytest.approx(1, abs=1e-9)
        assert (np.isclose(p, OUTLIER_MASS / N_OUTLIERS)).sum() == N_OUTLIERS


def test_the_grid_and_the_choice_cover_the_range() -> None:
    levels = grid(SIZE, 8)
    assert 0 < levels[0] < levels[-1] < math.log(SIZE)
    entropies = np.random.default_rng(0).random(100)
    chosen = spread(entropies, 10, np.random.default_rng(0))
    assert len(set(chosen)) == 10
    assert np.ptp(entropies[chosen]) == pytest.approx(np.ptp(entropies))


def rows(moderate: float, outliers: float, own: float, other: float) -> list[Row]:
    """A study whose answer is planted: KL of each kind, with a little noise."""
    rng = np.random.default_rng(0)

    def noisy(mean: float) -> float:
        return mean + 0.02 * float(rng.normal())

    found = []
    for part in (0.1, 0.2, 0.45, 0.55, 0.8, 0.9):
        kl = moderate if 1 / 3 < part < 2 / 3 else 0.5
        found += [Row("random", part * 8, part * 8, noisy(kl), noisy(kl), 3.0) for _ in range(6)]
    for source, kl in (("outliers", outliers), ("own", own), ("other", other)):
        for _ in range(8):
            found.append(Row(source, 4.0, None, noisy(kl), noisy(kl), 3.0, pair=len(found) + 1))
            found.append(Row("random", 4.0, None, noisy(1.0), noisy(1.0), 3.0))
    return found


def test_findings_follow_the_numbers() -> None:
    """Differences of 0.5 at a noise of 0.02: a wrong verdict is out of reach."""
    published = findings(rows(1.0, 0.5, 0.5, 0.5), 8.0, "soft")
    assert [finding.verdict for finding in published] == ["holds"] * 3
    contrary = findings(rows(0.1, 1.5, 1.5, 1.5), 8.0, "hard")
    assert [finding.verdict for finding in contrary] == ["does not hold"] * 3
    half = findings(rows(1.0, 1.0, 0.5, 1.5), 8.0, "soft")
    assert half[2].verdict == "holds in part"
    assert statement("soft", half[2]) == (
        "- Finding 3 holds in part for soft prompts on this model: random − the model's own, equal entropy: above 0; "
        "random − another model's, equal entropy: below 0."
    )
    assert statement("hard", contrary[2]) == "- Finding 3 does not hold for hard prompts on this model."
    assert half[2].differences["random − the model's own, equal entropy"].mean == pytest.approx(0.5, abs=0.05)


def test_an_interval_that_holds_zero_leaves_a_finding_open() -> None:
    rng = np.random.default_rng(0)
    flat = difference(rng.normal(size=50).tolist(), rng.normal(size=50).tolist())
    assert flat.low < 0 < flat.high
    above = estimate((1 + 0.1 * rng.normal(size=50)).tolist())
    assert 0.9 < above.low < above.mean < above.high < 1.1
    assert verdict_of([flat]) == "open"
    assert verdict_of([above, flat]) == "holds in part"
    assert verdict_of([above]) == "holds"


def test_the_whole_study_runs_on_a_tiny_model(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    plan = Plan(
        n_levels=3, per_level=2, outlier_levels=1, n_model=2, n_tokens=3, soft_steps=3, hard_steps=2,
        hard_candidates=8, other_steps=2,
    )  # fmt: skip
    told: list[str] = []
    study = run_study(str(folder), plan, told.append)
    assert {row.source for row in study.rows} == {"random", "outliers", "own", "other"}
    paired = [row for row in study.rows if row.pair is not None]
    assert len(paired) == 2 + 2 + 2
    for row in paired:
        assert row.pair is not None
        assert study.rows[row.pair].entropy == pytest.approx(row.entropy, abs=2e-3)
    assert all(row.soft > -1e-3 and row.hard > -1e-3 for row in study.rows)
    written = write_study(study, tmp_path / "out", "elicit", {"date": "today"})
    assert [path.suffix for path in written] == [".json", ".md", ".svg", ".svg"]
    text = written[1].read_text(encoding="utf-8")
    assert all(f"Finding {number}" in text for number in (1, 2, 3))
    assert told
