"""Tiny models that a prompt can move, and targets for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthgen.elicit.answers import AnswerTarget, answer_trie
from synthgen.elicit.frame import message_prompt
from synthgen.elicit.goal import Goal
from synthgen.tokenizers import load_tokenizer
from tests.tiny import Arch, tiny_model_folder

ANSWERS = ("yes", "no", "none", "7", "10")
WEIGHTS = (0.4, 0.3, 0.1, 0.1, 0.1)


def model_folder(folder: Path, arch: Arch = "llama") -> Path:
    return tiny_model_folder(folder, arch)


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def goal(folder: Path, message: str = "Answer.", next_token: bool = False) -> Goal:
    """Short answers, of one to three tokens and the stop token; `next_token`: single tokens, left open."""
    tokenizer = load_tokenizer(folder)
    prompt = message_prompt(tokenizer, message)
    target = AnswerTarget("test", ANSWERS, np.array(WEIGHTS))
    if next_token:
        target = AnswerTarget("test", ("a", "b", "7"), np.array([0.5, 0.3, 0.2]))
    return Goal("test", prompt, tokenizer, answer_trie(target, prompt, tokenizer, next_token))


def brute_force_kl(model: Any, inputs: torch.Tensor, some: Goal) -> float:
    """KL(p* ‖ p) of a goal's answers behind the embeddings of a prompt, (P, H): answer by answer, no trie."""
    trie, total = some.trie, 0.0
    table = model.get_input_embeddings()
    for leaf in np.flatnonzero(trie.is_leaf):
        ids = torch.tensor(trie.token[trie.path(int(leaf))])
        embeds = torch.cat([inputs, table(ids)])[None]
        with torch.no_grad():
            logits = model(inputs_embeds=embeds, use_cache=False).logits[0].double()
        scores = logits.log_softmax(-1)[len(inputs) - 1 : -1].gather(1, ids[:, None])
        weight = float(trie.mass[leaf])
        total += weight * (np.log(weight) - float(scores.sum()))
    return total
