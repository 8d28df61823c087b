"""What replaces parts of vLLM's CPU build: equal to what it replaces. Skipped where that build is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None or torch.cuda.is_available(), reason="needs vLLM's CPU build"
)


def test_norms_by_the_kernels_are_the_native_ones() -> None:
    import synthgen.engines.vllm  # noqa: F401  sets vLLM's environment
    from synthgen.engines.vllm_norms_cpu import OPERATIONS, PROVIDER, install

    assert install() == install() == {name: [PROVIDER] for name in OPERATIONS}
    from vllm import ir

    generator = torch.Generator().manual_seed(0)
    x, residual = torch.randn(2, 7, 64, generator=generator).bfloat16()
    weight = (1 + torch.rand(64, generator=generator)).bfloat16()

    def both(op: Any, *inputs: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        found = []
        for provider in (PROVIDER, "native"):
            outputs = op.impls[provider].impl_fn(
                *(i.clone() if isinstance(i, torch.Tensor) else i for i in inputs)
            )
            found.append(outputs if isinstance(outputs, tuple) else (outputs,))
        return list(zip(*found, strict=True))

    pairs = both(ir.ops.rms_norm, x, weight, 1e-5)
    pairs += both(ir.ops.fused_add_rms_norm, x, residual, weight, 1e-5)
    assert len(pairs) == 3
    for ours, native in pairs:  # bfloat16 has eight bits
        assert torch.allclose(ours.float(), native.float(), rtol=2**-6, atol=2**-7)


def test_the_kernels_are_left_alone_where_they_do_not_fit() -> None:
    import synthgen.engines.vllm  # noqa: F401
    from synthgen.engines.vllm_norms_cpu import fits_norm, fits_sum

    x, weight = torch.ones(4, 8).bfloat16(), torch.ones(8).bfloat16()
    assert fits_norm(x, weight, 1e-5) and fits_sum(x, x, weight, 1e-5)
    assert not fits_norm(x, weight.float(), 1e-5)
    assert not fits_norm(x, None, 1e-5)
    assert not fits_norm(x, weight, 1e-5, 4)
    assert not fits_norm(x.t(), weight, 1e-5)
    assert not fits_sum(x, x.float(), weight, 1e-5)
    assert not fits_sum(x, x.t().contiguous().t(), weight, 1e-5)


def test_rows_get_their_own_adapter_and_base_rows_none() -> None:
    import synthgen.engines.vllm  # noqa: F401
    from synthgen.engines.vllm_lora_cpu import SideBySideLora

    generator = torch.Generator().manual_seed(1)
    n_slots, rank, width, widths = 4, 2, 6, (5, 3)
    a = tuple(torch.randn(n_slots, 1, rank, width, generator=generator) for _ in widths)
    b = tuple(torch.randn(n_slots, 1, out, rank, generator=generator) for out in widths)
    x = torch.randn(5, width, generator=generator)
    for slots in ([0, 2, -1, 2, 1], [2] * 5, [-1] * 5, [3, -1, 3, -1, -1]):
        lora = SideBySideLora.__new__(SideBySideLora)
        lora.look(torch.tensor(slots))
        y = torch.zeros(5, sum(widths))
        lora.add_lora_linear(y, x, a, b, 0.5, widths)
        for row, slot in enumerate(slots):
            parts = [0.5 * (B[slot, 0] @ (A[slot, 0] @ x[row])) for A, B in zip(a, b, strict=True)]
            expected = torch.cat(parts) if slot >= 0 else torch.zeros(sum(widths))
            assert torch.allclose(y[row], expected, atol=1e-5)
