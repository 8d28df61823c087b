"""LoRA for vLLM's CPU build as two matrix products over all adapters at once.

vLLM 0.32 gathers a copy of the adapter's matrices for every row, and for a base row (slot −1) takes the last
slot's. Here the rows are multiplied with the matrices of all slots side by side, and what belongs to other
slots is zeroed in between, so a base row gets nothing:
    (rows, in) @ (in, slots·rank) → keep the row's own rank columns → @ (slots·rank, out)
The work grows with the number of slots, so this is for the few adapters of a recipe: with three, two cores made
196 records a second of the base model's 234; per CPU second 91 of 107, where vLLM's own path made 45
(bench/engines.py).
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform


class SideBySideLora(PunicaWrapperCPU):  # type: ignore[misc]
    """vLLM's CPU wrapper with the linear layers' products replaced; embeddings and logits are vLLM's own."""

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_kwargs: Any,
    ) -> None:
        """Add each row's own adapter to `y`, (rows, out); `x` is (rows, in), stacks are (slots, 1, …)."""
        rows, out = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        slots = self.token_lora_indices  # (rows,) −1: base
        if int(slots.max()) < 0:
            return
        n_slots = lora_a_stacked[0].shape[0]
        mine = slots[:, None] == torch.arange(n_slots, device=slots.device)  # (rows, slots)
        begin = 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            rank = a.shape[-2]
            side_by_side = a.reshape(n_slots * rank, -1)  # (slots·rank, in)
            inner = rows @ side_by_side.t()
            inner = inner.view(-1, n_slots, rank) * (mine[:, :, None] * scale)
            expand = b.reshape(n_slots, -1, rank).transpose(1, 2).reshape(n_slots * rank, -1)
            out[:, begin : begin + width] += (inner.view(-1, n_slots * rank).to(expand.dtype) @ expand)[
                :, :width
            ]
            begin += width


def install() -> None:
    """Make engines that start after this, in this process, use it."""

    def wrapper(_cls: type) -> str:
        return f"{SideBySideLora.__module__}.{SideBySideLora.__qualname__}"

    type(current_platform).get_punica_wrapper = classmethod(wrapper)
