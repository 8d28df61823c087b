"""Entropy and coverage with their errors, against the slow way and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthgen.bench.estimates import (
    Measured,
    coverage,
    difference,
    entropy,
    mean,
    over_seeds,
    pooled,
    ratio,
    share,
)
from synthgen.stats import entropy_plugin

COUNTS = [7, 4, 4, 2, 1, 1, 1]


def leaving_one_out(counts: list[int], figure: object) -> float:
    """The jackknife's standard error, one draw left out after the other."""
    values = []
    for i, count in enumerate(counts):
        less = [c - (j == i) for j, c in enumerate(counts)]
        values += [figure([c for c in less if c])] * count  # type: ignore[operator]
    n = sum(counts)
    return math.sqrt((n - 1) / n * float(((np.array(values) - np.mean(values)) ** 2).sum()))


def test_entropys_error_is_the_jackknifes() -> None:
    assert entropy(COUNTS).error == pytest.approx(leaving_one_out(COUNTS, entropy_plugin), rel=1e-9)


def test_coverages_error_is_the_jackknifes() -> None:
    assert coverage(COUNTS).error == pytest.approx(leaving_one_out(COUNTS, len), rel=1e-9)


def test_uniform_counts_have_the_entropy_of_a_uniform_source() -> None:
    found = entropy([10] * 8)
    assert found.value == pytest.approx(math.log(8))
    assert entropy([1000]) == Measured(0.0, 0.0)


def test_fewer_draws_show_less() -> None:
    assert coverage(COUNTS, 10).value < coverage(COUNTS).value == 7
    assert entropy(COUNTS, 10).value < entropy(COUNTS).value
    assert coverage(COUNTS, 500).value == 7  # as many as there are


def test_two_seeds_have_students_interval_with_one_degree_of_freedom() -> None:
    found = over_seeds([Measured(1.0, 0.1), Measured(3.0, 0.1)])
    assert found.value == 2.0
    assert found.half == pytest.approx(
        12.7062 * math.sqrt(2) / math.sqrt(2), rel=1e-4
    )  # t · sd / √2, sd = √2
    assert found.within == pytest.approx(0.196, rel=1e-3)
    assert found.low == pytest.approx(2 - 12.7062, rel=1e-4)
    assert found.high == pytest.approx(2 + 12.7062, rel=1e-4)


def test_one_seed_has_only_the_interval_within() -> None:
    found = over_seeds([Measured(2.0, 0.5)])
    assert found.half is None
    assert found.low == pytest.approx(1.02, abs=1e-3)
    assert found.high == pytest.approx(2.98, abs=1e-3)
    assert found.text() == "2.00 ± 0.98"


def test_no_seed_is_an_error() -> None:
    with pytest.raises(ValueError, match="no seed"):
        over_seeds([])


def test_a_ratio_to_nothing_is_shown_as_none() -> None:
    found = over_seeds([ratio(Measured(1.0, 0.0), Measured(0.0, 0.0)), Measured(2.0, 0.1)])
    assert found.text() == "–"
    assert found.to_json()["value"] is None


def test_ratio_difference_mean_and_share_carry_their_errors() -> None:
    found = [
        ratio(Measured(4.0, 0.4), Measured(2.0, 0.0)),
        difference(Measured(4.0, 0.3), Measured(1.0, 0.4)),
        mean([Measured(1.0, 0.3), Measured(3.0, 0.4)]),
        share(25, 100),
    ]
    assert [one.value for one in found] == pytest.approx([2.0, 3.0, 2.0, 0.25])
    assert [one.error for one in found] == pytest.approx([0.2, 0.5, 0.25, math.sqrt(0.25 * 0.75 / 100)])
    assert share(0, 0) == Measured(0.0, 0.0)


def test_pooled_counts_come_most_frequent_first() -> None:
    assert list(pooled([{"a": 1, "b": 2}, {"c": 5, "a": 3}]).items()) == [("c", 5), ("a", 4), ("b", 2)]
