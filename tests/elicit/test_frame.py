"""Where searched tokens stand: soft prompts in front or behind the message, words that are read back as they are."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.elicit.config import TEMPLATE, HardConfig, SoftConfig
from synthgen.elicit.frame import HardFrame, first_words, message_prompt, searchable, soft_frame
from synthgen.errors import RecipeError
from synthgen.prompt import Tokenizer
from synthgen.tokenizers import load_tokenizer
from tests.tiny import tiny_tokenizer_folder


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(tiny_tokenizer_folder(tmp_path_factory.mktemp("tokenizer")))


@pytest.mark.parametrize("message", ["Generate a random biography.", ""])
def test_a_soft_prompt_stands_before_all_or_behind_the_message(tokenizer: Tokenizer, message: str) -> None:
    prompt = message_prompt(tokenizer, message)
    assert soft_frame(prompt, tokenizer, "prefix").before == ()
    frame = soft_frame(prompt, tokenizer, "infix")
    assert frame.around(()) == prompt.ids
    assert tokenizer.decode(frame.before) == message
    assert len(frame.after) == 2  # the turn's end, and the answer's begin


def test_a_message_that_the_chat_template_changes_has_no_end_to_stand_behind(tokenizer: Tokenizer) -> None:
    prompt = message_prompt(tokenizer, "shown")
    changed = type(prompt)("hidden", prompt.chat, prompt.ids, prompt.stop_ids, prompt.fingerprint)
    with pytest.raises(RecipeError, match=r"infix.*position: prefix"):
        soft_frame(changed, tokenizer, "infix")


@pytest.mark.parametrize("template", [TEMPLATE, "{found}", "Such as {found}: {prompt}"])
@pytest.mark.parametrize("message", ["{Name}\n{Gender - Female/Male}", ""])
def test_first_words_fit_their_template(tokenizer: Tokenizer, template: str, message: str) -> None:
    frame = HardFrame(message, template, tokenizer)
    allowed = searchable(tokenizer, readable=False)
    ids = first_words([frame], allowed, 6, np.random.default_rng(0))
    assert len(ids) == 6
    prompt = frame.prompt(tokenizer.decode(ids))
    found = frame.frame(ids)
    assert found is not None
    assert prompt.ids == found.around(ids)  # the text is read back as the tokens
    assert tokenizer.decode(ids) in prompt.user


def test_tokens_that_join_do_not_fit(tokenizer: Tokenizer) -> None:
    frame = HardFrame("", "{found}", tokenizer)
    whole = tokenizer.encode("Female")
    letters = [i for letter in "Female" for i in tokenizer.encode(letter)]
    assert frame.fits(whole)
    assert len(letters) > len(whole)
    assert not frame.fits(letters)


def test_special_tokens_do_not_fit(tokenizer: Tokenizer) -> None:
    frame = HardFrame("", "{found}", tokenizer)
    assert not frame.fits([*tokenizer.encode("Male"), tokenizer.stop_ids[0]])


def test_readable_tokens_are_words_of_letters(tokenizer: Tokenizer) -> None:
    some = searchable(tokenizer, readable=True)
    texts = [tokenizer.decode([i]) for i in some]
    assert all(text.strip().isalpha() for text in texts)
    assert 10 < len(some) < len(searchable(tokenizer, readable=False)) < tokenizer.vocab_size


@pytest.mark.parametrize("template", ["{prompt}", "{found}{found}", "{prompt}{prompt}{found}"])
def test_a_template_needs_one_place(template: str) -> None:
    with pytest.raises(RecipeError, match="template: found"):
        HardConfig(template=template)


def test_settings_say_what_was_searched() -> None:
    assert SoftConfig(n_virtual=3).settings()["method"] == "soft-prompt"
    assert HardConfig(n_tokens=3).settings()["n_tokens"] == 3
    with pytest.raises(RecipeError, match="n_virtual is 0"):
        SoftConfig(n_virtual=0)
