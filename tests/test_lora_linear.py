"""LoRA's layer as tuning runs it, against PEFT's own: the same outputs, gradients and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear as PeftLinear

from synthgen.lora import add_lora
from synthgen.lora_linear import LoraLinear, use_lean_layers
from synthgen.tuning_config import TuningConfig
from tests.plain import load
from tests.tiny import tiny_model_folder


def a_layer(bias: bool, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A model of one linear layer with an adapter whose both halves say something, and that layer."""
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(24, 40, bias=bias).to(dtype).requires_grad_(False))
    model = get_peft_model(plain, LoraConfig(r=3, lora_alpha=5, target_modules=["0"]))
    layer = model.base_model.model[0]
    for weight in (layer.lora_A["default"].weight, layer.lora_B["default"].weight):
        torch.nn.init.normal_(weight, std=0.5)
    return model, layer


def passed(model: Any, layer: Any, x: torch.Tensor, bf16: bool) -> list[torch.Tensor]:
    """Output, and the gradients of a made-up loss by input and adapter."""
    model.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = model(x)
    (y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    a, b = layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad
    assert x.grad is not None
    return [y.detach(), x.grad, a.clone(), b.clone()]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("bf16", "rounding"), [(False, 1e-6), (True, 2e-2)])
def test_output_and_gradients_are_pefts(bias: bool, bf16: bool, rounding: float) -> None:
    model, layer = a_layer(bias)
    x = torch.randn(2, 7, 24)
    expected = passed(model, layer, x, bf16)
    assert use_lean_layers(model) == 1
    assert type(layer) is LoraLinear
    for found, wanted in zip(passed(model, layer, x, bf16), expected, strict=True):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert (found - wanted).norm() <= rounding * wanted.norm()


def test_switched_off_it_is_the_base_layer() -> None:
    model, layer = a_layer(bias=True)
    use_lean_layers(model)
    x = torch.randn(3, 24)
    with model.disable_adapter():
        off = model(x)
    assert torch.equal(off, layer.base_layer(x))
    assert not torch.allclose(off, model(x))


def test_what_is_not_the_usual_case_is_left_to_peft() -> None:
    model, layer = a_layer(bias=False, dtype=torch.bfloat16)  # PEFT holds the adapter in float32 beside it
    x = torch.randn(3, 24).bfloat16()
    expected = model(x)
    use_lean_layers(model)
    assert torch.equal(model(x), expected)
    layer.merge()
    assert torch.equal(model(x), layer.base_layer(x))


def test_only_what_the_backward_pass_needs_is_kept() -> None:
    """The input once, though three layers read it, and a sliver of r numbers for each."""
    torch.manual_seed(0)
    plain = torch.nn.ModuleList(torch.nn.Linear(64, 64, bias=False) for _ in range(3)).requires_grad_(False)
    model = get_peft_model(plain, LoraConfig(r=2, target_modules=["0", "1", "2"]))
    use_lean_layers(model)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = sum({p.data_ptr(): p.nbytes for p in model.parameters()}.values())
    x = torch.randn(100, 64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outs = [layer(x) for layer in model.base_model.model]
    assert sum(kept.values()) <= own + x.nbytes + 3 * 100 * 2 * 4
    assert len(outs) == 3


def test_a_model_to_tune_has_them_everywhere_and_saves_as_ever(tmp_path: Path) -> None:
    model = add_lora(load(tiny_model_folder(tmp_path / "model", "llama")), TuningConfig(rank=2))
    layers = [module for module in model.modules() if isinstance(module, PeftLinear)]
    assert layers
    assert {type(module) for module in layers} == {LoraLinear}
    model.save_pretrained(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
