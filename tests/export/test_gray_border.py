"""VGG-A around the picture only: what it gives over the whole canvas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from torch import Tensor, nn

from deepmask.networks.dense.gray_border import (
    GrayBorderTrunk,
    around_the_picture,
    layout,
    stages_apart,
    stages_of,
)
from deepmask.networks.trunks import TRUNKS, VggA
from tests.export.windows import session_of

GRAY = torch.tensor([0.1, -0.2, 0.3]).view(1, 3, 1, 1)


class ThinVggA(VggA):
    """All layers of a VGG-A, with few channels."""

    plan = (3, "pool", 4, "pool", 4, 4, "pool", 5, 5, "pool", 5, 5)


def thin(padding: str = "zero") -> VggA:
    """Weights of about one gain a layer, and biases that make gray's response differ from zero."""
    torch.manual_seed(1)
    trunk = ThinVggA(padding).eval().requires_grad_(False)
    for layer in trunk.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.uniform_(layer.bias, 0, 0.3)
    return trunk


def canvas(height: int, width: int, border: int, seed: int = 0) -> Tensor:
    """A random picture on a canvas, its sides up to whole cells."""
    torch.manual_seed(seed)
    rows, cols = (-(-side // 16) * 16 + 2 * border for side in (height, width))
    image = GRAY.repeat(1, 1, rows, cols)
    image[:, :, border : border + height, border : border + width] = torch.randn(3, height, width)
    return image


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 20),
    st.sampled_from(["zero", "reflect"]),
    st.integers(0, 2**32 - 1),
)
def test_features_are_those_of_the_whole_canvas(
    height: int, width: int, cells: int, padding: str, seed: int
) -> None:
    trunk, border = thin(padding), 8 * cells
    module = around_the_picture(trunk, border, GRAY)
    assert isinstance(module, GrayBorderTrunk)
    image = canvas(height, width, border, seed)
    with torch.no_grad():
        expected, found = trunk(image), module(image)
    assert expected.std() > 1e-3
    # Not to the last bit: PyTorch takes other kernels for other sizes.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("border", "apart", "repeats", "crop"),
    [
        (128, 4, [0, 6, 5, 3], 117),
        (96, 3, [0, 6, 3], 85),
    ],
)
def test_the_presets_borders(border: int, apart: int, repeats: list[int], crop: int) -> None:
    """By hand: 3, 11, 27 and 59 px are seen before a cell's own, behind the stages' last layers."""
    stages = stages_of(thin())
    assert stages_apart(stages, border) == apart
    assert layout(stages[:apart], border) == (repeats, crop)


def test_what_is_gray_for_certain_is_not_read() -> None:
    module = around_the_picture(thin(), 128, GRAY)
    image = canvas(40, 50, 128)
    torn = torch.full_like(image, torch.nan)
    inside = (..., slice(117, -117), slice(117, -117))
    torn[inside] = image[inside]
    with torch.no_grad():
        assert torch.equal(module(torn), module(image))


@pytest.mark.parametrize("border", [96, 128])
def test_the_graph_takes_any_size(border: int) -> None:
    """As ONNX Runtime runs it, from a canvas of one cell on."""
    module = around_the_picture(thin(), border, GRAY)
    session = session_of(module, (canvas(80, 112, border),), ("image",), ("features",))
    for height, width in ((1, 1), (16, 200), (130, 30)):
        image = canvas(height, width, border)
        (found,) = session.run(["features"], {"image": image.numpy()})
        with torch.no_grad():
            assert_allclose(found, module(image).numpy(), rtol=1e-4, atol=1e-5)


def test_other_trunks_run_over_the_whole_canvas() -> None:
    for name in ("resnet18", "vgg-a-twin"):
        trunk = TRUNKS[name]("zero")
        assert around_the_picture(trunk, 96, GRAY) is trunk
