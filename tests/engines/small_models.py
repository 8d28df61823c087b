"""Small random Llama folders and strong random LoRA adapters: every engine must serve them alike.

The head size is 64, which vLLM's CPU attention supports. Weights are drawn wide, so that greedy choices are
clear and an adapter changes every answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PRINTED = [
    *range(33, 127),
    *range(161, 173),
    *range(174, 256),
]  # bytes that byte-level BPE writes as themselves
OTHERS = [byte for byte in range(256) if byte not in PRINTED]
BYTES = [chr(b if b in PRINTED else 256 + OTHERS.index(b)) for b in range(256)]  # so a token's id is its byte
STOP = "<|end|>"


@dataclass(frozen=True)
class SmallModel:
    """A model folder, its adapters and the token that ends an answer."""

    path: Path
    adapters: dict[str, Path]
    stop_id: int
    vocab_size: int


def write_small_model(
    folder: Path,
    adapter_names: tuple[str, ...] = (),
    *,
    hidden: int = 128,
    layers: int = 2,
    vocab_size: int = 320,
    ranks: tuple[int, ...] = (4,),
    seed: int = 0,
    init: float = 0.1,
    lora_std: float = 0.12,
) -> SmallModel:
    """Write a byte-level model of `hidden // 64` heads under folder/model and adapters under folder/<name>."""
    vocab = {text: i for i, text in enumerate([*BYTES, STOP])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=STOP, pad_token=STOP)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=init,
        bos_token_id=None,
        eos_token_id=vocab[STOP],
        pad_token_id=vocab[STOP],
    )
    path = folder / "model"
    LlamaForCausalLM(config).save_pretrained(path)
    fast.save_pretrained(path)
    adapters = {}
    for i, name in enumerate(adapter_names):
        base = AutoModelForCausalLM.from_pretrained(path)
        torch.manual_seed(seed + 1 + i)
        rank = ranks[i % len(ranks)]
        lora = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
        with torch.no_grad():
            for key, weight in lora.named_parameters():
                if "lora_" in key:
                    weight.normal_(0.0, lora_std)
        adapters[name] = folder / name
        lora.save_pretrained(adapters[name])
    return SmallModel(path, adapters, vocab[STOP], vocab_size)
