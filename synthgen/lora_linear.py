"""A linear layer with LoRA as tuning runs it: one autograd step that keeps the input and little else.

Stands between `lora` and PEFT. PEFT's own layer adds, scales and casts whole activations around two small products;
here the frozen product and the adapter's are one operation each way, and the skinny products of the backward pass run
in the order that a CPU multiplies fastest. The numbers are the same up to rounding, and so are names and files.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear


def use_lean_layers(model: Any) -> int:
    """Let PEFT's LoRA layers on plain linear ones run as `LoraLinear`; returns how many do."""
    plain = [m for m in model.modules() if type(m) is PeftLinear and type(m.base_layer) is torch.nn.Linear]
    for module in plain:
        module.__class__ = LoraLinear
    return len(plain)


class LoraLinear(PeftLinear):  # type: ignore[misc]
    """PEFT's layer with another forward pass: y = x Wᵀ + c + s (x Aᵀ) Bᵀ, with W and c frozen."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(…, in) → (…, out); what is not the usual case, PEFT does."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else ""
        if args or kwargs or self.disable_adapters or self.merged or name not in self.lora_A:
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return]
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        casts = torch.is_autocast_enabled(x.device.type)
        if not casts and not x.dtype == self.weight.dtype == a.dtype:
            return super().forward(x)  # type: ignore[no-any-return]
        dtype = torch.get_autocast_dtype(x.device.type) if casts else x.dtype
        return _Product.apply(x, self.weight, self.bias, a, b, self.scaling[name], dtype)  # type: ignore[no-any-return,no-untyped-call]


class _Product(torch.autograd.Function):
    """Products are taken in `dtype`; tensors are kept as they came, so that layers that read the same x share it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float,
        dtype: torch.dtype,
    ) -> Tensor:  # fmt: skip
        with torch.autocast(x.device.type, enabled=False):
            rows = x.reshape(-1, x.shape[-1])
            cast = rows.to(dtype)
            h = linear(cast, a.to(dtype))  # (N, r)
            y = linear(cast, weight.to(dtype), None if bias is None else bias.to(dtype))
            y.addmm_(h, b.to(dtype).t(), alpha=scale)
        ctx.save_for_backward(rows, weight, a, b, h)
        ctx.scale, ctx.dtype = scale, dtype
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, h = ctx.saved_tensors
        dtype, scale = ctx.dtype, ctx.scale
        with torch.autocast(gradient.device.type, enabled=False):
            g = gradient.reshape(-1, gradient.shape[-1]).to(dtype)
            # Bᵀ side by side in memory, and hᵀ g rather than gᵀ h: two to five times as fast on a CPU
            at_h = linear(g, b.to(dtype).t().contiguous())  # (N, r), unscaled
            x: Tensor | None = None
            if ctx.needs_input_grad[0]:
                x = g @ weight.to(dtype)
                x.addmm_(at_h, a.to(dtype), alpha=scale)
                x = x.view(*gradient.shape[:-1], -1)
            to_a = (at_h.t() @ rows.to(dtype)).mul_(scale)
            to_b = (h.t() @ g).t().mul(scale)
        return x, None, None, to_a, to_b, None, None
