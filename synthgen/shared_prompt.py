"""A prompt that is run once for all packs behind it, forward and backward. Between `trie` and `packing`.

A step over k packs would else compute the prompt k times. The packs see its keys and values as leaves of their own
graphs; what their backward passes leave there is the gradient of the whole step, and goes through the prompt once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class SharedPrompt:
    """`logits` (1, 1, V) follow the prompt's last token; `cache` is what the model takes beside a pack."""

    def __init__(self, model: Any, prompt_ids: Sequence[int]) -> None:
        """Run the prompt."""
        self.n = len(prompt_ids)
        cache = Cache(layer_class_to_replicate=DynamicLayer)
        ids = torch.tensor([list(prompt_ids)], device=model.device)
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        states = [(layer.keys, layer.values) for layer in cache.layers]
        self._computed: list[Tensor] = [out.logits, *(tensor for pair in states for tensor in pair)]
        self._leaves = [_leaf(tensor) for tensor in self._computed]
        self.logits = self._leaves[0]
        pairs = zip(self._leaves[1::2], self._leaves[2::2], strict=True)
        self.cache = Cache(layers=[_Before(keys, values) for keys, values in pairs])

    def backward(self) -> None:
        """Take the gradient of everything that the packs said through the prompt; once, as it frees its graph."""
        pairs = zip(self._computed, self._leaves, strict=True)
        found = [
            (computed, leaf.grad.to(computed.dtype)) for computed, leaf in pairs if leaf.grad is not None
        ]
        if found:
            torch.autograd.backward([computed for computed, _ in found], [gradient for _, gradient in found])


class _Before(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, (1, H, S, D), which every row sees before its own; nothing is kept."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The prompt's and then the rows' own, (B, H, S + n, D)."""
        return _joined(self.keys, key_states), _joined(self.values, value_states)


def _joined(before: Tensor, own: Tensor) -> Tensor:
    return torch.cat([before.to(own.dtype).expand(len(own), -1, -1, -1), own], -2)


def _leaf(tensor: Tensor) -> Tensor:
    """The same values as a leaf in float32: the gradients of many packs are summed there."""
    return tensor.detach().float().requires_grad_(tensor.requires_grad)
