"""Hugging Face tokenizer behind the Tokenizer protocol: the edge where transformers is imported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import RecipeError
from synthgen.models import resolve_model
from synthgen.prompt import Tokenizer

# What chat templates may read: no thinking block before the answer, and Llama's own fallback date instead of
# today's, which would give every day another prompt.
_TEMPLATE_SETTINGS: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}


class HuggingFaceTokenizer:
    """A tokenizer of the transformers library, with the model's stop tokens."""

    def __init__(self, inner: Any, eos_ids: Sequence[int]) -> None:
        """`inner` is the library's tokenizer, `eos_ids` what the model's generation config stops on."""
        self._inner = inner
        self.vocab_size: int = len(inner)
        own = () if inner.eos_token_id is None else (int(inner.eos_token_id),)
        self.stop_ids: tuple[int, ...] = self._turn_end_first(tuple(dict.fromkeys(eos_ids)) or own)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, special tokens in it recognised, none added."""
        ids: list[int] = self._inner.encode(text, add_special_tokens=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids without special tokens."""
        text: str = self._inner.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def chat(self, user: str) -> str:
        """One user message through the chat template; message and line break if there is no template."""
        if not self._inner.chat_template:
            bos = self._inner.bos_token
            begins = self._inner.encode("")[:1] == [self._inner.bos_token_id] if bos else False
            return f"{bos if begins else ''}{user}\n"
        return self._template([{"role": "user", "content": user}], answer_next=True)

    def _template(self, messages: list[dict[str, str]], answer_next: bool) -> str:
        text: str = self._inner.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer_next, **_TEMPLATE_SETTINGS
        )
        return text

    def _turn_end_first(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The stop tokens, first the one that the chat template writes after an answer: the one to train."""
        if len(ids) < 2 or not self._inner.chat_template:
            return ids
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "{7}"}]
        try:
            after = self._template(messages, answer_next=False).rpartition("{7}")[2]
        except Exception:  # a template may refuse anything; then the model's own order stands
            return ids
        return tuple(sorted(ids, key=lambda i: i not in self.encode(after)))


def load_tokenizer(model: str | Path) -> Tokenizer:
    """The tokenizer of "nano", a folder or a hub id. No code of the model is run; RecipeError if it fails."""
    from transformers import AutoTokenizer

    place = resolve_model(str(model))
    local = Path(place).is_dir()
    try:
        inner = AutoTokenizer.from_pretrained(place, trust_remote_code=False, local_files_only=local)
    except Exception as error:  # the library raises many types: no file, no network, no such model, bad JSON
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(
            f"model: the tokenizer of {str(model)!r} cannot be loaded: {type(error).__name__}: {reason}; "
            "expected 'nano', a folder with tokenizer.json, or a hub id that can be reached"
        ) from error
    return HuggingFaceTokenizer(inner, _eos_ids(place, local))


def _eos_ids(place: str, local: bool) -> list[int]:
    """What generation really halts on: `eos_token_id` of the generation config, one id or a list."""
    if local:
        file = Path(place) / "generation_config.json"
        found = json.loads(file.read_text("utf-8")).get("eos_token_id") if file.is_file() else None
    else:
        from transformers import GenerationConfig

        try:
            found = GenerationConfig.from_pretrained(place).eos_token_id
        except OSError:  # the model has none
            found = None
    return [] if found is None else [found] if isinstance(found, int) else [int(i) for i in found]
