"""Networks on whole pictures against networks on patches: equal wherever the context reaches.

A dense location sees the picture around its window; a training patch has a few pixels of it and
then padding. A value is made of the pixels in its receptive field, so where that field lies inside
both, they are the same. Elsewhere they differ, and the tests say by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from deepmask.networks.config import BORDER_FILL
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.presets import PRESETS
from deepmask.networks.sharpmask import SharpMaskNetwork

PICTURE, ENDLESS = 96, 256
#: Largest difference over the largest value that rounding may make.
ALIKE = 1e-4


def endless() -> Tensor:
    """(1, 3, …) a smooth picture of 96×96 px in the middle of gray that goes on for 256 px."""
    canvas = torch.full((1, 3, PICTURE + 2 * ENDLESS, PICTURE + 2 * ENDLESS), BORDER_FILL)
    coarse = 255 * torch.rand((1, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    picture = functional.interpolate(coarse, (PICTURE, PICTURE), mode="bilinear")
    canvas[:, :, ENDLESS:-ENDLESS, ENDLESS:-ENDLESS] = picture
    return canvas


def square(canvas: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of the endless picture; (0, 0) is the picture's own corner."""
    rows = slice(ENDLESS + top, ENDLESS + top + size)
    return canvas[:, :, rows, ENDLESS + left : ENDLESS + left + size]


def deviation(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


Model = TypeVar("Model", bound=DeepMaskNetwork)


def random_model(kind: Callable[[Any], Model], config: DeepMaskConfig) -> Model:
    torch.manual_seed(0)
    return kind(config).eval()


@torch.no_grad()
def at_location(model: SharpMaskNetwork, row: int, col: int, border: int) -> tuple[Tensor, Tensor]:
    """Sharp mask and score of a location, cut from maps of the picture with this border."""
    config = model.config
    stages = model.stages(square(endless(), -border, -border, PICTURE + 2 * border))
    windows = []
    for one in [stages[-1], *model.refine.shared(stages)]:
        stride = (PICTURE + 2 * border) // one.shape[-1]
        top, left = ((border + 16 * k - config.patch // 2) // stride for k in (row, col))
        size = config.patch // stride
        windows.append(one[:, :, top : top + size, left : left + size])
    return model.refine(model.mask_head.code(windows[0]), windows[1:]), model.score(windows[0])


@torch.no_grad()
def on_its_crop(model: SharpMaskNetwork, row: int, col: int, context: int) -> tuple[Tensor, Tensor]:
    """The same by the network as it is trained, on a patch with so much context."""
    wider = SharpMaskNetwork(replace(model.config, context=context)).eval()
    wider.load_state_dict(model.state_dict())
    top, left = (16 * k - model.config.patch // 2 - context for k in (row, col))
    masks, scores = wider(square(endless(), top, left, wider.config.input_size))
    return masks, scores


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_a_location_equals_its_crop_where_the_context_reaches(
    tiny_refined: SharpMaskConfig, padding: str
) -> None:
    """ResNet-18's field of 211 px and the skip paths' three convolutions reach 153 px."""
    model = random_model(SharpMaskNetwork, replace(tiny_refined, padding=padding))
    masks, scores = at_location(model, 2, 4, border=192)
    for context, alike in ((160, True), (16, False)):
        found, score = on_its_crop(model, 2, 4, context)
        assert (deviation(found, masks) < ALIKE) == alike
        assert (deviation(score, scores) < ALIKE) == alike
        assert deviation(found, masks) < 0.02  # seen with 16 px: 0.005


@pytest.mark.parametrize("padding", ["zero", "reflect"])
@torch.no_grad()
def test_cells_of_a_patch_are_dense_where_their_field_is_inside(padding: str) -> None:
    """VGG-A at W = 160 with 32 px more: its field reaches 67 px from a cell's middle."""
    preset = PRESETS["w160-p4-d8-vgg"].config
    assert isinstance(preset, DeepMaskConfig)
    config = replace(preset, channels=2, rank=2, padding=padding)
    model = random_model(DeepMaskNetwork, config)
    picture = 255 * torch.rand((1, 3, 40, 40), generator=torch.Generator().manual_seed(1))
    picture = functional.interpolate(picture, (320, 320), mode="bilinear")
    expected = model.features(picture)[0, :, 5:15, 5:15]
    found = model.windows(picture[:, :, 64:256, 64:256])[0]
    difference = (found - expected).abs().amax(0) / expected.abs().max()
    exact = difference < ALIKE
    assert 0.01 < difference.max() < 0.5  # in a corner cell
    inside = torch.zeros(10, 10, dtype=torch.bool)
    inside[3:7, 3:7] = True
    assert torch.equal(exact, inside)
