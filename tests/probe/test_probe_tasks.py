"""Stated distributions and their prompts: what is said is what is measured against."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from synthgen.errors import RecipeError
from synthgen.probe import tasks as t
from synthgen.probe.questions import WORDINGS, Protocol, Wording, longest_answer, message, questions
from tests.probe.scripted import ByteTokenizer


@pytest.mark.parametrize("family", ["extreme", "flat", "binomial", "zipf"])
@pytest.mark.parametrize("kind", ["words", "digits"])
@pytest.mark.parametrize("size", [2, 3, 20])
def test_every_task_states_thousandths_that_sum_to_one(family: str, kind: str, size: int) -> None:
    task = t.make_task(f"{family}/{size}/{kind}")
    assert len(set(task.values)) == len(task.shares) == size
    assert min(task.shares) >= 0.001
    assert sum(task.shares) == pytest.approx(1)
    assert all(1000 * share == pytest.approx(round(1000 * share)) for share in task.shares)


def test_the_families_are_what_they_are_called() -> None:
    assert sorted(t.make_task("extreme/2/words").shares) == [0.05, 0.95]
    assert t.make_task("flat/4/words").shares == (0.25,) * 4
    assert t.make_task("binomial/3/digits").shares == (0.25, 0.5, 0.25)
    assert t.make_task("binomial/3/digits").values == ("0", "1", "2")
    zipf = sorted(t.make_task("zipf/4/words").shares, reverse=True)
    assert zipf == pytest.approx([0.48, 0.24, 0.16, 0.12])


@pytest.mark.parametrize("wording", WORDINGS, ids=lambda wording: wording.name)
def test_a_prompt_states_every_value_and_chance(wording: Wording) -> None:
    task = t.declared_task("heads=0.123456, tails=0.876544", "declared")
    for protocol in get_args(Protocol):
        text = message(task, wording, protocol, 7)
        assert "heads" in text and "tails" in text
        assert "12.3456" in text or "0.123456" in text
        assert ("7" in re.findall(r"\b\d+\b", text)) == (protocol == "list")
        assert "curly braces" in text


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("flat/21/words", "found 21 values"),
        ("flat/1/words", "found 1 values"),
        ("declared/3/words", "no such task"),
        ("flat/3/letters", "no such task"),
        ("flat", "no such task"),
    ],
)
def test_a_wrong_task_is_one_line(name: str, finding: str) -> None:
    with pytest.raises(RecipeError) as caught:
        t.make_task(name)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"--task {name}: {finding}")


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a=0.5,b=0.6", "the chances sum to 1.1; expected 1"),
        ("a=0.5,b=zero", "'b' has the chance 'zero'; expected a number between 0 and 1"),
        ("a=0.5,b=-0.5", "'b' has the chance '-0.5'"),
        ("a=1", "'a' has the chance '1'"),
        ("a=0.5,a=0.5", "found the value 'a' twice"),
        ("a=0.5,{b}=0.5", "expected VALUE=CHANCE, the value without curly braces"),
        ("a=0.5,0.5", "expected VALUE=CHANCE"),
        (",".join(f"v{i}=0.04" for i in range(25)), "found 25 values; expected 2 to 20"),
    ],
)
def test_a_wrong_declaration_is_one_line(text: str, finding: str) -> None:
    with pytest.raises(RecipeError) as caught:
        t.declared_task(text, "declared")
    assert len(caught.value.problems) == 1
    assert finding in caught.value.problems[0]


def test_a_battery_reports_every_fault_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        t.battery(["flat/99/words", "flat/3/words"], ["a=0.5,b=0.6"])
    assert len(caught.value.problems) == 2
    assert [task.name for task in t.battery()] == list(t.STANDARD)
    assert [task.name for task in t.battery(declared=["a=0.5,b=0.5"])] == ["declared"]


def test_every_task_is_asked_in_every_wording_and_both_protocols() -> None:
    asked = questions(t.battery(), 5, 3, ByteTokenizer())
    assert len(asked) == 6 * 3 * 2
    assert len({question.prompt.ids for question in asked}) == len(asked)
    assert longest_answer(asked, 5, ByteTokenizer()) == len("{pepper}\n" * 5) - 1 + 1  # its stop token


def test_more_values_than_tokens_is_one_line() -> None:
    class Tiny(ByteTokenizer):
        vocab_size = 9

    with pytest.raises(
        RecipeError, match="task flat/10/digits: found 10 values; the model's vocabulary has 9"
    ):
        questions([t.make_task("flat/10/digits")], 5, 1, Tiny())
