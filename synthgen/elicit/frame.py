"""Where in a prompt the searched tokens stand: what comes before them, and what after.

A soft prompt's vectors stand between two stretches of the prompt's own ids. A hard prompt's words stand in a
template around the user's message, and count only if the whole text, through the chat template, is read back as
the very tokens that were searched. Light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synthgen.elicit.config import FOUND, PROMPT, Position
from synthgen.errors import RecipeError
from synthgen.prompt import Prompt, Tokenizer, as_prompt

if TYPE_CHECKING:
    import numpy as np

_MARK = "\ue000found\ue000"  # a text that no message holds
_TRIES = 200  # random tokens tried for one place of a first hard prompt


@dataclass(frozen=True)
class Frame:
    """The prompt's token ids around the searched ones."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def around(self, found: Sequence[int]) -> tuple[int, ...]:
        """The whole prompt."""
        return (*self.before, *found, *self.after)


def message_prompt(tokenizer: Tokenizer, user: str) -> Prompt:
    """The prompt of a user's message, which may be empty: then what is searched is all of it."""
    return as_prompt(user, tokenizer.chat(user), tokenizer)


def soft_frame(prompt: Prompt, tokenizer: Tokenizer, position: Position) -> Frame:
    """Around a soft prompt: nothing before a prefix; an infix stands behind the user's message.

    Raises:
        RecipeError: the chat template changes the message, so that its end is not found.
    """
    if position == "prefix":
        return Frame((), prompt.ids)
    if prompt.user:
        begin = prompt.chat.rfind(prompt.user)
        if begin < 0:
            raise RecipeError(
                "position: infix: the chat template changes the message's text, so where it ends is not known; "
                "write `position: prefix`"
            )
        text = prompt.chat[: begin + len(prompt.user)]
    else:
        marked = tokenizer.chat(_MARK)
        text = marked[: marked.find(_MARK)]
    n_before = _common(tokenizer.encode(text), prompt.ids)
    return Frame(prompt.ids[:n_before], prompt.ids[n_before:])


class HardFrame:
    """A template around a user's message, into which searched tokens are put as words."""

    def __init__(self, user: str, template: str, tokenizer: Tokenizer) -> None:
        """`user`: the message without the words."""
        self.user, self.template, self.tokenizer = user, template, tokenizer
        self._frame: Frame | None = None

    def message(self, words: str) -> str:
        """The user's message with the words in it."""
        left, _, right = self.template.partition(FOUND)
        left, right = left.replace(PROMPT, self.user), right.replace(PROMPT, self.user)
        return f"{left if self.user else left.lstrip()}{words}{right}"

    def prompt(self, words: str) -> Prompt:
        """The whole prompt with the words in it."""
        message = self.message(words)
        return as_prompt(message, self.tokenizer.chat(message), self.tokenizer)

    def fits(self, found: Sequence[int]) -> bool:
        """Whether the tokens survive decoding and encoding where they stand."""
        frame = self.frame(found)
        if frame is None:
            return False
        text = self.tokenizer.chat(self.message(self.tokenizer.decode(found)))
        return tuple(self.tokenizer.encode(text)) == frame.around(found)

    def frame(self, found: Sequence[int]) -> Frame | None:
        """The ids around the words: always the same; None while no tokens have fitted."""
        if self._frame is None:
            self._frame = self._first_frame(found)
        return self._frame

    def _first_frame(self, found: Sequence[int]) -> Frame | None:
        """Taken from tokens that fit, since a tokenizer may begin a text otherwise than it goes on."""
        chat = self.tokenizer.chat(self.message(_MARK))
        before = tuple(self.tokenizer.encode(chat[: chat.find(_MARK)]))
        text = self.tokenizer.chat(self.message(self.tokenizer.decode(found)))
        whole = tuple(self.tokenizer.encode(text))
        n = len(before) + len(found)
        has_text = all(self.tokenizer.decode([token]) for token in found)  # a turn's end would fit by chance
        if _MARK not in chat or not has_text or whole[:n] != (*before, *found):
            return None
        return Frame(before, whole[n:])


def first_words(
    frames: Sequence[HardFrame], allowed: Sequence[int], n_tokens: int, rng: np.random.Generator
) -> tuple[int, ...]:
    """Random tokens that fit all the frames, one after the other.

    Raises:
        RecipeError: none do; the message says what to change.
    """
    found: list[int] = []
    for _ in range(n_tokens):
        for token in rng.choice(allowed, size=_TRIES).tolist():
            if all(frame.fits((*found, token)) for frame in frames):
                found.append(token)
                break
        else:
            raise RecipeError(
                f"template {frames[0].template!r}: no token at place {len(found) + 1} is read back as itself there; "
                f"put {FOUND} on a line of its own, or search fewer tokens"
            )
    return tuple(found)


def searchable(tokenizer: Tokenizer, readable: bool) -> list[int]:
    """The tokens that a hard prompt may hold: printable ones; `readable`: a word, or part of one, of letters only."""
    kept = []
    for i in range(tokenizer.vocab_size):
        text = tokenizer.decode([i])
        word = text.removeprefix(" ")
        if text.isprintable() and "\ufffd" not in text and word and (word.isalpha() or not readable):
            kept.append(i)
    return kept


def _common(some: Sequence[int], others: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    n = 0
    for a, b in zip(some, others, strict=False):
        if a != b:
            break
        n += 1
    return n
