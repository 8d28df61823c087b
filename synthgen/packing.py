"""One forward pass over a prompt and a token trie: packed log-probabilities, equal to the one-by-one ones.

Stands between `trie` and `tuning`. A pack is one sequence, prompt ids + trie nodes; position ids follow depth
and a 4-D mask lets a node see the prompt, its ancestors and itself. Packs of one prompt are batched, padded
to the longest. Where a trie makes several packs the prompt is not in them: it is run once, they stand behind
its keys and values, and their gradients gather there until one backward pass takes them through the prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthgen.errors import SynthgenError
from synthgen.shared_prompt import SharedPrompt
from synthgen.trie import Floats, Pack, TokenTrie

# The mask is dense, so a node attends over the whole pack behind the prompt, seen or not: small packs waste less. But a
# cut repeats a path. By `bench/tuning_step.py --pace`.
PACK_NODES = 128  # behind a shared prompt; a pack that carries its prompt takes twice as many
PACK_PATHS = 3  # … but no fewer than these times the longest path
BATCH_TOKENS = 1024

ATTENTION_KINDS = ("full_attention", "sliding_attention")


@dataclass(frozen=True, eq=False)
class PackBatch:
    """Packs of one trie, ready for the model. B packs, P prompt tokens, n node slots, r nodes read."""

    ids: Tensor  # (B, P + n); P is 0 where the prompt is shared
    positions: Tensor  # (B, P + n)
    nodes: Tensor  # (B, n) trie node of each slot, padding N
    ends: Tensor  # (B, n) one past the node's subtree, padding 0: seen by nobody
    n_prompt: int
    row: Tensor  # (r,) where each node is read: pack …
    column: Tensor  # (r,) … and 0 for the prompt's last token, i + 1 for slot i; one less where it is shared
    token: Tensor  # (r,)
    mass: Tensor  # (r,) float32
    read: Tensor  # (r,) trie node
    n_shared: int = 0  # tokens of a prompt that is run apart, and seen by all

    @property
    def n_tokens(self) -> int:
        """Tokens evaluated, padding included."""
        return self.ids.numel()

    def mask(self, window: int | None = None) -> Tensor:
        """(B, 1, L, S + L), True where a query may look; S: the shared prompt; `window`: of sliding attention."""
        n_packs, length = self.ids.shape
        n_shared, first = self.n_shared, self.n_shared + self.n_prompt
        allowed = torch.ones(length, n_shared + length, dtype=torch.bool, device=self.ids.device)
        allowed = allowed.tril(n_shared).expand(n_packs, -1, -1).clone()
        query, key = self.nodes[:, :, None], self.nodes[:, None, :]
        allowed[:, self.n_prompt :, first:] = (key <= query) & (query < self.ends[:, None, :])
        if window is not None:
            shared = torch.arange(n_shared, device=self.ids.device).expand(n_packs, -1)
            keys = torch.cat([shared, self.positions], 1)  # (B, S + L)
            allowed &= self.positions[:, :, None] - keys[:, None, :] < window
        return allowed[:, None]


def collate(
    trie: TokenTrie,
    packs: Sequence[Pack],
    prompt_ids: Sequence[int],
    device: torch.device,
    shared: bool = False,
) -> PackBatch:
    """Batch packs of one trie under one prompt, padded on the right; `shared`: the prompt is run apart."""
    n_shared = len(prompt_ids) if shared else 0
    n_packs, n_prompt = len(packs), len(prompt_ids) - n_shared
    n_slots = max(len(pack.nodes) for pack in packs)
    ids = np.zeros((n_packs, n_prompt + n_slots), dtype=np.int64)
    ids[:, :n_prompt] = prompt_ids[:n_prompt]
    positions = np.tile(np.arange(n_prompt + n_slots), (n_packs, 1))
    nodes = np.full((n_packs, n_slots), len(trie), dtype=np.int64)
    ends = np.zeros((n_packs, n_slots), dtype=np.int64)
    for i, pack in enumerate(packs):
        n = len(pack.nodes)
        ids[i, n_prompt : n_prompt + n] = trie.token[pack.nodes]
        positions[i, n_prompt : n_prompt + n] = len(prompt_ids) + trie.depth[pack.nodes]
        positions[i, n_prompt + n :] = len(prompt_ids)
        nodes[i, :n], ends[i, :n] = pack.nodes, trie.end[pack.nodes]
    read = np.concatenate([pack.read for pack in packs])

    def to(array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    return PackBatch(
        ids=to(ids),
        positions=to(positions),
        nodes=to(nodes),
        ends=to(ends),
        n_prompt=n_prompt,
        row=to(np.repeat(np.arange(n_packs), [len(pack.read) for pack in packs])),
        column=to(np.concatenate([pack.read_at for pack in packs]) - shared),
        token=to(trie.token[read]),
        mass=to(trie.mass[read].astype(np.float32)),
        read=to(read),
        n_shared=n_shared,
    )


def batches(
    trie: TokenTrie,
    prompt_ids: Sequence[int],
    device: torch.device,
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Iterator[PackBatch]:
    """The whole trie in batches of at most `batch_tokens` tokens (or one pack), like sizes together."""
    packs = trie.packs(pack_nodes or pack_room(trie, shared=False))
    yield from _batches(trie, packs, prompt_ids, device, batch_tokens, shared=False)


def pack_room(trie: TokenTrie, shared: bool) -> int:
    """The nodes of a pack where nothing else is asked; `shared`: it stands behind a prompt that is run apart."""
    longest = int(trie.depth.max(initial=0)) + 1
    return max(PACK_NODES * (1 if shared else 2), PACK_PATHS * longest)


def _batches(
    trie: TokenTrie,
    packs: Sequence[Pack],
    prompt_ids: Sequence[int],
    device: torch.device,
    batch_tokens: int,
    shared: bool,
) -> Iterator[PackBatch]:
    packs = sorted(packs, key=lambda pack: -len(pack.nodes))
    start = 0
    while start < len(packs):
        longest = len(packs[start].nodes) + (0 if shared else len(prompt_ids))
        stop = start + max(1, batch_tokens // max(1, longest))
        yield collate(trie, packs[start:stop], prompt_ids, device, shared)
        start = stop


def attention_masks(model: Any, batch: PackBatch) -> Tensor | dict[str, Tensor]:
    """The batch's mask as the model's attention wants it: per kind of layer, boolean for SDPA, else additive.

    Raises SynthgenError where a model has layers that no 4-D mask reaches (linear attention, chunks).
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if strange := sorted(kinds - set(ATTENTION_KINDS)):
        raise SynthgenError(
            f"model {model.config.model_type!r} has layers of kind {', '.join(strange)}; tuning needs "
            "attention "
            f"that takes a mask ({', '.join(ATTENTION_KINDS)}): choose another model"
        )
    window = getattr(config, "sliding_window", None)

    def form(mask: Tensor) -> Tensor:
        if config._attn_implementation == "sdpa":
            return mask
        return torch.zeros(mask.shape, dtype=model.dtype, device=mask.device).masked_fill_(
            ~mask, torch.finfo(model.dtype).min
        )

    if not kinds:
        return form(batch.mask(window))
    full = form(batch.mask())
    return {kind: full if kind == "full_attention" else form(batch.mask(window)) for kind in sorted(kinds)}


