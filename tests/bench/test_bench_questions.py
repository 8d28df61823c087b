"""Asking: every answer is counted where it belongs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from synthgen.bench.questions import Prompted, Question, ask, own_answers, perplexities
from synthgen.engines.fake import FakeEngine
from synthgen.errors import EngineError
from synthgen.validation import Record
from tests.bench.planted import lab, tokenizer


def number(folder: Path) -> Question:
    of = lab(folder)
    return of.questions(of.recipe("random-number"), "number", "numbers")[0]


def test_answers_are_counted_on_the_list_and_beside_it(tmp_path: Path) -> None:
    texts = ["{3}", "{3}", "{10}", "{77}"]
    found = ask(FakeEngine(texts, text=tokenizer()), number(tmp_path), None, 40, 1)
    assert found.listed == {"10": 10, "3": 20}
    assert found.other == {"77": 10}
    assert (found.attempted, found.held, found.n, found.n_listed) == (40, 40, 40, 10)


def test_a_failed_form_is_tried_again_and_counts_against_the_rate(tmp_path: Path) -> None:
    engine = FakeEngine(lambda _, rng: "{3}" if rng.random() < 0.5 else "three", text=tokenizer())
    kept: list[Record] = []
    found = ask(engine, number(tmp_path), None, 200, 1, kept.append)
    assert found.attempted == 200
    assert 60 < found.held < 140  # half; beyond by chance once in 10⁸
    assert 150 < found.n == len(kept) <= 200  # four attempts each


def test_answers_that_never_hold_their_form_leave_nothing(tmp_path: Path) -> None:
    found = ask(FakeEngine(["no"], text=tokenizer()), number(tmp_path), None, 20, 1)
    assert (found.attempted, found.held, found.n) == (20, 0, 0)


def test_perplexity_is_per_token_over_all_answers() -> None:
    engine = FakeEngine(["-"], score=lambda _, __, ids: [-math.log(4)] * len(ids))
    answers: dict[str, list[Prompted]] = {
        "numbers": [((1, 2), [(5,), (6, 7)])],
        "names": [((1,), [(9, 9, 9)]), ((2,), [(1,)])],
    }
    assert perplexities(engine, None, answers) == {
        "numbers": pytest.approx(4.0),
        "names": pytest.approx(4.0),
    }


def test_own_answers_stay_with_their_questions(tmp_path: Path) -> None:
    question = number(tmp_path)
    engine = FakeEngine(["{1}", "{2}", "{3}", "{4}"], text=tokenizer(), capacity=3)
    found = own_answers(engine, [question, question], 2, 1)
    assert [tokenizer().decode(one["answer_ids"]) for one in found] == ["{1}", "{2}", "{3}", "{4}"]
    assert all(tuple(one["prompt_ids"]) == question.prompt.ids for one in found)


def test_own_answers_that_never_come_are_a_fault(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="never answered"):
        own_answers(FakeEngine(["{1}"], text=tokenizer(), drop_after=1), [number(tmp_path)], 3, 1)
