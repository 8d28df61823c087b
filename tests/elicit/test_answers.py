"""Target files: what is read, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthgen.elicit.answers import AnswerTarget, answer_trie, read_answers
from synthgen.elicit.frame import message_prompt
from synthgen.errors import RecipeError
from synthgen.prompt import Tokenizer
from synthgen.tokenizers import load_tokenizer
from tests.tiny import tiny_tokenizer_folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


def written(folder: Path, text: str, name: str = "target.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("target.yaml", "yes: 0.25\n1: 0.75\n"),
        ("target.json", '{"yes": 0.25, "1": 0.75}'),
        ("target.yaml", '"yes": .25\n"1": 75e-2'),
    ],
)
def test_answers_are_taken_word_for_word(tmp_path: Path, name: str, text: str) -> None:
    target = read_answers(written(tmp_path, text, name))
    assert target.answers == ("yes", "1")
    assert target.weights.tolist() == [0.25, 0.75]


def test_rounded_thirds_are_made_to_add_up_to_one(tmp_path: Path) -> None:
    target = read_answers(written(tmp_path, "a: 0.333\nb: 0.333\nc: 0.333"))
    assert target.weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("target.yaml", "a: 0.5\nb: 0.4", r"add up to 0\.9; expected 1"),
        (
            "target.yaml",
            "a: 0.5\nb: -0.5",
            r"target\.yaml:2: 'b': found the weight '-0\.5'; expected a number",
        ),
        ("target.yaml", "a: 0.5\na: 0.5", r"target\.yaml:2: 'a' stands twice"),
        ("target.json", '{"a": 0.5, "a": 0.5}', r"'a' stands twice"),
        ("target.json", '{"a": true}', r"'a': found the weight True"),
        ("target.yaml", "a: {b: 1}", r"target\.yaml:1: found a nested entry"),
        ("target.yaml", "- a", r"found no mapping"),
        ("target.yaml", "", r"found no answer"),
        ("target.yaml", "a: [", r"no YAML"),
        ("target.json", "{", r"no JSON"),
        ("target.json", "3", r"found int; expected an object"),
    ],
)
def test_a_wrong_file_gets_one_line(tmp_path: Path, name: str, text: str, line: str) -> None:
    with pytest.raises(RecipeError, match=line) as error:
        read_answers(written(tmp_path, text, name))
    assert len(error.value.problems) == 1
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read: No such file"):
        read_answers(tmp_path / "none.yaml")


def test_answers_end_with_the_stop_token_or_are_left_open(tokenizer: Tokenizer) -> None:
    prompt = message_prompt(tokenizer, "A number?")
    target = AnswerTarget("t", ("7", "10"), np.array([0.25, 0.75]))
    trie = answer_trie(target, prompt, tokenizer)
    leaves = np.flatnonzero(trie.is_leaf)
    assert {int(token) for token in trie.token[leaves]} == {prompt.stop_ids[0]}
    assert trie.entropy() == pytest.approx(-(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))
    singles = AnswerTarget("t", ("a", "7"), np.array([0.25, 0.75]))
    assert len(answer_trie(singles, prompt, tokenizer, next_token=True)) == 2
    with pytest.raises(RecipeError, match=r"'zzqq' is \d tokens of this model"):
        answer_trie(AnswerTarget("t", ("a", "zzqq"), np.array([0.5, 0.5])), prompt, tokenizer, True)


def test_a_support_larger_than_the_vocabulary_is_refused(tokenizer: Tokenizer) -> None:
    n = tokenizer.vocab_size + 1
    target = AnswerTarget("many", tuple(map(str, range(n))), np.full(n, 1 / n))
    with pytest.raises(RecipeError, match=rf"found {n} answers; the model's vocabulary holds {n - 1} tokens"):
        answer_trie(target, message_prompt(tokenizer, "?"), tokenizer)
