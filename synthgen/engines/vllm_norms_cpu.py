"""RMS norms for vLLM's CPU build by its own C kernels.

vLLM 0.32 leaves the norms of a CPU to torch's compiler, and runs without it (which starts four times sooner) they are
five to nine operations in float32. Its C kernels do the same in one pass over a row: 2 % more records a second on two idle
cores (`bench/settings.py --only "vLLM's own norms"`).
"""

from __future__ import annotations

import torch
from vllm import ir
from vllm.platforms import current_platform

PROVIDER = "synthgen_cpu"
OPERATIONS = ("rms_norm", "fused_add_rms_norm")


def fits_norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    """Whether the kernel can take it: whole rows, one after the other, of the weight's type."""
    del epsilon
    return variance_size is None and weight is not None and weight.dtype == x.dtype and x.is_contiguous()


def fits_sum(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    """The same of the sum."""
    return fits_norm(x, weight, epsilon, variance_size) and (
        x_residual.dtype == x.dtype and x_residual.is_contiguous()
    )


def rms_norm(
    x: torch.Tensor, weight: torch.Tensor | None, epsilon: float, variance_size: int | None = None
) -> torch.Tensor:
    """(rows, H) normed rows of `x`, in a tensor of their own."""
    del variance_size
    output = torch.empty_like(x)
    torch.ops._C.rms_norm(output, x, weight, epsilon)
    return output


def fused_add_rms_norm(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum's normed rows and the sum, in the places of `x` and `x_residual`."""
    del variance_size
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual


def install() -> dict[str, list[str]]:
    """Offer the kernels to engines that start after this, in this process; returns vLLM's `ir_op_priority`."""
    current_platform.import_kernels()
    if not all(hasattr(torch.ops._C, name) for name in OPERATIONS):
        return {}
    if PROVIDER not in ir.ops.rms_norm.impls:
        ir.ops.rms_norm.register_impl(PROVIDER, supports_args=fits_norm)(rms_norm)
        sums = ir.ops.fused_add_rms_norm.register_impl(PROVIDER, supports_args=fits_sum, inplace=True)
        sums(fused_add_rms_norm)
    return {name: [PROVIDER] for name in OPERATIONS}
