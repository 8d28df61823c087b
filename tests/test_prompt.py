"""Prompt and tokenizer: one chat prompt, answers tokenised as the model writes them, the right stop token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from synthgen import braces
from synthgen.errors import RecipeError
from synthgen.models import model_fingerprint, resolve_model
from synthgen.nano import weights_path
from synthgen.prompt import Prompt, Tokenizer, answer_ids, build_prompt
from synthgen.schema import RecordSchema
from synthgen.tokenizers import load_tokenizer
from tests.tiny import tiny_tokenizer_folder


class Person(BaseModel):
    name: str
    age: int = Field(ge=0, le=99)
    born: date


SCHEMA = RecordSchema.from_model(Person)
USER = braces.instruct(SCHEMA)


class Letters:
    """A tokenizer of one token per character; `pairs` are merged into one token wherever they stand."""

    def __init__(self, *pairs: str, template: str = "<{}>") -> None:
        self.stop_ids = (3, 2)
        self.vocab_size = 70_000
        self._pairs, self._template = pairs, template

    def encode(self, text: str) -> list[int]:
        for i, pair in enumerate(self._pairs):
            text = text.replace(pair, chr(0xE000 + i))
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._pairs[i - 0xE000] if i >= 0xE000 else chr(i) for i in ids)

    def chat(self, user: str) -> str:
        return self._template.format(user)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_tokenizer_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "model"))


def test_the_prompt_is_the_user_message_in_the_chat_template(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    prompt = build_prompt(SCHEMA, tokenizer)
    assert prompt.user == USER
    assert prompt.chat == f"<|bos|><|user|>{USER}<|end|><|assistant|>"
    assert prompt.ids[:2] == (1, 2)
    assert prompt.ids[-2:] == (4, 3)
    assert prompt.stop_ids == (4,)
    assert tokenizer.decode(prompt.ids) == USER
    assert tokenizer.vocab_size <= 400


def test_own_instruction_and_own_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    asked = build_prompt(SCHEMA, tokenizer, instruction="Invent a person.")
    assert asked.user.startswith("Invent a person.\n{Name}\n")
    whole = build_prompt(SCHEMA, tokenizer, text="A number, like this: {number}")
    assert whole.user == "A number, like this: {number}"
    assert len({asked.fingerprint, whole.fingerprint, build_prompt(SCHEMA, tokenizer).fingerprint}) == 3


def test_answers_continue_the_prompt(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    prompt = build_prompt(SCHEMA, tokenizer)
    answer = "{Zoë O'Neill}\n{31}\n{1993-02-28}"
    ids = answer_ids(prompt, tokenizer, answer, closed=True)
    assert ids[-1] == prompt.stop_ids[0]
    assert ids[:-1] == answer_ids(prompt, tokenizer, answer, closed=False)
    assert (*prompt.ids, *ids[:-1]) == tuple(tokenizer.encode(prompt.chat + answer))
    assert tokenizer.decode(ids) == answer


def test_a_prompt_that_merges_with_the_answer_is_refused() -> None:
    tokenizer = Letters(">{")
    with pytest.raises(
        RecipeError, match=r"joins the prompt's end '.*>' with the answer's beginning '\{7\}'"
    ):
        answer_ids(build_prompt(SCHEMA, tokenizer, text="x"), tokenizer, "{7}", closed=True)
    fine: Tokenizer = Letters("{7")
    prompt: Prompt = build_prompt(SCHEMA, fine, text="x")
    assert answer_ids(prompt, fine, "{7}", closed=True) == (0xE000, ord("}"), 3)


def test_a_model_without_stop_token_is_refused() -> None:
    tokenizer = Letters()
    tokenizer.stop_ids = ()  # type: ignore[assignment]
    with pytest.raises(RecipeError, match="no end-of-sequence token"):
        build_prompt(SCHEMA, tokenizer)


def edit(file: Path, **settings: Any) -> None:
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **settings}))


@pytest.mark.parametrize(("eos", "expected"), [(3, (3,)), ([3, 4], (4, 3)), ([0, 3], (0, 3)), (None, (4,))])
def test_stop_tokens_come_from_the_generation_config(
    changed: Path, eos: int | list[int] | None, expected: tuple[int, ...]
) -> None:
    """The first is the one that the chat template writes after an answer, here 4."""
    edit(changed / "generation_config.json", eos_token_id=eos)
    assert tuple(load_tokenizer(changed).stop_ids) == expected


def test_without_a_chat_template_the_message_stands_alone(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_tokenizer_folder(tmp_path / "plain", template=False))
    assert tokenizer.chat("Hello") == "Hello\n"


def test_templates_with_thinking_or_the_date_give_one_prompt(changed: Path) -> None:
    (changed / "chat_template.jinja").write_text(
        "{{ date_string or strftime_now('%d') }}{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    assert load_tokenizer(changed).chat("Hi") == "26 Jul 2024Hi<think></think>"


def test_a_tokenizer_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^model: the tokenizer of .* cannot be loaded") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_resolve_model(tmp_path: Path) -> None:
    assert resolve_model("nano") == str(weights_path())
    (tmp_path / "mine").mkdir()
    assert resolve_model("mine", tmp_path) == resolve_model("./mine", tmp_path) == str(tmp_path / "mine")
    assert resolve_model("org/name", tmp_path) == "org/name"
    with pytest.raises(RecipeError, match="found no folder"):
        resolve_model("./absent", tmp_path)


def test_model_fingerprint(changed: Path) -> None:
    assert model_fingerprint("org/name") == "org/name"
    (changed / "model.safetensors").write_bytes(b"one")
    first = model_fingerprint(str(changed))
    assert len(first) == 16
    assert model_fingerprint(str(changed)) == first
    (changed / "model.safetensors").write_bytes(b"other")
    assert model_fingerprint(str(changed)) != first


def test_light_modules_stay_light() -> None:
    code = (
        "import sys, synthgen.schema, synthgen.braces, synthgen.prompt, synthgen.models, synthgen.targets\n"
        "heavy = {'torch', 'transformers', 'polars', 'scipy', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
