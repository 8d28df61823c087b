"""The built-in model's tokenizer: byte-level BPE whose record syntax never merges.

Stands before training: `train` reads corpus text once, and `prompt_ids` is the one place that turns a user
message into the ids the model sees (the same ids as the chat template gives; a test holds them equal).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, SYSTEM, USER, ASSISTANT, END = SPECIALS = (
    "<|pad|>",
    "<|bos|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
VOCABULARY = 3072
CHAT_TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train(
    texts: Iterable[str], vocabulary: int = VOCABULARY, max_length: int = 1024
) -> PreTrainedTokenizerFast:
    """Train the tokenizer on `texts`.

    Braces, newlines and digits are single tokens everywhere, so that where a value starts and ends never
    depends on the value. Slashes too, and the dash between label and hint stands apart: an option of a closed list
    has the same tokens in the prompt and in the answer, which makes copying it easy to learn. Byte level: every text survives `decode(encode(text))`. No post-processor: the chat
    template alone writes `<|bos|>`.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" - |[{}\n/]"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in `folder`."""
    return PreTrainedTokenizerFast.from_pretrained(folder)


class Encoder:
    """Ids of prompts and answers, quicker than the chat template and equal to it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.bpe: Tokenizer = tokenizer.backend_tokenizer
        self.pad, self.bos, self.user, self.assistant, self.end = (
            self.bpe.token_to_id(token) for token in (PAD, BOS, USER, ASSISTANT, END)
        )

    def prompt_ids(self, prompt: str) -> list[int]:
        """One user message through the chat template, ending with the generation prompt."""
        return [self.bos, self.user, *self.bpe.encode(prompt).ids, self.end, self.assistant]

    def answer_ids(self, answer: str) -> list[int]:
        """An assistant message with its end token."""
        return [*self.bpe.encode(answer).ids, self.end]

    def pieces(self) -> tuple[str, ...]:
        """Every token of two Latin letters or more that can begin a word after `{` or `/`, in alphabetical order."""
        tokens = self.bpe.get_vocab()
        return tuple(
            sorted(token for token in tokens if len(token) > 1 and token.isascii() and token.isalpha())
        )
