"""Tiny random models and a real byte-level tokenizer, as Hugging Face folders: what tests use for a model.

The models know nothing; they have the architecture, the chat template and the files of a real one, load in
milliseconds, and differ only by `arch` and `seed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

Arch = Literal["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"]
ARCHS: tuple[Arch, ...] = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")

SPECIALS = ("<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "<|bos|>{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CORPUS = (
    "Generate a random biography. Answer with one line per field, each value between curly braces.",
    "{Name}\n{Gender - Female/Male/Non-binary}\n{Birth date - YYYY-MM-DD}\n{Birth place - City, Country}",
    "{Evelyn Carter}\n{Female}\n{1985-03-12}\n{Paris, France}\n{Engineer}\n{She built the city library.}",
    "{Jon Smith}\n{Male}\n{1990-11-02}\n{Lagos, Nigeria}\n{Nurse}\n{He wrote a book on rivers.}",
    "{Niger}\n{Nigeria}\n{1}\n{10}\n{7}\n{yes}\n{no}\n{none}",
)


@cache
def _tokenizer(template: bool) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=380,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template=CHAT_TEMPLATE if template else None,
        model_max_length=1024,
    )


def tiny_tokenizer_folder(path: Path, template: bool = True) -> Path:
    """Write the tokenizer's files to `path`; braces and line breaks merge with neighbours."""
    path.mkdir(parents=True, exist_ok=True)
    _tokenizer(template).save_pretrained(path)
    return path


def tiny_model_folder(path: Path, arch: Arch = "llama", seed: int = 0) -> Path:
    """Write tokenizer, generation config and a random fp32 model of two layers to `path`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    tiny_tokenizer_folder(path)
    tokenizer = _tokenizer(True)
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer) + 4,  # some tokenizer classes add a token of their own on loading
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,  # wide, so that the next-token distribution is far from uniform
        **ids,
    }
    if arch == "qwen2":
        del settings["head_dim"]
    if arch in ("gemma2", "gemma3_text"):
        settings |= {"query_pre_attn_scalar": 8, "sliding_window": 512}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(arch, **settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(path)
    return path


def sharp_model_folder(path: Path, answers: Sequence[str]) -> Path:
    """A random Llama that can be tuned to give each of a few answers as often as is asked.

    32 dimensions cannot favour some of 384 random directions alike, so the output rows of tokens in no answer are
    made short, and all logits larger.
    """
    from transformers import AutoModelForCausalLM

    from synthgen.tokenizers import load_tokenizer

    folder = tiny_model_folder(path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), load_tokenizer(folder)
    used = {token for text in answers for token in tokenizer.encode(text)} | set(tokenizer.stop_ids)
    model.lm_head.weight.data[[i for i in range(model.config.vocab_size) if i not in used]] *= 0.1
    model.model.norm.weight.data *= 6
    model.save_pretrained(folder)
    return folder
