"""LoRA for vLLM's CPU build as two matrix products over the adapters of a batch at once.

vLLM 0.32 gathers a copy of the adapter's matrices for every row, and for a base row (slot −1) takes the last
slot's. Here the rows are multiplied with the matrices of the slots in use side by side, and what belongs to other
slots is zeroed in between, so a base row gets nothing:
    (rows, in) @ (in, slots·rank) → keep the row's own rank columns → @ (slots·rank, out), added in place
Where one adapter serves the whole batch, nothing is zeroed and nothing copied. The work grows with the number of slots
in use, so this is for the few adapters of a recipe (bench/generation.py --sides base one three).
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform


class SideBySideLora(PunicaWrapperCPU):  # type: ignore[misc]
    """vLLM's CPU wrapper with the linear layers' products replaced; embeddings and logits are vLLM's own."""

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """vLLM's own for a new batch."""
        super().update_metadata(*args, **kwargs)
        self.look(self.token_lora_indices)

    def look(self, slots: torch.Tensor) -> None:
        """Which slots are in use, and by which rows; `slots` are the rows', −1 for base."""
        used = slots[slots >= 0]
        self._first, self._end = (int(used.min()), int(used.max()) + 1) if len(used) else (0, 0)
        self._is_alone = self._end - self._first == 1 and len(used) == len(slots)
        self._mine = slots[:, None] == torch.arange(self._first, self._end)  # (rows, slots in use)

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
        if self._first == self._end:
            return
        rows, out = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        begin = 0
        for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
            a, b = a[self._first : self._end, 0], b[self._first : self._end, 0]
            inner = rows @ a.flatten(0, 1).t()  # (rows, slots·rank)
            if scale != 1:
                inner *= scale
            if not self._is_alone:
                inner = torch.where(self._mine[:, :, None], inner.view(len(rows), len(a), -1), 0).flatten(1)
            expand = b[0].t() if len(b) == 1 else b.transpose(1, 2).flatten(0, 1)  # (slots·rank, out)
            out[:, begin : begin + width].addmm_(inner, expand[:, :width])
            begin += width


def install() -> None:
    """Make engines that start after this, in this process, use it."""

    def wrapper(_cls: type) -> str:
        return f"{SideBySideLora.__module__}.{SideBySideLora.__qualname__}"

    type(current_platform).get_punica_wrapper = classmethod(wrapper)
