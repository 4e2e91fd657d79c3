"""The fast depthwise layers have PyTorch's values and gradients."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

from deepmask.networks.depthwise import FastDepthwise, kernels, speed_up
from deepmask.networks.efficientnet_lite import EfficientNetLite, SameConv

pytestmark = [
    pytest.mark.slow,  # compiles C++
    pytest.mark.skipif(
        not (shutil.which("g++") and shutil.which("ninja"))
        or torch.backends.cpu.get_cpu_capability() != "AVX512",
        reason="needs g++, ninja and AVX-512",
    ),
]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [16, 24, 40])
def test_values_and_gradients_are_pytorchs(kernel: int, stride: int, channels: int) -> None:
    torch.manual_seed(0)
    layer = SameConv(channels, channels, kernel, stride, channels)
    fast = FastDepthwise(layer)
    # bfloat16 numbers, so that both see the same input.
    x = torch.randn(2, channels, 12, 16).bfloat16().float()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = layer(a)
    gradient = torch.randn_like(expected).bfloat16().float()
    expected.backward(gradient)
    assert layer.weight.grad is not None
    assert layer.bias is not None
    assert layer.bias.grad is not None
    of_weight, of_bias = layer.weight.grad.clone(), layer.bias.grad.clone()
    layer.weight.grad = layer.bias.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        given = fast(b)
    given.backward(gradient.to(given.dtype))
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(given.float(), expected, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(b.grad, a.grad, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(fast.weight.grad, of_weight, rtol=1e-4, atol=1e-4)
    assert fast.bias is not None
    torch.testing.assert_close(fast.bias.grad, of_bias, rtol=1e-4, atol=1e-4)


def test_a_trunk_keeps_its_parameters_and_its_features() -> None:
    trunk = EfficientNetLite(0)
    fast = copy.deepcopy(trunk)
    speed_up(fast)
    assert list(fast.state_dict()) == list(trunk.state_dict())
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        for a, b in zip(trunk(image), fast(image), strict=True):
            torch.testing.assert_close(a, b)


def test_wrong_tensors_are_refused() -> None:
    x = torch.zeros(1, 16, 8, 8)
    with pytest.raises(RuntimeError, match="bfloat16 is wanted"):
        kernels().weight_gradient(x, x, 3, 1)
    y = torch.zeros(1, 16, 8, 8, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="too low"):
        kernels().weight_gradient(y, y, 3, 1)
    with pytest.raises(RuntimeError, match="3 or 5"):
        kernels().weight_gradient(
            y, y[:, :, :4, :4].contiguous(memory_format=torch.channels_last), 4, 1
        )
