"""RecordSchema + tokenizer → Prompt: text and token ids, built once, used by tuning and serving alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from synthgen import braces
from synthgen.errors import RecipeError
from synthgen.schema import RecordSchema


class Tokenizer(Protocol):
    """What a prompt needs of a tokenizer; see tokenizers.py for the one that reads Hugging Face folders."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer; the first is the one that closes a turn in the chat template."""

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens in it recognised, none added."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids without special tokens."""

    def chat(self, user: str) -> str:
        """One user message through the chat template, up to where the answer begins."""


@dataclass(frozen=True)
class Prompt:
    """The one prompt of a recipe: the user message, the same in the chat template, and its token ids."""

    user: str
    chat: str
    ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    fingerprint: str


def build_prompt(
    schema: RecordSchema, tokenizer: Tokenizer, instruction: str | None = None, text: str | None = None
) -> Prompt:
    """The prompt for one record; `text` replaces the whole user message, `instruction` its first line."""
    user = braces.instruct(schema, instruction) if text is None else text
    return as_prompt(user, tokenizer.chat(user), tokenizer)


def as_prompt(user: str, chat: str, tokenizer: Tokenizer) -> Prompt:
    """The prompt whose whole text is `chat`; RecipeError where no token is known to end its answer."""
    ids = tuple(tokenizer.encode(chat))
    stop_ids = tuple(tokenizer.stop_ids)
    if not stop_ids:
        raise RecipeError(
            "model: found no end-of-sequence token; give the tokenizer an eos_token or the model's "
            "generation_config an eos_token_id"
        )
    digest = hashlib.sha256(json.dumps([chat, ids, stop_ids]).encode()).hexdigest()[:16]
    return Prompt(user, chat, ids, stop_ids, digest)


def answer_ids(prompt: Prompt, tokenizer: Tokenizer, answer: str, closed: bool) -> tuple[int, ...]:
    """Token ids of an answer as the model writes it after the prompt; `closed` appends the stop token.

    Prompt and answer are tokenised as a whole. RecipeError if the prompt's ids are no prefix of that: the
    tokenizer then joins the prompt's last characters with the answer's first, and tunes what is not served.
    """
    ids = tokenizer.encode(prompt.chat + answer)
    n = len(prompt.ids)
    if tuple(ids[:n]) != prompt.ids:
        raise RecipeError(
            f"prompt: the tokenizer joins the prompt's end {prompt.chat[-12:]!r} with the answer's beginning "
            f"{answer[:12]!r}; expected a prompt whose tokens stay the same, so end it on another character"
        )
    return (*ids[n:], *(prompt.stop_ids[:1] if closed else ()))