def pack_logits(model: Any, batch: PackBatch, prompt: SharedPrompt | None = None) -> Tensor:
    """(B, n + 1, V) float32 logits after the prompt's last token and after every node slot.

    (B, n, V) behind a shared prompt, whose own logits it holds.
    """
    out = model(
        input_ids=batch.ids,
        attention_mask=attention_masks(model, batch),
        position_ids=batch.positions,
        past_key_values=None if prompt is None else prompt.cache,
        use_cache=prompt is not None,
        logits_to_keep=batch.ids.shape[1] - batch.n_prompt + (prompt is None),
    )
    logits: Tensor = out.logits.float()
    return logits


def read_log_probs(logits: Tensor, batch: PackBatch, prompt: SharedPrompt | None = None) -> Tensor:
    """(r,) log pθ(token | path) of the nodes the batch reads, from `pack_logits`."""
    chosen = logits[batch.row, batch.column, batch.token]
    log_probs = chosen - logits.logsumexp(-1)[batch.row, batch.column]
    if prompt is None:
        return log_probs
    first = prompt.logits[0, 0].log_softmax(-1)[batch.token]
    return torch.where(batch.column < 0, first, log_probs)


def pack_loss(model: Any, batch: PackBatch, prompt: SharedPrompt | None = None) -> tuple[Tensor, Tensor]:
    """The batch's part of the trie loss, −Σ m(v) log pθ(v), and the (r,) log pθ(v) behind it."""
    log_probs = read_log_probs(pack_logits(model, batch, prompt), batch, prompt)
    return -(batch.mass * log_probs).sum(), log_probs


