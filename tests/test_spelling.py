"""Other spellings: one text in other tokens is counted, and only among what is accepted."""

from collections.abc import Sequence

import pytest

from synthgen.engines.protocol import Completion
from synthgen.prompt import Prompt
from synthgen.spelling import Spelling
from synthgen.validation import Record, Rejection

STOP = 9
PIECES = {1: "ab", 2: "a", 3: "b", 4: ">"}


class Pairs:
    """`ab` is one token; `a` and `b` are tokens of their own elsewhere."""

    stop_ids = (STOP,)
    vocab_size = 10

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            token = next(i for i, piece in PIECES.items() if text.startswith(piece))
            ids.append(token)
            text = text[len(PIECES[token]) :]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(PIECES.get(i, "") for i in ids)

    def chat(self, user: str) -> str:
        return user


PROMPT = Prompt(">", ">", (4,), (STOP,), "")


def completion(*ids: int) -> Completion:
    return Completion(0, Pairs().decode(ids), "stop", len(ids), ids)


@pytest.mark.parametrize(
    ("ids", "n_other"),
    [((1, STOP), 0), ((1,), 0), ((2, 3, STOP), 1), ((1, 2, 3, STOP), 1), ((3, 2, STOP), 0)],
)
def test_the_tokenizers_own_tokens_are_told_from_others(ids: tuple[int, ...], n_other: int) -> None:
    spelling = Spelling(PROMPT, Pairs())
    spelling.add(completion(*ids))
    assert (spelling.n, spelling.n_other) == (1, n_other)


def test_the_first_accepted_answers_with_tokens_are_looked_at() -> None:
    spelling = Spelling(PROMPT, Pairs(), most=3)
    assert spelling.share is None
    record = Record(0, 0, "base", {}, 2)
    spelling.watching(lambda record, _: record)(record, Completion(0, "ab", "stop", 2))  # no tokens
    refusal = Rejection(0, 0, "base", "parse", "no_brace", "", "", 2)
    spelling.watching(lambda *_: refusal)(record, completion(2, 3))
    spelling.add(Completion(0, "ab", "stop", 2, (97, 98)))  # another tokenizer's
    assert spelling.share is None
    admit = spelling.watching(lambda record, _: record)
    for ids in ((2, 3), (1,), (1,), (2, 3)):
        assert admit(record, completion(*ids)) is record
    assert spelling.share == 1 / 3
