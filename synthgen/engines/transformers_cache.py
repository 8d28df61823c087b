"""Keys and values of a batch whose rows come and go: rows end in the same column, and begin where they begin.

column   0 1 2 3 4 5 6        start
row 0    p p p p a a a          0      p: prompt, a: answer, .: not looked at
row 1    . . p p p p a          2      came two tokens later
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache, DynamicLayer

Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]  # per layer keys and values, (B, H, T, D)
SPARE = 64  # columns allocated at a time


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values in a buffer with spare columns, so that a step writes one column only."""

    def fill(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these, (B, H, T, D)."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        self.buffers = (_with_spare(keys, SPARE), _with_spare(values, SPARE))
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns and return all."""
        n_old = self.get_seq_length()
        if n_old == 0:
            self.fill(key_states, value_states)
            return self.keys, self.values
        n_new = n_old + key_states.shape[-2]
        if n_new > self.buffers[0].shape[-2]:
            spare = n_new - n_old + SPARE
            self.buffers = (_with_spare(self.keys, spare), _with_spare(self.values, spare))
        self.buffers[0][:, :, n_old:n_new] = key_states
        self.buffers[1][:, :, n_old:n_new] = value_states
        self.keys, self.values = (buffer[:, :, :n_new] for buffer in self.buffers)
        return self.keys, self.values


class RowCache:
    """The cache of a batch: `cache` is what the model takes, `starts` the first column of each row."""

    def __init__(self) -> None:
        self.cache = Cache(layer_class_to_replicate=_GrowingLayer)
        self.starts: list[int] = []

    @property
    def length(self) -> int:
        """Columns in use."""
        return int(self.cache.get_seq_length())

    def contents(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Every layer's keys and values, (B, H, T, D)."""
        return [(layer.keys, layer.values) for layer in self.cache.layers]

    def next_inputs(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention mask (B, T + 1) and position ids (B, 1) of the column that is about to be fed."""
        starts = torch.tensor(self.starts, device=device)[:, None]
        columns = torch.arange(self.length + 1, device=device)[None]
        return (columns >= starts).long(), self.length - starts

    def pack(self, keep: Sequence[int], new: Sequence[tuple[Layers, int]]) -> None:
        """Keep some rows, in this order, append `n` rows for every (prompt of batch 1, n), drop empty columns."""
        old = self.contents()
        lengths = [self.length - self.starts[i] for i in keep]
        for prompt, n in new:
            lengths += [prompt[0][0].shape[2]] * n
        width = max(lengths, default=0)
        self.starts = [width - length for length in lengths]
        packed = []
        for i in range(len(new[0][0]) if new else len(old)):
            parts = [
                _joined(old[i][j] if old else None, keep, [(prompt[i][j], n) for prompt, n in new], width)
                for j in (0, 1)
            ]
            packed.append((parts[0], parts[1]))
        self.cache = Cache(layer_class_to_replicate=_GrowingLayer)
        for i, (keys, values) in enumerate(packed):
            self.cache.update(keys, values, i)


def _joined(
    old: torch.Tensor | None, keep: Sequence[int], new: Sequence[tuple[torch.Tensor, int]], width: int
) -> torch.Tensor:
    """Kept rows of `old`, then `n` times every new prompt, all ending in column `width`; zeros before."""
    like = new[0][0] if new else old
    assert like is not None
    n_rows = len(keep) + sum(n for _, n in new)
    joined = like.new_zeros(n_rows, like.shape[1], width, like.shape[3])
    if old is not None and keep:
        n_kept = min(width, old.shape[2])
        joined[: len(keep), :, width - n_kept :] = old[list(keep), :, old.shape[2] - n_kept :]
    begin = len(keep)
    for prompt, n in new:
        joined[begin : begin + n, :, width - prompt.shape[2] :] = prompt
        begin += n
    return joined


def _with_spare(states: torch.Tensor, spare: int) -> torch.Tensor:
    rows, heads, width, size = states.shape
    buffer = states.new_empty(rows, heads, width + spare, size)
    buffer[:, :, :width] = states
    return buffer
