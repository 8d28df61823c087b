"""Prompts that ask for variety in words, and answers of another form than the plain record."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.die import Die
from synthgen.braces import ParseFailure
from synthgen.engines.protocol import Completion, FinishReason
from synthgen.schema import RecordSchema
from synthgen.styles import N_CANDIDATES, after_seed, candidates, most_tokens, reader, worded
from synthgen.validation import Record, Rejection, validate

FIVE = "".join(f"Probability: 0.{i}\n{{Ann {i}}}\n{{{i}}}\n" for i in range(1, 6))
SCHEMA = RecordSchema.from_model(Die)


def completion(text: str, finish: FinishReason = "stop", record_id: int = 0) -> Completion:
    return Completion(record_id, text, finish, 9)


def reason(text: str, finish: FinishReason = "stop") -> str:
    found = candidates(completion(text, finish), 2)
    assert isinstance(found, ParseFailure)
    return found.reason


def test_candidates_come_with_their_probabilities() -> None:
    found = candidates(completion(FIVE), 2)
    assert found == [(i / 10, (f"Ann {i}", str(i))) for i in range(1, 6)]


@pytest.mark.parametrize(
    "head",
    [
        "**Probability:** 0.{i}",
        "{i}. probability = .{i}",
        "- Probability: {i}0 %",
        "Probability 0.{i}",
        "## PROBABILITY: {i}e-1",
    ],
)
def test_a_head_may_be_dressed_up(head: str) -> None:
    text = "Here they are.\n\n" + "\n\n".join(
        f"{head.replace('{i}', str(i))}\n{{Ann}}\n{{{i}}}" for i in range(1, 6)
    )
    found = candidates(completion(text), 2)
    assert isinstance(found, list)
    assert [probability for probability, _ in found] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{Ann}\n{1}", "missing_probability"),
        (FIVE.partition("\n")[2], "missing_probability"),
        ("no idea", "missing_candidate"),
        (FIVE.rpartition("Prob")[0], "missing_candidate"),
        (FIVE + "Probability: 0.1\n{Bob}\n{6}", "extra_candidate"),
        (FIVE.replace("0.3", "often"), "wrong_probability"),
        (FIVE.replace("0.3", "1.3"), "wrong_probability"),
        (FIVE.replace("0.3", "-0.3"), "wrong_probability"),
        (FIVE.replace("0.3", "0.3 {Ann 3}"), "wrong_probability"),
        ("Probability: 0\n{A}\n{1}\n" * N_CANDIDATES, "wrong_probability"),
        (FIVE.replace("{4}\n", ""), "missing_field"),
        (FIVE.replace("{4}", "{}"), "empty_value"),
        (FIVE.replace("{4}", "{4}\n{4}"), "extra_field"),
    ],
)
def test_an_answer_of_another_form_is_refused_with_its_reason(text: str, expected: str) -> None:
    assert reason(text) == expected


def test_what_is_cut_off_is_called_so() -> None:
    assert reason(FIVE[:-4], "length") == "truncated"
    assert reason(FIVE.rpartition("Prob")[0], "length") == "truncated"


def test_one_candidate_is_drawn_by_the_stated_probabilities_and_keyed_by_record_and_attempt() -> None:
    text = "".join(f"Probability: {p}\n{{{i}}}\n" for i, p in enumerate([0.8, 0.4, 0.4, 0, 0], 1))
    read = reader("verbalised", 1, seed=3)
    assert read is not None

    def value(record_id: int, attempt: int) -> str:
        found = read(completion(text, record_id=record_id), attempt)
        assert isinstance(found, tuple)
        return found[0]

    n = 2000
    counts = Counter(value(i, 0) for i in range(n))
    # shares 1/2, 1/4, 1/4: a standard error is 0.011; five of them, one false alarm in a million
    assert counts["1"] / n == pytest.approx(0.5, abs=0.056) and counts["2"] / n == pytest.approx(
        0.25, abs=0.05
    )
    assert set(counts) == {"1", "2", "3"}
    assert [value(i, 0) for i in range(50)] == [value(i, 0) for i in range(50)]
    assert [value(i, 0) for i in range(50)] != [value(i, 1) for i in range(50)]


@pytest.mark.parametrize(
    "text",
    [
        "Seed: kQ3f9xZ1a\n{7}",
        "**Seed:** 01234567\nThe digits add up to 28, so 8.\n{7}",
        "\nseed = ABCDEFGH \n\n{7}",
    ],
)
def test_the_record_stands_behind_the_seed(text: str) -> None:
    assert after_seed(completion(text), 1) == ("7",)


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("{7}", "stop", "missing_seed"),
        ("Seed: short\n{7}", "stop", "missing_seed"),
        ("Seed: {kQ3f9xZ1a}\n{7}", "stop", "missing_seed"),
        ("I choose 7.\nSeed: kQ3f9xZ1a\n{7}", "stop", "missing_seed"),
        ("Seed: kQ3f9xZ1a\n", "stop", "missing_field"),
        ("Seed: kQ3f9xZ1a\n{7", "length", "truncated"),
        ("Seed: kQ3f9xZ1a\n{7}\n{8}", "stop", "extra_field"),
    ],
)
def test_a_wrong_seed_is_refused_with_its_reason(text: str, finish: FinishReason, expected: str) -> None:
    found = after_seed(completion(text, finish), 1)
    assert isinstance(found, ParseFailure) and found.reason == expected


@given(st.text(alphabet="Probability: 0.5%\n{}-1e²Seed8", max_size=80), st.booleans())
def test_no_answer_raises(text: str, truncated: bool) -> None:
    answer = completion(text, "length" if truncated else "stop")
    for found in (candidates(answer, 1), after_seed(answer, 1)):
        assert isinstance(found, ParseFailure | list | tuple)


def test_validation_reads_through_the_style() -> None:
    read = reader("seed-string", 1, seed=0)
    good = validate(SCHEMA, completion("Seed: kQ3f9xZ1a\n{7}"), 0, "base", read)
    assert isinstance(good, Record) and good.values == {"value": 7}
    wrong = validate(SCHEMA, completion("{7}"), 0, "base", read)
    assert isinstance(wrong, Rejection) and (wrong.stage, wrong.reason) == ("parse", "missing_seed")
    out_of_range = validate(SCHEMA, completion("Seed: kQ3f9xZ1a\n{70}"), 0, "base", read)
    assert isinstance(out_of_range, Rejection) and out_of_range.reason == "invalid:value"


def test_a_plain_prompt_stays_as_it_is() -> None:
    assert worded("Roll a die.\n{Number}", "plain") == "Roll a die.\n{Number}"
    assert reader("plain", 1, 0) is reader("varied", 1, 0) is reader("avoid", 1, 0) is None
    assert most_tokens("plain", 160) == 160 and most_tokens("verbalised", 160) == N_CANDIDATES * 160


def test_values_to_use_and_to_avoid_stand_before_what_the_style_adds() -> None:
    lines = worded("Roll.", "varied", [("Number", "7"), ("Colour", "red")], ["1", "2"]).split("\n")
    assert lines[:5] == [
        "Roll.",
        "Use these values:",
        "Number: 7",
        "Colour: red",
        "Do not use any of these values again: 1; 2",
    ]
    assert len(lines) == 6
