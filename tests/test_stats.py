"""Estimators: numbers worked by hand, the published check values, and seeded simulations.

Every statistical test fixes its seed, so it cannot fail by chance once it has passed; its docstring states
the false-alarm chance it would have under a fresh seed.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from synthgen import stats
from synthgen.errors import SynthgenError

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=40)
HAND = [2, 1, 1]  # n = 4, S = 3, f1 = 2, f2 = 1


def uniform_draws(k: int, n: int, repeats: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.bincount(rng.integers(0, k, n), minlength=k) for _ in range(repeats)]


class TestByHand:
    def test_spread_of_two_one_one(self) -> None:
        assert stats.entropy_plugin(HAND) == pytest.approx(1.5 * math.log(2))
        assert stats.entropy_miller_madow(HAND) == pytest.approx(1.5 * math.log(2) + 2 / 8)
        assert stats.good_turing_coverage(HAND) == pytest.approx(0.5)
        assert stats.chao1(HAND) == pytest.approx(3 + 3 / 4 * 2 * 1 / (2 * 2))

    def test_chao_wang_jost_of_two_one_one(self) -> None:
        """A = 2/(3·2+2) = ¼; seen ½(½+⅓) + ½(1+½+⅓) = 4/3; unseen ½·(¾)⁻³·[ln 4 − ¾ − ¾²/2 − ¾³/3]."""
        unseen = 0.5 * 0.75**-3 * (math.log(4) - 0.75 - 0.75**2 / 2 - 0.75**3 / 3)
        assert stats.entropy_chao_wang_jost(HAND) == pytest.approx(4 / 3 + unseen, rel=1e-9)

    def test_rarefaction_of_two_one_one_to_two(self) -> None:
        """Of the 6 pairs one is equal: 11/6 distinct values, entropy ln 2 in five cases and 0 in one."""
        assert stats.coverage_rarefied(HAND, 2) == pytest.approx(11 / 6)
        assert stats.entropy_rarefied(HAND, 2) == pytest.approx(5 / 6 * math.log(2))

    def test_distances(self) -> None:
        p, q = [0.5, 0.5, 0.0], [0.25, 0.25, 0.5]
        assert stats.tv(p, q) == pytest.approx(0.5)
        assert stats.kl(p, q) == pytest.approx(math.log(2))
        assert stats.kl(q, p) == math.inf
        # middle (3/8, 3/8, 1/4): ½·ln(4/3) + ½·[½·ln(2/3) + ½·ln 2]
        assert stats.js(p, q) == pytest.approx(0.5 * math.log(4 / 3) + 0.25 * (math.log(2 / 3) + math.log(2)))
        assert stats.js([1, 0], [0, 1]) == pytest.approx(math.log(2))

    def test_wasserstein_in_the_unit_of_the_values(self) -> None:
        assert stats.wasserstein([1980, 1990, 2000], [1, 0, 0], [0, 0, 1]) == pytest.approx(20)
        rng = np.random.default_rng(0)
        v, p, q = rng.normal(size=30), rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
        assert stats.wasserstein(v, p, q) == pytest.approx(wasserstein_distance(v, v, p, q))

    def test_uniform_and_single_value(self) -> None:
        assert stats.entropy_plugin([7] * 12) == pytest.approx(math.log(12))
        assert stats.perplexity(math.log(12)) == pytest.approx(12)
        for estimate in (stats.entropy_plugin, stats.entropy_miller_madow, stats.entropy_chao_wang_jost):
            assert estimate([1000]) == pytest.approx(0, abs=1e-12)

    def test_distinct_n_of_text(self) -> None:
        texts = ["a b a", "a b"]  # 5 tokens, 2 distinct; bigrams ab, ba, ab
        assert stats.distinct_1(texts) == pytest.approx(2 / 5)
        assert stats.distinct_n(texts, 2) == pytest.approx(2 / 3)
        assert stats.distinct_1([]) == 0


class TestCheckValues:
    """science.md §5 at n = 1,000. The bounds are above four standard errors: 1 false alarm in 10,000."""

    def test_uniform_over_a_thousand(self) -> None:
        draws = uniform_draws(1000, 1000, 100, seed=1)
        assert np.mean([stats.entropy_plugin(c) for c in draws]) == pytest.approx(6.335, abs=0.008)
        assert np.mean([stats.entropy_miller_madow(c) for c in draws]) == pytest.approx(6.650, abs=0.012)
        assert np.mean([stats.entropy_chao_wang_jost(c) for c in draws]) == pytest.approx(6.908, abs=0.02)

    def test_zipf_over_five_thousand(self) -> None:
        p = np.arange(1, 5001) ** -0.8
        rng = np.random.default_rng(2)
        draws = rng.multinomial(1000, p / p.sum(), size=100)
        assert np.mean([stats.entropy_plugin(c) for c in draws]) == pytest.approx(6.105, abs=0.02)
        assert np.mean([stats.entropy_miller_madow(c) for c in draws]) == pytest.approx(6.432, abs=0.025)
        assert np.mean([stats.entropy_chao_wang_jost(c) for c in draws]) == pytest.approx(7.139, abs=0.05)

    @pytest.mark.parametrize(
        ("k", "kl", "tv", "js"), [(10, 0.0045, 0.0377, 0.0011), (100, 0.0505, 0.125, 0.0129)]
    )
    def test_floors(self, k: int, kl: float, tv: float, js: float) -> None:
        floors = stats.simulate_floors([1 / k] * k, 1000, np.random.default_rng(3), n_sims=4000)
        assert floors.kl.mean == pytest.approx(kl, rel=0.04)
        assert floors.tv.mean == pytest.approx(tv, rel=0.02)
        assert floors.js.mean == pytest.approx(js, rel=0.05)
        assert floors.tv.mean < floors.tv.quantile(0.95) < floors.tv.quantile(0.999)


class TestProperties:
    @settings(deadline=None)
    @given(COUNTS)
    def test_bounds_hold(self, counts: list[int]) -> None:
        n, s = sum(counts), len(counts)
        plugin = stats.entropy_plugin(counts)
        stats.check_entropy(plugin, s, "x")
        assert stats.entropy_miller_madow(counts) >= plugin
        assert stats.entropy_chao_wang_jost(counts) >= plugin - 1e-9
        assert 0 <= stats.good_turing_coverage(counts) <= 1
        assert stats.chao1(counts) >= s
        assert stats.coverage_rarefied(counts, n) == pytest.approx(s)
        assert stats.coverage_rarefied(counts, 1) == pytest.approx(1)
        assert stats.entropy_rarefied(counts, n) == pytest.approx(plugin)

    @settings(deadline=None)
    @given(COUNTS)
    def test_zeros_change_nothing(self, counts: list[int]) -> None:
        padded = [0, *counts, 0]
        for estimate in (stats.entropy_plugin, stats.entropy_chao_wang_jost, stats.chao1):
            assert estimate(padded) == estimate(counts)

    @settings(deadline=None)
    @given(st.lists(st.floats(0.01, 1), min_size=2, max_size=20), st.randoms(use_true_random=False))
    def test_distances_are_distances(self, weights: list[float], shuffler: object) -> None:
        p = np.array(weights) / sum(weights)
        q = np.roll(p, 1)
        assert stats.tv(p, p) == stats.kl(p, p) == stats.js(p, p) == 0
        assert stats.tv(p, q) == pytest.approx(stats.tv(q, p))
        assert 0 <= stats.js(p, q) <= math.log(2)
        assert stats.kl(p, q) >= 2 * stats.tv(p, q) ** 2 - 1e-12  # Pinsker

    @settings(max_examples=25, deadline=None)
    @given(COUNTS, st.integers(0, 2**32))
    def test_rarefied_sample_takes_from_the_counts(self, counts: list[int], seed: int) -> None:
        m = max(1, sum(counts) // 2)
        drawn = stats.rarefied_sample(counts, m, np.random.default_rng(seed))
        assert drawn.sum() == m
        assert len(drawn) <= len(counts)

    @pytest.mark.parametrize("bad", [[], [0, 0], [-1, 2], [[1, 2]]])
    def test_what_is_no_count_vector_is_refused(self, bad: list[int]) -> None:
        with pytest.raises(ValueError, match="counts"):
            stats.entropy_plugin(bad)

    def test_more_than_was_drawn_cannot_be_taken(self) -> None:
        with pytest.raises(ValueError, match="cannot take 5 of 4"):
            stats.coverage_rarefied(HAND, 5)


class TestNumerics:
    @pytest.mark.parametrize("a", [1e-9, 1e-5, 1e-3, 0.02, 0.5, 0.999])
    @pytest.mark.parametrize("n", [2, 10, 1000])
    def test_unseen_tail_equals_its_series(self, n: int, a: float) -> None:
        if n * a > 5:  # the printed form cancels: sum the tail
            r = np.arange(n, n + int(60 / a))
            expected = ((1 - a) ** (r - n + 1) / r).sum()
        else:
            r = np.arange(1, n)
            expected = (1 - a) ** (1 - n) * (-math.log(a) - ((1 - a) ** r / r).sum())
        assert stats._unseen_tail(n, a) == pytest.approx(expected, rel=1e-6)

    def test_ten_million_draws(self) -> None:
        counts = [9_000_000, 999_990] + [1] * 10
        assert stats.entropy_chao_wang_jost(counts) == pytest.approx(stats.entropy_plugin(counts), abs=1e-4)
        assert stats.coverage_rarefied(counts, 1000) == pytest.approx(2.001, abs=1e-5)
        assert stats.entropy_rarefied(counts, 1000) == pytest.approx(0.325, abs=0.001)

    def test_every_value_seen_once(self) -> None:
        assert math.isfinite(stats.entropy_chao_wang_jost([1] * 5000))


def test_rarefied_entropy_is_the_mean_of_subsamples() -> None:
    """Mean of 400 subsamples within 4 standard errors: a false alarm in 1 of 15,000 seeds."""
    rng = np.random.default_rng(5)
    counts = rng.multinomial(3000, rng.dirichlet(np.ones(300) * 0.3))
    drawn = [stats.rarefied_sample(counts, 500, rng) for _ in range(400)]
    for exact, values in (
        (stats.entropy_rarefied(counts, 500), [stats.entropy_plugin(c) for c in drawn]),
        (stats.coverage_rarefied(counts, 500), [float(len(c)) for c in drawn]),
    ):
        assert exact == pytest.approx(float(np.mean(values)), abs=4 * float(np.std(values)) / 20)


def test_floor_grows_when_the_target_is_an_estimate() -> None:
    p = [0.1] * 10
    rng = np.random.default_rng(7)
    exact = stats.simulate_floors(p, 1000, rng, n_sims=2000).tv.mean
    estimated = stats.simulate_floors(p, 1000, rng, n_sims=2000, n_reference=1000).tv.mean
    assert estimated == pytest.approx(exact * math.sqrt(2), rel=0.03)


def test_false_alarms_of_the_floor() -> None:
    """400 datasets from the target itself: alarms at 5 % are 20 ± 4.4; above 38 in 1 of 10,000 seeds."""
    p = np.array([0.5, 0.3, 0.1, 0.05, 0.05])
    rng = np.random.default_rng(8)
    limit = stats.simulate_floors(p, 1000, rng, n_sims=2000).tv.quantile(0.95)
    alarms = sum(stats.tv(rng.multinomial(1000, p) / 1000, p) > limit for _ in range(400))
    assert 4 <= alarms <= 38


def test_published_table_with_swapped_columns_is_refused() -> None:
    """science.md §2: as printed, Llama-2's first names show entropy 6.18 with coverage 375; ln 375 = 5.93."""
    with pytest.raises(SynthgenError, match=r"first name: entropy 6\.1800 nats cannot be with coverage 375"):
        stats.check_entropy(6.18, 375, "first name")
    stats.check_entropy(6.18, 637, "first name")


def test_against_scikit_bio() -> None:
    """scikit-bio 0.7.4: alpha.shannon(c, base=e), chao1(c, bias_corrected=True), goods_coverage(c).

    Its Chao1 leaves out the factor (n−1)/n of the unseen part.
    """
    c = [50, 30, 12, 8, 5, 3, 2, 2, 1, 1, 1, 1]
    assert stats.entropy_plugin(c) == pytest.approx(1.665597958325491)
    assert stats.chao1(c) == pytest.approx(12 + (14.0 - 12) * 115 / 116)
    assert stats.good_turing_coverage(c) == pytest.approx(0.9655172413793104)
