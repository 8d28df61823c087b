"""How far many prompts are from a target at once: the exact trie loss of each, in packs.

Prompts come as embeddings, so that what is searched may be vectors or tokens. With B prompts of P tokens each, the
packs of the trie are evaluated behind every one of them: the same sequences as in `packing`, B times as many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from synthgen.packing import BATCH_TOKENS, PackBatch, attention_masks, batches
from synthgen.trie import TokenTrie


def parts(
    model: Any,
    prompts: Tensor,
    trie: TokenTrie,
    masses: Tensor | None = None,
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of `prompts`, (B, P, H), with their part of −Σ m(v) log pθ(v); all parts of a row add up to its loss.

    `masses`, (B, N), gives every row a target of its own on the same trie: of next-token targets, whose nodes are
    all the tokens of the vocabulary.
    """
    for batch in batches(trie, [0] * prompts.shape[1], prompts.device, pack_nodes, batch_tokens):
        n_rows = max(1, batch_tokens // batch.n_tokens)
        for start in range(0, len(prompts), n_rows):
            rows = slice(start, min(start + n_rows, len(prompts)))
            yield rows, _losses(model, prompts[rows], batch, None if masses is None else masses[rows])


@torch.no_grad()
def cross_entropies(
    model: Any,
    prompts: Tensor,
    trie: TokenTrie,
    masses: Tensor | None = None,
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Tensor:
    """(B,) cross-entropy of the target behind each of (B, P, H) prompts, in nats."""
    total = torch.zeros(len(prompts), device=prompts.device)
    for rows, losses in parts(model, prompts, trie, masses, pack_nodes, batch_tokens):
        total[rows] += losses
    return total


def gradients(
    model: Any,
    prompts: Tensor,
    trie: TokenTrie,
    masses: Tensor | None = None,
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[Tensor, Tensor]:
    """(B,) cross-entropies, and (B, P, H) of each row's its gradient by the row."""
    leaf = prompts.detach().requires_grad_()
    total = torch.zeros(len(prompts), device=prompts.device)
    for rows, losses in parts(model, leaf, trie, masses, pack_nodes, batch_tokens):
        losses.sum().backward()  # type: ignore[no-untyped-call]
        total[rows] += losses.detach()
    assert leaf.grad is not None
    return total, leaf.grad


def embed(model: Any, ids: Tensor) -> Tensor:
    """The model's embeddings of token ids, (…, H), as its layers get them."""
    found: Tensor = model.get_input_embeddings()(ids)
    return found.detach()


def _losses(model: Any, prompts: Tensor, batch: PackBatch, masses: Tensor | None) -> Tensor:
    """(b,) the batch's part of the loss behind each of (b, P, H) prompts."""
    b, n_prompt, _ = prompts.shape
    n_packs, length = batch.ids.shape
    nodes = embed(model, batch.ids[:, n_prompt:])  # (packs, n, H)
    before = prompts[:, None].expand(-1, n_packs, -1, -1)
    inputs = torch.cat([before, nodes[None].expand(b, -1, -1, -1)], 2)  # (b, packs, P + n, H)
    masks = attention_masks(model, batch)
    out = model(
        inputs_embeds=inputs.flatten(0, 1),
        attention_mask={kind: _tiled(mask, b) for kind, mask in masks.items()}
        if isinstance(masks, dict)
        else _tiled(masks, b),
        position_ids=batch.positions.repeat(b, 1),
        use_cache=False,
        logits_to_keep=length - n_prompt + 1,
    )
    logits = out.logits.float().unflatten(0, (b, n_packs))  # (b, packs, n + 1, V)
    chosen = logits[:, batch.row, batch.column, batch.token]  # (b, r)
    log_probs = chosen - logits.logsumexp(-1)[:, batch.row, batch.column]
    mass = batch.mass if masses is None else masses[:, batch.read]
    losses: Tensor = -(mass * log_probs).sum(-1)
    return losses


def _tiled(mask: Tensor, b: int) -> Tensor:
    """The mask of one prompt's packs, (packs, 1, L, L), for b prompts one after the other."""
    return mask.repeat(b, 1, 1, 1)
