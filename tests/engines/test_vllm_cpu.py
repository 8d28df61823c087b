"""What replaces parts of vLLM's CPU build, and what it is started with. Skipped where that build is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from synthgen.models import resolve_model

pytestmark = pytest.mark.skipif(
    find_spec("vllm") is None or torch.cuda.is_available(), reason="needs vLLM's CPU build"
)


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


class Platform:
    """As much of vLLM's platform as settings ask for: what it can compute in, the best first."""

    def __init__(self, *dtypes: torch.dtype, cpu: bool) -> None:
        self.supported_dtypes = dtypes
        self._cpu = cpu

    def is_cpu(self) -> bool:
        return self._cpu


@pytest.mark.parametrize(
    ("platform", "has_bf16", "expected"),
    [
        (Platform(torch.bfloat16, torch.float16, cpu=True), True, "bfloat16"),
        (Platform(torch.bfloat16, torch.float16, cpu=True), False, "float32"),
        (Platform(torch.bfloat16, torch.float16, cpu=False), False, "bfloat16"),
        (Platform(torch.float16, torch.float32, cpu=False), False, "float16"),
    ],
)
def test_numbers_are_those_that_the_hardware_multiplies(
    monkeypatch: pytest.MonkeyPatch, platform: Platform, has_bf16: bool, expected: str
) -> None:
    from synthgen.engines import vllm

    monkeypatch.setattr(vllm, "current_platform", platform)
    monkeypatch.setattr(vllm, "multiplies_in_bf16", lambda _: has_bf16)
    place = str(resolve_model("nano"))
    assert vllm.engine_settings(place, 1, 8, 256)["dtype"] == expected
    assert vllm.engine_settings(place, 1, 8, 256, "float32")["dtype"] == "float32"
