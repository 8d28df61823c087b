"""Places by share: whole numbers that add up, nowhere a whole record off, and counted right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.apportionment import Places, largest_remainder

weights = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=30)


def shares(values: list[float]) -> dict[str, float]:
    return {f"v{i}": value / math.fsum(values) for i, value in enumerate(values)}


@given(weights, st.integers(1, 10_000))
def test_largest_remainders_add_up_and_are_nowhere_a_whole_record_off(values: list[float], n: int) -> None:
    expected = {text: n * share for text, share in shares(values).items()}
    found = largest_remainder(expected)
    assert sum(found.values()) == n
    assert all(abs(found[text] - x) < 1 + 1e-5 for text, x in expected.items())
    up = [x - math.floor(x) for text, x in expected.items() if found[text] > x]
    down = [x - math.floor(x) for text, x in expected.items() if found[text] < x]
    assert min(up, default=1) >= max(down, default=0) - 1e-5


def test_whole_expectations_stay_as_they_are() -> None:
    assert largest_remainder({"a": 0.48 * 1000, "b": 0.48 * 1000, "c": 0.04 * 1000}) == {
        "a": 480,
        "b": 480,
        "c": 40,
    }
    assert largest_remainder({"a": 0.3 * 10, "b": 0.7 * 10}) == {"a": 3, "b": 7}
    assert largest_remainder({"a": 1 / 3 * 10, "b": 2 / 3 * 10}) == {"a": 3, "b": 7}


@given(weights, st.integers(1, 10_000))
def test_loose_places_are_within_one_record_and_leave_room_for_all(values: list[float], n: int) -> None:
    places = Places("f", shares(values), n, loose=True)
    for text, x in places.expected.items():
        assert x - 1 - 1e-5 <= places.least[text] <= x <= places.most[text] <= x + 1 + 1e-5
    assert sum(places.least.values()) <= n <= sum(places.most.values())


def test_places_are_taken_and_given_back() -> None:
    places = Places("f", {"a": 0.5, "b": 0.5}, 10, loose=False)
    assert (places.n_lacking, places.needs("a"), places.has_room("a")) == (10, True, True)
    places.take("a", 5)
    assert (places.n_lacking, places.needs("a"), places.has_room("a")) == (5, False, False)
    places.take("a", 2)  # of an earlier, smaller dataset
    assert (places.n_lacking, places.lacking()) == (5, [("b", 5)])
    places.take("a", -3)
    assert (places.n_lacking, places.needs("a")) == (6, True)
    assert not places.needs("c") and not places.has_room("c")


def test_an_extension_that_cannot_meet_all_is_short_by_one_where_it_hurts_least() -> None:
    """Among 4 records two of twenty rare values were rounded up; among 5 these are over their share."""
    rare = {f"r{i}": 0.01 for i in range(20)}
    places = Places("f", {"a": 0.4, "b": 0.4, **rare}, 5, loose=False)
    for text in ("a", "b", "r0", "r1"):
        places.take(text)
    assert places.n_lacking == 2
    places.relax(1)
    assert places.n_lacking == 1
    assert sorted(places.least[text] for text in "ab") == [1, 2]


@pytest.mark.parametrize("loose", [True, False])
def test_no_share_no_place(loose: bool) -> None:
    places = Places("f", {"a": 1.0}, 3, loose)
    assert not places.has_room("b") and places.has_room("a")
