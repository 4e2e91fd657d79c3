"""The shared form of refinement equals the form it is trained in, at every window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepmask.export.parity import relative_error, samples
from deepmask.networks.dense.deepmask import border_of, margin_of
from deepmask.networks.dense.graphs import DenseForm
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from tests.export.conftest import TINY_SHARP, random_model
from tests.export.float_graphs import sketch

#: What `TINY_SHARP` is varied by: every padding, size of mask and start of a window's code.
VARIANTS: dict[str, dict[str, Any]] = {
    "zeros": {},
    "reflected": {"padding": "reflect"},
    "half-size": {"sharp_size": 32},
    "half-size, reflected": {"sharp_size": 32, "padding": "reflect"},
    "quarter-size": {
        "sharp_size": 16,
        "refine_widths": (8, 6, 5, 4),
        "skip_widths": (7, 6, 5),
    },
    "one doubling": {"sharp_size": 8, "refine_widths": (8, 6, 5), "skip_widths": (7, 6)},
    "head A": {"score_head": "separate"},
    "stride 8": {
        "trunk": "resnet50-stride8",
        "patch": 32,
        "refine_widths": (8, 6, 5, 4),
        "skip_widths": (7, 6, 5),
        "sharp_size": 32,
        "padding": "reflect",
    },
}


def run(form: DenseForm, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Run graphs in turn, each on what is known by then; everything that is known at the end."""
    with torch.no_grad():
        for graph in form.graphs:
            known = known | graph.run(known)
    return known


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_masks_equal_the_trained_form_at_every_window(
    changes: dict[str, Any],
) -> None:
    """Those at the picture's edges and corners too, where reflection and cropping could differ."""
    model = random_model(replace(TINY_SHARP, **changes))
    dense = dense_model(model)
    sample = samples(sketch(dense, describe(model.config)))[0]
    stride = model.config.stride
    shape = (-(-sample.height // stride) + 1, -(-sample.width // stride) + 1)
    everywhere = torch.tensor(list(np.ndindex(shape)))
    assert sample.counts == len(everywhere)
    given = {"image": sample.canvas, "locations": everywhere}
    assert isinstance(model.config, SharpMaskConfig)
    sizes = {"main": model.config.sharp_size, "coarse": model.config.mask_size}
    for name, form in dense.forms().items():
        with torch.no_grad():
            expected = form.reference(sample.canvas, everywhere)
        found = run(form, given)
        assert found["mask"].shape == (len(everywhere), *(sizes[name],) * 2)
        assert expected["mask"].std() > 0.05  # something to differ in
        for tensor, values in expected.items():
            assert relative_error(found[tensor].numpy(), values.numpy()) < 1e-5


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_a_training_patch_is_a_canvas_of_one_window(padding: str) -> None:
    """What training computes from a patch and its context is what inference computes of it."""
    model = random_model(replace(TINY_SHARP, padding=padding))
    assert border_of(model.config.patch) == model.config.input_size // 2
    patch = 255 * torch.rand(1, 3, model.config.input_size, model.config.input_size)
    with torch.no_grad():
        mask, score = model(patch)
    given = {"image": patch, "locations": torch.zeros(1, 2, dtype=torch.int64)}
    found = run(dense_model(model).main, given)
    assert relative_error(found["mask"].numpy(), mask.numpy()) < 1e-5
    assert relative_error(found["score"].flatten().numpy(), score.numpy()) < 1e-5


@pytest.mark.parametrize(
    ("trunk", "patch", "border", "margin"),
    [
        ("resnet18", 160, 96, 1),
        ("resnet50", 112, 72, 1),
        ("resnet50-stride8", 112, 72, 2),
        ("vgg-a", 224, 128, 1),
    ],
)
def test_windows_begin_on_cells(trunk: str, patch: int, border: int, margin: int) -> None:
    """Whatever the stride: half a patch of border and whole cells of surroundings."""
    config = DeepMaskConfig(**{**TINY_SHARP.coarse().to_dict(), "trunk": trunk, "patch": patch})
    assert (border_of(patch), margin_of(config)) == (border, margin)
    assert (border - patch // 2) == margin * config.stride
    assert (2 * border) % config.stride == 0
