"""What a dataset card says of remedies: which was used, and whether rows are independent."""

from __future__ import annotations

from typing import get_args

import pytest

from synthgen.recipe import Asking, Balance
from synthgen.remedy import Remedy
from synthgen.report import remedies
from synthgen.report.reliability import RunFacts


def run_of(remedy: Remedy, **more: object) -> RunFacts:
    return RunFacts.from_mapping({"details": {**remedy.details, **more}})


def test_plain_sampling_is_not_mentioned_and_independent() -> None:
    run = run_of(Remedy())
    assert remedies.balance(run) is remedies.asked(run) is None
    (line,) = remedies.independence(run)
    assert line.startswith("Records are independent draws from the model")


@pytest.mark.parametrize("balance", [way for way in get_args(Balance) if way != "none"])
def test_every_way_to_balance_is_named_with_its_fields(balance: Balance) -> None:
    said = remedies.balance(run_of(Remedy(balance=balance, fields=("name", "gender"))))
    assert said is not None and said.startswith("name, gender: ")


@pytest.mark.parametrize("ask", [way for way in get_args(Asking) if way != "plain"])
def test_every_way_to_ask_is_named(ask: Asking) -> None:
    assert remedies.asked(run_of(Remedy(ask=ask)))


@pytest.mark.parametrize("balance", get_args(Balance))
@pytest.mark.parametrize("ask", get_args(Asking))
def test_rows_are_called_independent_where_they_are(balance: Balance, ask: Asking) -> None:
    remedy = Remedy(balance=balance, fields=("name",), ask=ask)
    said = " ".join(remedies.independence(run_of(remedy)))
    assert ("independent draws" in said) == remedy.is_independent == (balance != "quota" and ask != "avoid")
    assert ("name from the declared distribution" in said) == (
        remedy.is_independent and balance in ("prefill", "in-prompt")
    )


def test_rows_without_repeats_are_not_called_independent() -> None:
    (line,) = remedies.independence(run_of(Remedy(), unique="name"))
    assert "independent" not in line and "none repeats name" in line
