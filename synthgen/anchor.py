"""Do no harm: what tuning must leave alone, held fast and watched.

Stands beside `tuning`. Before tuning, the base model continues fresh target tuples to whole answers; these
contexts are the anchor. On them KL(p_base ‖ pθ) over the fields after the tuned ones is exact token by token
(adapter switched off: p_base), so the adapter learns to leave the continuation alone whatever the leading
values. `watch` samples whole answers and counts how many still hold their format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from synthgen.packing import PackBatch, collate, pack_logits, pack_room
from synthgen.trie import Builder, TokenTrie

if TYPE_CHECKING:
    from synthgen.prompt import Prompt, Tokenizer
    from synthgen.schema import RecordSchema

AnchorKind = Literal["none", "structure", "full"]

CACHE_BYTES = 512 * 2**20  # an adapter's base log-probabilities are kept while they fit, else computed again


@torch.no_grad()
def sample(
    model: Any,
    contexts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    generator: torch.Generator,
    batch_size: int = 128,
) -> list[list[int]]:
    """Draw one continuation per context at temperature 1 from the whole distribution, stop token included."""
    answers: list[list[int]] = []
    for start in range(0, len(contexts), batch_size):
        answers += _sample(model, contexts[start : start + batch_size], stop_ids, max_new_tokens, generator)
    return answers


def _sample(
    model: Any,
    contexts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[list[int]]:
    """One batch. What all contexts begin with, most often the whole prompt, is run once for all rows."""
    device, n_rows, n_shared = model.device, len(contexts), _n_shared(contexts)
    cache = None
    if n_shared:
        head = torch.tensor([list(contexts[0][:n_shared])], device=device)
        cache = model(input_ids=head, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(n_rows)
    longest = max(map(len, contexts)) - n_shared
    fill = stop_ids[0]
    tails = [list(context[n_shared:]) for context in contexts]
    ids = torch.tensor([[fill] * (longest - len(tail)) + tail for tail in tails], device=device)
    seen = [[1] * n_shared + [0] * (longest - len(tail)) + [1] * len(tail) for tail in tails]
    mask = torch.tensor(seen, device=device)  # (B, S + T), padding between the shared tokens and a row's own
    stops = torch.tensor(list(stop_ids), device=device)
    running = torch.ones(n_rows, dtype=torch.bool, device=device)
    drawn: list[Tensor] = []
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, n_shared:]
    for _ in range(max_new_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = out.past_key_values
        token = _drawn(out.logits[:, -1], generator)  # (B, 1)
        drawn.append(torch.where(running[:, None], token, -1))
        running = running & ~torch.isin(token[:, 0], stops)
        if not running.any():
            break
        ids, positions = token, positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(token)], 1)
    return [[t for t in row if t >= 0] for row in torch.cat(drawn, 1).tolist()]


def _n_shared(contexts: Sequence[Sequence[int]]) -> int:
    """How many first tokens all of several contexts share, so that each keeps one of its own."""
    if len(contexts) < 2:
        return 0
    rows = [list(context) for context in contexts]
    least, most = min(rows), max(rows)  # in the order of their ids all others lie between
    n = min(map(len, rows)) - 1
    return next((i for i in range(n) if least[i] != most[i]), n)


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1) one token per row of (B, V), by inversion, which a CPU does in less than half the time of `torch.multinomial`."""
    chances = logits.double().softmax(-1).cumsum(-1)  # (B, V)
    mark = torch.rand(len(chances), 1, generator=generator, device=chances.device, dtype=chances.dtype)
    last = chances.shape[1] - 1
    return torch.searchsorted(chances, mark * chances[:, -1:], right=True).clamp(max=last)


@dataclass(frozen=True)
class Health:
    """What `n` sampled answers say."""

    n: int
    format_rate: float  # answers that stop by themselves, parse and make a record
    distinct: dict[str, int]  # per field, distinct values among those


def watch(
    model: Any,
    prompt: Prompt,
    tokenizer: Tokenizer,
    schema: RecordSchema,
    n: int,
    max_new_tokens: int,
    generator: torch.Generator,
) -> Health:
    """Sample `n` whole answers and judge them as a run would."""
    answers = sample(model, [prompt.ids] * n, prompt.stop_ids, max_new_tokens, generator)
    records = [
        r for ids in answers if (r := judge_answer(schema, tokenizer, ids, prompt.stop_ids)) is not None
    ]
    distinct = {name: len({record[i] for record in records}) for i, name in enumerate(schema.names)}
    return Health(n, len(records) / n, distinct)


def judge_answer(
    schema: RecordSchema, tokenizer: Tokenizer, ids: Sequence[int], stop_ids: Sequence[int]
) -> tuple[str, ...] | None:
    """The fields' texts of a sampled answer that stops by itself, parses and makes a record; else None."""
    from pydantic import ValidationError

    from synthgen.braces import ParseFailure, convert, parse

    if ids[-1] not in stop_ids:
        return None
    strings = parse(tokenizer.decode(ids[:-1]), len(schema.fields))
    if isinstance(strings, ParseFailure):
        return None
    try:
        schema.model.model_validate(convert(schema, strings))
    except (ValidationError, ValueError):
        return None
    return strings