def backward_trie(
    model: Any,
    trie: TokenTrie,
    prompt_ids: Sequence[int],
    scale: float = 1.0,
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    autocast: AbstractContextManager[object] | None = None,
) -> tuple[Floats, int]:
    """Add `scale` times the gradient of the trie loss; returns (N,) log pθ(v) and the tokens evaluated.

    `autocast` is entered for every forward pass.
    """
    autocast = autocast if autocast is not None else nullcontext()
    with autocast:
        prompt, parts = _plan(model, trie, prompt_ids, pack_nodes, batch_tokens)
    values = np.zeros(len(trie))
    n_tokens = 0 if prompt is None else prompt.n
    for batch in parts:
        with autocast:
            loss, log_probs = pack_loss(model, batch, prompt)
        (scale * loss).backward()  # type: ignore[no-untyped-call]
        values[batch.read.cpu().numpy()] = log_probs.detach().double().cpu().numpy()
        n_tokens += batch.n_tokens
    if prompt is not None:
        prompt.backward()
    return values, n_tokens


def _plan(
    model: Any, trie: TokenTrie, prompt_ids: Sequence[int], pack_nodes: int | None, batch_tokens: int
) -> tuple[SharedPrompt | None, Iterator[PackBatch]]:
    """The prompt, run already, where several packs share it; and the batches of a trie."""
    if pack_nodes is None:
        alone = pack_room(trie, shared=False)
        fits = np.count_nonzero(~trie.is_leaf) <= alone
        pack_nodes = alone if fits else pack_room(trie, shared=True)
    packs = trie.packs(pack_nodes)
    prompt = SharedPrompt(model, prompt_ids) if len(packs) > 1 else None
    return prompt, _batches(trie, packs, prompt_ids, model.device, batch_tokens, prompt is not None)


@torch.no_grad()
def node_log_probs(
    model: Any,
    trie: TokenTrie,
    prompt_ids: Sequence[int],
    pack_nodes: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Floats:
    """(N,) log pθ(token(v) | prompt, path to v) of every node, in nats."""
    values = np.zeros(len(trie))
    prompt, parts = _plan(model, trie, prompt_ids, pack_nodes, batch_tokens)
    for batch in parts:
        _, log_probs = pack_loss(model, batch, prompt)
        values[batch.read.cpu().numpy()] = log_probs.double().cpu().numpy()
    return values


@torch.no_grad()
def check_packing(model: Any, trie: TokenTrie, prompt_ids: Sequence[int], n_targets: int = 4) -> float:
    """Largest difference in nats between packed and one-by-one log-probabilities on a few targets.

    Raises SynthgenError where it is beyond rounding: the architecture does not honour the mask or the
    positions.
    """
    leaves = np.flatnonzero(trie.is_leaf)
    some = leaves[np.unique(np.linspace(0, len(leaves) - 1, n_targets).astype(int))]
    paths = [trie.path(int(leaf)) for leaf in some]
    few = TokenTrie.from_sequences([trie.token[path].tolist() for path in paths], [1.0] * len(paths))
    half = max(1, int((~few.is_leaf).sum()) // 2)  # so that the prompt is shared in one of the two
    packed = [node_log_probs(model, few, prompt_ids, pack_nodes) for pack_nodes in (len(few), half)]
    worst = 0.0
    for leaf in np.flatnonzero(few.is_leaf):
        path = few.path(int(leaf))
        ids = torch.tensor([[*prompt_ids, *few.token[path].tolist()]], device=model.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(path) + 1).logits.float()
        plain = logits[0, :-1].log_softmax(-1).gather(1, ids[0, len(prompt_ids) :, None])[:, 0]
        expected = plain.double().cpu().numpy()
        worst = max([worst, *(float(np.abs(expected - found[path]).max()) for found in packed)])
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.5
    if not worst <= tolerance:
        raise SynthgenError(
            f"model {model.config.model_type!r}: packed log-probabilities differ from plain ones by "
            f"{worst:.3g} nats "
            f"(at most {tolerance} expected); its attention does not follow a 4-D mask: choose another model"
        )
    return worst
