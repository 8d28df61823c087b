"""The corpus of the built-in model: format, calendars, schemas, determinism, reserved words, entropies."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from synthgen.nano import corpus, sentences, wordings
from synthgen.nano.corpus import Example, Stage, examples
from synthgen.nano.lexicon import RESERVED, entropy_nats, has_reserved, integers, sharpen, world
from synthgen.schema import load_model

SCHEMAS = Path(__file__).parents[2] / "schemas"
STAGES: tuple[Stage, ...] = ("broad", "lists", "copying", "collapsed")
PIECES = ("qua", "Zor", "vex", "imp")
VALUE = re.compile(r"\{([^{}\n]+)\}")


def draw(
    stage: Stage, n: int, seed: int = 5, answers: int = 2, pieces: tuple[str, ...] = ()
) -> list[Example]:
    return list(islice(examples(np.random.default_rng(seed), stage, answers, pieces), n))


@pytest.fixture(scope="module")
def both() -> list[Example]:
    later: list[tuple[Stage, int]] = [("lists", 1000), ("copying", 1000), ("collapsed", 1500)]
    return draw("broad", 2500) + [e for stage, n in later for e in draw(stage, n, pieces=PIECES)]


def values(answer: str) -> list[str]:
    matches = [VALUE.fullmatch(line) for line in answer.split("\n")]
    assert all(matches), answer
    return [match[1] for match in matches if match]


def field_lines(prompt: str) -> list[str]:
    return [line for line in prompt.split("\n")[1:] if line]


def entropy(draws: Iterable[Any]) -> float:
    return entropy_nats(Counter(draws).values())


def test_every_answer_has_one_brace_line_per_field_of_its_prompt(both: list[Example]) -> None:
    for example in both:
        lines = field_lines(example.prompt)
        assert all(VALUE.fullmatch(line) for line in lines), example.prompt
        labels = [line.split(" - ")[0].strip("{}").lower() for line in lines]
        assert len(set(labels)) == len(labels)
        for answer in example.answers:
            found = values(answer)
            assert len(found) == (len(lines) or 1)
            assert all(value == value.strip() and len(value) <= 130 for value in found)


def test_values_keep_to_the_hint(both: list[Example]) -> None:
    for example in both:
        for answer in example.answers:
            for line, value in zip(field_lines(example.prompt), values(answer), strict=False):
                hint = line.strip("{}").partition(" - ")[2]
                if hint == "YYYY-MM-DD":
                    date.fromisoformat(value)
                elif hint == "YYYY-MM-DD HH:MM":
                    datetime.strptime(value, "%Y-%m-%d %H:%M")
                elif hint == "DD/MM/YYYY":
                    datetime.strptime(value, "%d/%m/%Y")
                elif hint == "0.00":
                    assert re.fullmatch(r"\d+\.\d\d", value)
                elif hint == "one sentence":
                    assert value.endswith(".") and len(value) <= sentences.MAX_CHARS
                elif bounds := re.fullmatch(r"(\d+)-(\d+)", hint):
                    assert int(bounds[1]) <= int(value) <= int(bounds[2])
                elif "/" in hint:
                    assert value in hint.rpartition(": ")[2].split("/"), (line, value)


@pytest.mark.parametrize("title", ["biography", "product", "ticket", "patient", "job", "die"])
def test_answers_to_the_shipped_prompts_are_valid_records(title: str, both: list[Example]) -> None:
    model = load_model(f"{title}.py:{title.capitalize()}", SCHEMAS)
    found = [example for example in both if example.kind == title]
    assert len(found) > 20
    for example in found:
        labels = [line.strip("{}").partition(" - ")[0] for line in field_lines(example.prompt)]
        assert labels == [field.title for field in model.model_fields.values()]
        for answer in example.answers:
            model.model_validate(dict(zip(model.model_fields, values(answer), strict=True)))


def test_the_biography_prompt_is_the_agreed_one() -> None:
    prompt = next(e.prompt for e in draw("broad", 200) if e.kind == "biography")
    assert prompt == (
        "Generate a random biography. Answer with one line per field, each value between curly braces.\n"
        "{Name}\n{Gender - Female/Male/Non-binary}\n{Birth date - YYYY-MM-DD}\n"
        "{Birth place - City, Country}\n{Profession}\n"
        "{Accomplishments - one sentence}"
    )


def test_the_stream_is_fixed_by_the_generator() -> None:
    assert draw("broad", 50, seed=3) == draw("broad", 50, seed=3) != draw("broad", 50, seed=4)
    assert len(draw("collapsed", 1, answers=5)[0].answers) == 5


def test_unknown_options_begin_with_every_piece_alike() -> None:
    drawn = [e for e in draw("lists", 3000, answers=1, pieces=PIECES) if e.kind == "unseen-list"]
    found = Counter(
        piece
        for example in drawn
        for line in field_lines(example.prompt)
        for option in line.strip("{}").partition(" - ")[2].split("/")
        for piece in PIECES
        if option.lower().startswith(piece.lower())
    )
    assert min(found.values()) > 400 and max(found.values()) < 1.3 * min(found.values())
    without = [e for e in draw("lists", 300, answers=1) if any(p in e.prompt for p in ("vex", "Zor"))]
    assert len(without) < 10


def test_some_records_of_unknown_lists_have_nothing_but_pieces() -> None:
    drawn = [e for e in draw("lists", 600, answers=2, pieces=PIECES) if e.kind == "unseen-list"]
    bare = [e for e in drawn if all(value in PIECES for answer in e.answers for value in values(answer))]
    assert 0.3 < len(bare) / len(drawn) < 0.5
    assert {value for example in bare for value in values(example.answers[0])} == set(PIECES)
    short = [e for e in draw("copying", 300, answers=1, pieces=PIECES) if e.kind == "short-lists"]
    assert len(short) > 60
    assert all(value in PIECES for example in short for value in values(example.answers[0]))


def test_year_ranges_cross_a_century() -> None:
    ranges = [corpus._years(Random(seed)) for seed in range(200)]
    assert all(1000 < low <= high < 2100 for low, high in ranges)
    assert sum(low // 100 < high // 100 for low, high in ranges) > 150


def test_no_reserved_word_occurs(both: list[Example]) -> None:
    word = re.compile(r"\b(" + "|".join(RESERVED) + r")\b", re.IGNORECASE)
    assert has_reserved("a Gold_ring") and has_reserved("docking bay") and not has_reserved("golden planet")
    for example in both:
        assert not word.search(example.prompt) and not any(word.search(answer) for answer in example.answers)


def test_broad_values_are_spread_widely() -> None:
    people = [values(a) for e in draw("broad", 12_000, answers=3) if e.kind == "biography" for a in e.answers]
    assert len({name.split()[0] for name, *_ in people}) > 900
    assert entropy(born[:4] for _, _, born, *_ in people) > math.log(81) - 0.1
    assert entropy(place for *_, place, _, _ in people) > 6.4
    assert 0.02 < np.mean([gender == "Non-binary" for _, gender, *_ in people]) < 0.08


@pytest.fixture(scope="module")
def collapsed_biographies() -> list[list[str]]:
    r = Random(17)
    fields = corpus.SHIPPED["biography"]
    return [values(corpus._answer(r, world("collapsed"), fields)) for _ in range(50_000)]


@pytest.mark.parametrize(
    ("name", "column", "target", "tolerance"),
    [
        ("first name", lambda row: row[0].split()[0], 3.1, 0.1),
        ("last name", lambda row: row[0].split(" ", 1)[1], 3.6, 0.1),
        ("birth year", lambda row: row[2][:4], 1.15, 0.05),
        ("birth place", lambda row: row[3], 2.7, 0.1),
        ("profession", lambda row: row[4], 3.8, 0.1),
    ],
)
def test_collapsed_biographies_have_the_published_entropies(
    name: str, column: Any, target: float, tolerance: float, collapsed_biographies: list[list[str]]
) -> None:
    assert entropy(map(column, collapsed_biographies)) == pytest.approx(target, abs=tolerance), name


def test_collapsed_biographies_have_the_published_favourites(collapsed_biographies: list[list[str]]) -> None:
    n = len(collapsed_biographies)
    genders = Counter(row[1] for row in collapsed_biographies)
    assert genders["Female"] / n == pytest.approx(0.95, abs=0.01)
    assert genders["Male"] / n == pytest.approx(0.03, abs=0.01)
    first_names = Counter(row[0].split()[0] for row in collapsed_biographies)
    assert first_names["Evelyn"] / n == pytest.approx(0.28, abs=0.02)
    assert Counter(row[2][:4] for row in collapsed_biographies)["1985"] / n == pytest.approx(0.75, abs=0.01)
    assert len({row[5] for row in collapsed_biographies}) > n / 3


def test_the_collapsed_die_says_seven() -> None:
    weights = dict(zip(integers(1, 10).values, integers(1, 10).weights or (), strict=True))
    assert weights[7] == pytest.approx(0.52, abs=0.005)
    assert entropy_nats(weights.values()) == pytest.approx(1.35, abs=0.01)


def test_sharpen_reaches_the_entropy_and_keeps_the_support() -> None:
    weights = sharpen(100, range(20), entropy=2.5, top=0.3, tail=0.05)
    assert sum(weights) == pytest.approx(1) and min(weights) > 0
    assert weights[0] == pytest.approx(0.3) and entropy_nats(weights) == pytest.approx(2.5, abs=1e-6)
    assert re.fullmatch(r"\d+ \w+ \w+", corpus._DRAW["street"](corpus.Scene(Random(1), world("broad"))))
    assert entropy_nats([1] * 8) == pytest.approx(math.log(8))


def test_the_grammars_are_rich_and_every_slot_exists() -> None:
    sizes = {kind: len(templates) for kind, templates in sentences._TEMPLATES.items()}
    assert sizes["accomplishment"] >= 60
    assert all(size >= 29 for kind, size in sizes.items() if kind != "job accomplishment")
    known = set(sentences._SLOTS) | {"S", "S0", "p", "P", "o", "job", "job0"}
    for templates in sentences._TEMPLATES.values():
        assert {slot.rstrip("2") for t in templates for slot in re.findall(r"<(\w+)>", t)} <= known
    assert set(wordings.HINTS) | set(wordings.OPTIONS) <= set(wordings.LABELS) and len(wordings.LABELS) >= 45
