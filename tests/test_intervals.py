"""Intervals: numbers worked by hand, the jackknife by brute force, and coverage in seeded simulations.

Each simulation's docstring states the false-alarm chance it would have under a fresh seed.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from synthgen import stats
from synthgen.intervals import (
    _without_one,
    coverage_interval,
    entropy_interval,
    fewest_values,
    share_interval,
)

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
SOURCES = {
    "uniform": np.ones(10),
    "nearly uniform": np.array([1.1, 0.9]),
    "Zipf": 1 / np.arange(1, 51),
    "geometric": 0.8 ** np.arange(60),
}


@pytest.mark.parametrize("name", SOURCES)
def test_entropy_intervals_cover_the_truth(name: str) -> None:
    """At 95 %, 300 draws: fewer than 272 hits, or more than 297, in 1 of 1,000 seeds."""
    rng = np.random.default_rng(6)
    p = SOURCES[name] / SOURCES[name].sum()
    truth = -(p * np.log(p)).sum()
    hits = 0
    for _ in range(300):
        low, high = entropy_interval(rng.multinomial(1000, p))
        assert high is not None
        hits += low <= truth <= high
    assert 272 <= hits <= 297


def test_an_undersampled_source_has_a_lower_bound_only() -> None:
    """100 of 10,000 values: nearly all seen once. 50 bounds at 97.5 %: under 45 hold in 1 of 1,000 seeds."""
    rng = np.random.default_rng(7)
    ends = [entropy_interval(np.bincount(rng.integers(0, 10_000, 100))) for _ in range(50)]
    assert all(high is None for _, high in ends)
    assert sum(low <= math.log(10_000) for low, _ in ends) >= 45


def test_only_singles_bound_the_entropy_by_the_pairs_that_may_have_been_missed() -> None:
    """Up to 3.69 pairs are in keeping with none (Poisson, 97.5 %): about n²/2·3.69 equally likely values."""
    low, high = entropy_interval([1] * 5000)
    assert high is None
    assert low == pytest.approx(math.log(5000**2 / (2 * 3.69)), abs=0.05)


def test_one_value_may_hide_another() -> None:
    missed = 1 - 0.025 ** (1 / 1000)
    low, high = entropy_interval([1000])
    assert low == 0
    assert high == pytest.approx(-missed * math.log(missed) - (1 - missed) * math.log(1 - missed))
    assert entropy_interval([1]) == (0.0, None)


@settings(max_examples=50, deadline=None)
@given(COUNTS.filter(lambda c: sum(c) > 1))
def test_the_jackknife_is_the_estimate_without_one_draw(counts: list[int]) -> None:
    sizes, how_many = np.unique(counts, return_counts=True)
    found = _without_one(sizes, how_many)
    for size, without in zip(sizes.tolist(), found.tolist(), strict=True):
        rest = list(counts)
        rest[rest.index(size)] -= 1
        assert without == pytest.approx(stats.entropy_chao_wang_jost(rest), abs=1e-9)


@settings(deadline=None)
@given(COUNTS)
def test_estimates_lie_inside(counts: list[int]) -> None:
    low, high = entropy_interval(counts)
    estimate = stats.entropy_chao_wang_jost(counts)
    assert 0 <= low <= estimate + 1e-9
    assert high is None or estimate <= high + 1e-9
    start, end = coverage_interval(counts)
    assert 0 <= start <= stats.good_turing_coverage(counts) + 1e-12 <= end + 1e-12 <= 1 + 2e-12
    assert len(counts) <= fewest_values(counts) <= stats.chao1(counts) + 1e-9


def test_sample_coverage_interval_by_hand() -> None:
    """n = 100, f1 = 20, f2 = 10: (20 + z²/2 ± z·√(20·0.8 + 20 + z²/4))/100, z² = 3.841."""
    counts = [1] * 20 + [2] * 10 + [60]
    middle, half = 20 + 1.9207, 1.95996 * math.sqrt(16 + 20 + 0.9604)
    assert coverage_interval(counts) == pytest.approx(
        (1 - (middle + half) / 100, 1 - (middle - half) / 100), abs=1e-4
    )


def test_fewest_values_of_a_uniform_source() -> None:
    """100 draws of 300 from 400 values: a bound at 97.5 % fails more than 9 times in 1 of 1,000 seeds."""
    rng = np.random.default_rng(8)
    found = [fewest_values(np.bincount(rng.integers(0, 400, 300))) for _ in range(100)]
    assert sum(fewest > 400 for fewest in found) <= 9
    assert np.mean(found) > 280  # well above the 211 that are seen


def test_share_interval_is_wilsons() -> None:
    for hits, n in ((0, 10), (3, 10), (10, 10), (481, 1000)):
        expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
        assert share_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