@dataclass(frozen=True, eq=False)
class _Context:
    batch: PackBatch
    row: Tensor  # (k,) the anchored positions in the batch's logits
    column: Tensor  # (k,)
    share: Tensor  # (k,) weight: contexts passing through / contexts


class Anchor:
    """The base model's own continuations, and how far the adapter has drifted from them.

    "full" compares next-token distributions over the whole vocabulary; "structure" over (each token that holds
    a brace, a line break or the end of turn | anything else), so that content may spread while the form stays.
    """

    def __init__(
        self,
        kind: Literal["structure", "full"],
        base: Callable[[], Any],
        prompt: Prompt,
        contexts: Sequence[tuple[Sequence[int], int]],
        structure_ids: Sequence[int],
        device: torch.device,
        pack_nodes: int | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """`contexts`: answer ids and how many of them are tuned; `base`: turns the adapter off."""
        self._kind = kind
        self._base = base
        self._structure = torch.tensor(sorted(structure_ids), device=device)
        trie, later = _anchor_trie(contexts)
        self.n_nodes = len(trie)
        self._packs = [
            self._pack(trie, later, collate(trie, [pack], prompt.ids, device))
            for pack in trie.packs(pack_nodes or pack_room(trie, shared=False))
        ]
        self._packs = [pack for pack in self._packs if len(pack.row)]
        self._cache: dict[int, Tensor] = {}
        self._free_bytes = cache_bytes
        self.contexts_per_pack = len(contexts) / max(1, len(self._packs))

    def __len__(self) -> int:
        return len(self._packs)

    def n_tokens(self, index: int) -> int:
        """Tokens evaluated for pack `index`."""
        return self._packs[index].batch.n_tokens

    def loss(self, model: Any, index: int) -> Tensor:
        """Pack `index`'s part of the mean KL(p_base ‖ pθ) per answer, in nats; all packs sum to the whole."""
        pack = self._packs[index]
        before = self._before(model, index)
        after = self._coarse(pack_logits(model, pack.batch)[pack.row, pack.column].log_softmax(-1))
        kl = (before.exp() * (before - after)).sum(-1)
        return (pack.share * kl).sum()

    @torch.no_grad()
    def drift(self, model: Any) -> float:
        """Mean KL(p_base ‖ pθ) per answer over the later fields, in nats."""
        return float(sum(float(self.loss(model, i)) for i in range(len(self))))

    @torch.no_grad()
    def _before(self, model: Any, index: int) -> Tensor:
        if (cached := self._cache.get(index)) is not None:
            return cached
        pack = self._packs[index]
        with self._base():
            logits = pack_logits(model, pack.batch)
        log_probs = self._coarse(logits[pack.row, pack.column].log_softmax(-1))
        size = log_probs.numel() * log_probs.element_size()
        if size <= self._free_bytes:
            self._cache[index] = log_probs
            self._free_bytes -= size
        return log_probs

    def _coarse(self, log_probs: Tensor) -> Tensor:
        """(k, V) → (k, S + 1) for "structure": each structural token, then all others together."""
        if self._kind == "full":
            return log_probs
        named = log_probs[:, self._structure]
        others = log_probs.index_fill(1, self._structure, float("-inf")).logsumexp(-1, keepdim=True)
        return torch.cat([named, others], 1).clamp(min=-60.0)

    @staticmethod
    def _pack(trie: TokenTrie, later: np.ndarray[Any, Any], batch: PackBatch) -> _Context:
        read = batch.read.cpu().numpy()
        weight = np.where(later[read], trie.mass[read], 0.0)
        places: dict[tuple[int, int], float] = {}
        for row, column, mass in zip(batch.row.tolist(), batch.column.tolist(), weight, strict=True):
            if mass > 0:
                places[row, column] = places.get((row, column), 0.0) + float(mass)
        device = batch.ids.device
        at = torch.tensor(list(places), dtype=torch.long, device=device).reshape(-1, 2)
        share = torch.tensor(list(places.values()), dtype=torch.float32, device=device)
        return _Context(batch, at[:, 0], at[:, 1], share)


def _anchor_trie(contexts: Sequence[tuple[Sequence[int], int]]) -> tuple[TokenTrie, np.ndarray[Any, Any]]:
    """The contexts' trie (mass: share of contexts through a node) and which nodes are of later fields."""
    builder = Builder(("tuned", "later"))
    for ids, n_tuned in contexts:
        fields = [0] * n_tuned + [1] * (len(ids) - n_tuned)
        builder.add(ids, fields, {0: 1 / len(contexts), 1: 1 / len(contexts)})
    trie = builder.build(known=(), exact=False)
    return trie, np.asarray(trie.field == 1)


def structure_tokens(tokenizer: Tokenizer, stop_ids: Sequence[int]) -> tuple[int, ...]:
    """Tokens whose text holds a brace or a line break, and the end of turn."""
    marks = "{}\n\r"
    found = {i for i in range(tokenizer.vocab_size) if any(m in tokenizer.decode([i]) for m in marks)}
    return tuple(sorted(found | set(stop_ids)))
