"""The published numbers can be true: no entropy above the logarithm of its coverage, where that must hold."""

from __future__ import annotations

import math

import pytest

from synthgen.bench import published
from synthgen.bench.six_tasks import NAMES

PAIRS = [
    (task, model, when, pair)
    for table in (published.SINGLE, published.HELD_OUT)
    for task, row in table.items()
    for model, pair in row.items()
    for when in (0, 1)
]
SLACK = 0.005  # of a figure that is printed with two places


@pytest.mark.parametrize(("task", "model", "when", "pair"), PAIRS)
def test_no_entropy_exceeds_the_logarithm_of_its_coverage(
    task: str, model: str, when: int, pair: published.Pair
) -> None:
    """Holds for means over a task's prompts too: the mean of ln C is at most ln of the mean C."""
    if pair.entropy is not None:
        assert pair.entropy[when] <= math.log(pair.coverage[when]) + SLACK, (task, model)


@pytest.mark.parametrize("field", published.BIOGRAPHIES)
def test_the_biographies_columns_stand_where_they_can_be_true(field: str) -> None:
    row = published.BIOGRAPHIES[field]
    for entropy, coverage in zip(row.entropy, row.coverage, strict=True):
        assert entropy <= math.log(coverage) + SLACK


def test_as_printed_a_biographies_column_could_not_be_true() -> None:
    row = published.BIOGRAPHIES["first_name"]
    printed = (row.coverage[0], row.coverage[2], row.coverage[1])
    assert row.entropy[1] > math.log(printed[1])


def test_natural_draws_are_the_widest() -> None:
    for task, row in published.SINGLE.items():
        entropy, coverage = published.NATURAL[task]
        assert entropy <= math.log(coverage) + SLACK
        assert all(pair.coverage[1] <= coverage for pair in row.values())


def test_the_known_misprint_is_left_out_and_nothing_else() -> None:
    missing = [
        (task, model) for task, row in published.HELD_OUT.items() for model, p in row.items() if not p.entropy
    ]
    assert missing == [(task, published.MISTRAL) for task in published.HELD_OUT]
    assert published.HELD_OUT["names"][published.MISTRAL].entropy_ratio is None


def test_genders_are_counts_of_a_thousand() -> None:
    for column in zip(*published.GENDERS.values(), strict=True):
        assert 950 < sum(column) <= 1000


def test_every_task_has_its_published_row() -> None:
    assert set(published.HELD_OUT) == set(published.TARGETS) == set(NAMES)
