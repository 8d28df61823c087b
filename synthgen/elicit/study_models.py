"""Next-token distributions that language models produce: the studied model's own, and one of another tokenizer.

The other model is small and made here: two layers and a byte-level tokenizer of its own, trained on the docstrings of
Python's standard library, so that the study needs no download. Its distributions are carried over by text: the mass
of a token goes to the studied model's first token of the same text.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from synthgen.anchor import sample
from synthgen.elicit.study_targets import Source, Target, entropy_of, spread
from synthgen.prompt import Tokenizer
from synthgen.trie import Floats

MESSAGES = (
    "Write a short story about a journey.",
    "Generate a random biography.",
    "Name a fruit.",
    "Give me a number between 1 and 100.",
    "Describe the weather today.",
    "Write one sentence about a river.",
    "List three countries.",
    "Explain how bread is made.",
    "Invent a product and its price.",
    "Write a question that a customer might ask.",
    "What day is it?",
    "Suggest a name for a child.",
)
N_CONTEXTS = 240  # from which targets are chosen, spread over their entropies
LONGEST = 40  # tokens of a context's answer

_VOCABULARY, _WIDTH, _LAYERS, _LENGTH, _BATCH = 1500, 128, 2, 128, 16
_PACKAGES = (
    "collections",
    "email",
    "http",
    "json",
    "logging",
    "multiprocessing",
    "unittest",
    "urllib",
    "xml",
)


def own_targets(model: Any, tokenizer: Tokenizer, n: int, rng: np.random.Generator) -> list[Target]:
    """The model's next-token distributions after its own answers to `MESSAGES`, each cut somewhere."""
    prompts = [tokenizer.encode(tokenizer.chat(message)) for message in MESSAGES]
    contexts = [prompts[i % len(prompts)] for i in range(N_CONTEXTS)]
    generator = torch.Generator(device=model.device).manual_seed(int(rng.integers(2**31)))
    answers = sample(model, contexts, tokenizer.stop_ids, LONGEST, generator)
    cut = [
        [*context, *answer[: int(rng.integers(0, len(answer)))]]
        for context, answer in zip(contexts, answers, strict=True)
    ]
    return _chosen("own", np.stack([_next_token(model, ids) for ids in cut]), tokenizer.vocab_size, n, rng)


def other_targets(tokenizer: Tokenizer, n: int, rng: np.random.Generator, steps: int) -> list[Target]:
    """Next-token distributions of a small model with another tokenizer, carried over to this one's vocabulary."""
    text = _docstrings()
    other = _other_tokenizer(text)
    ids = torch.tensor(other.encode(text).ids)
    model = _trained(ids, int(rng.integers(2**31)), steps)
    starts = rng.integers(0, len(ids) - LONGEST - 1, size=N_CONTEXTS)
    found = [
        _next_token(model, ids[start : start + 1 + int(rng.integers(1, LONGEST))].tolist())
        for start in starts
    ]
    carry = _first_tokens(other, tokenizer)
    carried = np.zeros((len(found), tokenizer.vocab_size))
    for row, probabilities in zip(carried, found, strict=True):
        np.add.at(row, carry[carry >= 0], probabilities[carry >= 0])
    return _chosen("other", carried / carried.sum(1, keepdims=True), tokenizer.vocab_size, n, rng)


def _chosen(source: Source, found: Floats, size: int, n: int, rng: np.random.Generator) -> list[Target]:
    found = found[:, :size] / found[:, :size].sum(1, keepdims=True)
    entropies = np.array([entropy_of(row) for row in found])
    return [Target(source, float(entropies[i]), found[i]) for i in spread(entropies, n, rng)]


@torch.no_grad()
def _next_token(model: Any, ids: Sequence[int]) -> Floats:
    """(V,) probabilities of what follows."""
    logits: Tensor = model(input_ids=torch.tensor([list(ids)], device=model.device)).logits[0, -1]
    return np.asarray(logits.double().softmax(-1).cpu().numpy())


def _docstrings() -> str:
    """The docstrings of the standard library's own files, read, not run."""
    texts: dict[str, None] = {}
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(file.read_text("utf-8", errors="replace"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
                text := ast.get_docstring(node)
            ):
                texts[text] = None
    return "\n\n".join(texts)


def _other_tokenizer(text: str) -> Any:
    bpe: Any = RustTokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([text], trainer)
    return bpe


def _trained(ids: Tensor, seed: int, steps: int) -> Any:
    """A small model of the ids."""
    config = LlamaConfig(
        vocab_size=_VOCABULARY,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2 * _LENGTH,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps)
        starts = torch.randint(0, len(ids) - _LENGTH - 1, (_BATCH,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + _LENGTH] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval().requires_grad_(False)


def _first_tokens(other: Any, tokenizer: Tokenizer) -> np.ndarray[Any, Any]:
    """(V',) this tokenizer's first token of each of the other's tokens; −1 where that has no text of its own."""
    found = []
    for i in range(other.get_vocab_size()):
        text = other.decode([i])
        ids = tokenizer.encode(text) if text and "\ufffd" not in text else []
        found.append(ids[0] if ids else -1)
    return np.array(found)
