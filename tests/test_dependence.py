"""Two-way tables: numbers worked by hand, and tests that neither cry wolf nor sleep."""

import math

import numpy as np
import pytest
from scipy.stats.contingency import association

from synthgen.dependence import _exact_p_value, cramers_v, crosstab, independence, mutual_information


def test_by_hand() -> None:
    fixed = np.array([[50, 0], [0, 50]])
    assert mutual_information(fixed) == pytest.approx(math.log(2))
    assert cramers_v(fixed) == pytest.approx(1.0)
    assert mutual_information(np.array([[25, 25], [25, 25]])) == pytest.approx(0, abs=1e-12)
    # ½ ln(0.4/0.25)·… : Σ p ln(p/¼) with p = .4, .1, .1, .4
    assert mutual_information(np.array([[40, 10], [10, 40]])) == pytest.approx(
        0.8 * math.log(1.6) + 0.2 * math.log(0.4)
    )


def test_cramers_v_is_near_the_plain_one_for_many_records() -> None:
    table = np.array([[3000, 1000, 500], [1000, 3000, 1500]])
    assert cramers_v(table) == pytest.approx(association(table, method="cramer"), abs=1e-3)


def test_codes_are_counted() -> None:
    table = crosstab(np.array([0, 0, 2, 2]), np.array([1, 1, 1, 0]))
    assert table.tolist() == [[0, 2], [1, 1]]
    with pytest.raises(ValueError, match="two-way table"):
        mutual_information(np.zeros((2, 2), dtype=np.int64))


@pytest.mark.parametrize(("k", "n"), [(3, 1000), (20, 800)])
def test_false_alarms(k: int, n: int) -> None:
    """200 independent tables at 5 %: 10 ± 3.1 alarms; above 22 in 1 of 10,000 seeds. χ² law and random tables."""
    rng = np.random.default_rng(1)
    weights = 1 / np.arange(1, k + 1)
    p = weights / weights.sum()
    tests = [independence(crosstab(rng.choice(k, n, p=p), rng.choice(k, n, p=p)), rng) for _ in range(200)]
    assert 1 <= sum(test.p_value < 0.05 for test in tests) <= 22
    assert all(test.is_simulated for test in tests) == (k == 20)
    assert np.mean([t.mutual_information - t.null_mean for t in tests]) == pytest.approx(0, abs=0.002)


def test_far_tails_are_exact() -> None:
    """1,000 sparse independent tables at 1 %: 10 ± 3.1 alarms; above 21 in 1 of 1,000 seeds."""
    rng = np.random.default_rng(4)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    alarms = 0
    for _ in range(1000):
        test = independence(crosstab(rng.choice(4, 60, p=p), rng.choice(4, 60, p=p)), rng, level=0.01)
        alarms += test.p_value < 0.01
    assert 1 <= alarms <= 21


def test_an_exact_p_value_by_hand() -> None:
    """Margins 5, 5 × 5, 5: of the 252 ways 52 have four or more in a corner, so p is 52/252 for [[4, 1], [1, 4]]."""
    table = np.array([[4, 1], [1, 4]])
    rng = np.random.default_rng(5)
    margin = np.array([5, 5])
    found = mutual_information(table)
    drawn = [_exact_p_value(found, margin, margin, 1e-3, rng) for _ in range(400)]
    # it ends at the fifth table as extreme, so 1/p is their mean distance
    assert np.mean([5 / p for p in drawn]) == pytest.approx(5 * 252 / 52, rel=0.06)


def test_a_weak_dependence_is_found() -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(0, 4, 5000)
    b = np.where(rng.random(5000) < 0.1, a, rng.integers(0, 4, 5000))
    test = independence(crosstab(a, b), rng)
    assert test.p_value < 1e-4
    assert 0 < test.corrected < test.mutual_information


def test_a_column_of_one_value_tells_nothing() -> None:
    rng = np.random.default_rng(3)
    test = independence(np.array([[10, 20]]), rng)
    assert test.corrected == pytest.approx(0, abs=1e-12)
    assert test.p_value == 1.0
