"""A frozen model whose prompt may hold virtual tokens: ids past the vocabulary, whose embeddings are trained.

To everything that computes with token ids (packing, sampling, the anchor) it is a model like any other, so the
tuner's loop trains a soft prompt as it trains a LoRA adapter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from synthgen.elicit.frame import Frame
from synthgen.prompt import Prompt, Tokenizer

Mask = Tensor | dict[str, Tensor] | None


class SoftModel(torch.nn.Module):
    """The base model, and `vectors` (n, H) for the ids from `first_id` on; only these are trained."""

    def __init__(self, base: Any, vectors: Tensor) -> None:
        """`base` is frozen already."""
        super().__init__()
        self.base = base
        self.vectors = torch.nn.Parameter(vectors)
        self.first_id: int = base.get_input_embeddings().num_embeddings
        self._is_off = False

    @property
    def virtual_ids(self) -> range:
        """The ids of the vectors."""
        return range(self.first_id, self.first_id + len(self.vectors))

    @property
    def config(self) -> Any:
        """The base model's."""
        return self.base.config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.vectors.device

    @property
    def dtype(self) -> torch.dtype:
        """The base model's."""
        found: torch.dtype = self.base.dtype
        return found

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base model alone: virtual tokens are left out of what it is given."""
        self._is_off = True
        try:
            yield
        finally:
            self._is_off = False

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Mask = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> Any:
        """As the base model's, by embeddings; every row holds as many virtual tokens as the others."""
        if self._is_off:
            begun = past_key_values is not None and past_key_values.get_seq_length() > 0
            leave_out = self._shortened if begun else self._without
            input_ids, attention_mask, position_ids = leave_out(input_ids, attention_mask, position_ids)
        return self.base(
            inputs_embeds=self.embed(input_ids),
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
        )

    def embed(self, ids: Tensor) -> Tensor:
        """(…, H) of ids, virtual ones included."""
        is_virtual = ids >= self.first_id
        words: Tensor = self.base.get_input_embeddings()(ids.masked_fill(is_virtual, 0))
        vectors = self.vectors[(ids - self.first_id).clamp(min=0)].to(words.dtype)
        return torch.where(is_virtual[..., None], vectors, words)

    def _without(
        self, ids: Tensor, mask: Mask, positions: Tensor | None
    ) -> tuple[Tensor, Mask, Tensor | None]:
        """The inputs without the virtual columns, positions moved up."""
        is_virtual = ids >= self.first_id
        if not bool(is_virtual.any()):
            return ids, mask, positions
        keep = (~is_virtual).nonzero()[:, 1].view(len(ids), -1)  # (B, L − n)
        if positions is not None:
            positions = (positions - is_virtual.cumsum(1)).gather(1, keep)
        if isinstance(mask, dict):
            mask = {kind: _columns(part, keep) for kind, part in mask.items()}
        elif mask is not None:
            mask = _columns(mask, keep)
        return ids.gather(1, keep), mask, positions

    def _shortened(
        self, ids: Tensor, mask: Mask, positions: Tensor | None
    ) -> tuple[Tensor, Mask, Tensor | None]:
        """The inputs of a later step, whose cache holds no virtual columns: rows begin alike, without padding."""
        n = len(self.vectors)
        if isinstance(mask, Tensor):
            mask = mask[:, n:]
        return ids, mask, None if positions is None else positions - n


class SoftTokenizer:
    """A tokenizer that reads one prompt with its virtual tokens in it."""

    def __init__(self, inner: Tokenizer, prompt: Prompt, frame: Frame, virtual_ids: range) -> None:
        """`frame`: the prompt's ids around the virtual ones."""
        self._inner, self._prompt, self._frame, self._virtual = inner, prompt, frame, virtual_ids

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """The inner tokenizer's, as is all else but what follows."""
        return self._inner.stop_ids

    @property
    def vocab_size(self) -> int:
        """Without the virtual ones."""
        return self._inner.vocab_size

    def encode(self, text: str) -> list[int]:
        """Token ids, the virtual ones in their place where the text begins with the prompt."""
        ids = self._inner.encode(text)
        if not text.startswith(self._prompt.chat):
            return ids
        n = len(self._frame.before)
        return [*ids[:n], *self._virtual, *ids[n:]]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; virtual ones have none."""
        return self._inner.decode([i for i in ids if i not in self._virtual])

    def chat(self, user: str) -> str:
        """One user message through the chat template."""
        return self._inner.chat(user)


def with_virtual(prompt: Prompt, frame: Frame, virtual_ids: range) -> Prompt:
    """The same prompt, under the same fingerprint, its ids holding the virtual ones."""
    return replace(prompt, ids=frame.around(virtual_ids))


def random_vectors(base: Any, n: int, seed: int, among: int | None = None) -> Tensor:
    """(n, H) embeddings of random tokens, of the first `among` of the vocabulary: where a soft prompt begins."""
    table = base.get_input_embeddings()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, among or table.num_embeddings, (n,), generator=generator)
    found: Tensor = table(ids.to(base.device)).detach().float()
    return found


def embedding_scale(base: Any) -> float:
    """Root mean square of the numbers in the token embeddings, as the model's layers get them."""
    table = base.get_input_embeddings()
    ids = torch.linspace(0, table.num_embeddings - 1, min(4096, table.num_embeddings)).long()
    found: Tensor = table(ids.to(base.device)).detach().float()
    return float(found.square().mean().sqrt())


def _columns(mask: Tensor, keep: Tensor) -> Tensor:
    """(B, L) or (B, 1, L, L) with the kept columns alone; of the latter all rows keep the same."""
    if mask.dim() == 2:
        return mask.gather(1, keep)
    return mask[:, :, keep[0]][:, :, :, keep[0]]
