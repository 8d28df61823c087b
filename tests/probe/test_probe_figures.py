"""A, V, drift, autocorrelation, runs and floors against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.probe import figures as f

HALF = np.array([0.5, 0.5])


def indices(*values: int) -> f.Ints:
    return np.array(values, dtype=np.int64)


def test_alignment_is_the_mean_tv_of_the_steps() -> None:
    shares = np.array([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    assert f.alignment(shares, HALF) == pytest.approx((0 + 0.5 + 0.3) / 3)


def test_variability_is_the_mean_tv_of_neighbouring_steps() -> None:
    shares = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    assert f.variability(shares) == pytest.approx((0.5 + 0.8) / 2)
    assert f.variability(shares[:1]) == 0.0


def test_variability_cannot_exceed_twice_the_alignment() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        target, shares = rng.dirichlet(np.ones(4)), rng.dirichlet(np.full(4, 0.3), size=30)
        assert f.variability(shares) <= 2 * f.alignment(shares, target) * 30 / 29 + 1e-12


def test_drift_compares_the_halves() -> None:
    shares = np.array([[1.0, 0.0], [0.8, 0.2], [0.2, 0.8], [0.0, 1.0]])
    assert f.drift(shares) == pytest.approx(0.8)
    assert f.drift(shares[[0, 2, 0, 2]]) == pytest.approx(0.0)


def test_sharpness_is_the_entropy_of_p_token_over_the_tasks() -> None:
    assert f.sharpness(np.array([[1.0, 0.0]]), HALF) == 0.0
    quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert f.sharpness(np.array([[0.25, 0.75], [0.5, 0.5]]), HALF) == pytest.approx(
        (quarter / math.log(2) + 1) / 2
    )


def test_autocorrelation_of_runs_and_of_turns() -> None:
    # 1 1 1 2 2 2: 4 of 5 neighbours are equal; by chance (3·2 + 3·2)/6 = 2; so (4−2)/(5−2).
    assert f.autocorrelation([indices(1, 1, 1, 2, 2, 2)]) == pytest.approx(2 / 3)
    # 0 1 0 1 0 1: none is equal, so −2/3.
    assert f.autocorrelation([indices(0, 1, 0, 1, 0, 1)]) == pytest.approx(-2 / 3)
    assert f.autocorrelation([indices(0, 1, 0, 1, 0, 1), indices(1, 1, 1, 2, 2, 2)]) == pytest.approx(0.0)
    assert f.autocorrelation([indices(3, 3, 3)]) is None


def test_autocorrelation_of_independent_draws_is_nought_on_average() -> None:
    rng = np.random.default_rng(2)
    found = [f.autocorrelation([rng.choice(3, 12, p=[0.7, 0.2, 0.1])]) for _ in range(2000)]
    known = [value for value in found if value is not None]
    assert abs(np.mean(known)) < 4 * np.std(known) / math.sqrt(len(known))


def test_two_groups_are_cut_where_the_halves_are_most_equal() -> None:
    assert f.two_groups(np.full(4, 0.25)).tolist() == [True, True, False, False]
    assert f.two_groups(np.array([0.05, 0.95])).tolist() == [True, False]
    assert f.two_groups(np.array([0.1, 0.1, 0.1, 0.7])).tolist() == [True, True, True, False]


def test_the_runs_test_counts_runs_and_expects_what_wald_and_wolfowitz_do() -> None:
    groups = np.array([True, False])
    found = f.runs_test([(indices(0, 0, 0, 1, 1, 1), groups)])
    # 2 runs; E = 1 + 2·3·3/6 = 4; Var = 3·2/5 = 1.2.
    assert found is not None
    assert (found.n_runs, found.expected) == (2, 4.0)
    assert found.z == pytest.approx(-2 / math.sqrt(1.2))
    assert found.p_value == pytest.approx(math.erfc(2 / math.sqrt(1.2) / math.sqrt(2)))
    both = f.runs_test([(indices(0, 0, 0, 1, 1, 1), groups), (indices(0, 1, 0, 1, 0, 1), groups)])
    assert both is not None
    assert (both.n_runs, both.z) == (8, 0.0)
    assert f.runs_test([(indices(0, 0, 0), groups)]) is None


def test_a_mean_is_taken_over_wordings_and_its_interval_is_students() -> None:
    found = f.mean_over([("a", 0.2), ("a", 0.4), ("b", 0.5), ("b", 0.5)])
    # means 0.3 and 0.5: s = 0.1414, t(1, 97.5 %) = 12.706, half = 12.706 · 0.1
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == (0.0, 1.0)
    three = f.mean_over([("a", 0.1), ("b", 0.2), ("c", 0.3)])
    assert three.low is not None and three.high is not None
    assert three.high - 0.2 == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=1e-4)
    alone = f.mean_over([("a", 0.1), ("a", 0.3)])
    assert alone.value == pytest.approx(0.2) and (alone.low, alone.high) == (None, None)


@pytest.mark.parametrize(
    ("counts", "state"), [((16, 16), "closer than chance"), ((13, 19), "within noise"), ((5, 27), "off")]
)
def test_a_result_is_judged_beside_what_exact_samplers_show(counts: tuple[int, int], state: str) -> None:
    samples = [(np.array(counts, dtype=np.int64), HALF)] * 4
    found = f.result(samples, np.random.default_rng(3))
    assert found is not None
    assert found.value == pytest.approx(abs(counts[0] / 32 - 0.5))
    assert found.state == state
    assert found.floor_mean == pytest.approx(
        math.sqrt(2 * 0.25 / (math.pi * 32)), rel=0.05
    )  # E TV of 32 draws


def test_samples_without_draws_are_left_out() -> None:
    empty = (np.zeros(2, dtype=np.int64), HALF)
    assert f.result([empty], np.random.default_rng(3)) is None
    found = f.result([empty, (indices(3, 1), HALF)], np.random.default_rng(3))
    assert found is not None
    assert (found.value, found.n_draws) == (0.25, 4)


def test_the_best_temperature_undoes_a_tempered_target() -> None:
    target = np.array([0.7, 0.2, 0.1])
    sharp = f.tempered(target[None], 0.5)  # squares, renormalised
    assert sharp[0] == pytest.approx(target**2 / (target**2).sum())
    best = f.best_temperature([(sharp, target)])
    assert best.value == pytest.approx(2.0, rel=0.03)
    assert best.alignment < 0.01 < f.alignment(sharp, target)
    assert f.best_temperature([(target[None], target)]).value == pytest.approx(1.0)
