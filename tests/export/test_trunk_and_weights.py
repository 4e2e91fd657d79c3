"""The trunk graph, BatchNorm folding, finite weights and float16 storage."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepmask.export.errors import ExportError
from deepmask.export.parity import relative_error
from deepmask.export.weights import round_to_half
from deepmask.networks.dense.deepmask import border_of
from deepmask.networks.dense.trunk import TrunkGraph, fold_batchnorm
from tests.export.conftest import TINY, random_model
from tests.export.windows import session_of


def test_trunk_graph_equals_features_at_any_size() -> None:
    model = random_model(TINY)
    example = torch.zeros(1, 3, 176, 208)
    trunk = TrunkGraph(fold_batchnorm(model), border_of(TINY.patch))
    session = session_of(trunk, (example,), ("image",), ("features",))
    for height, width in ((16, 16), (96, 160), (208, 112)):
        image = 255 * torch.rand(1, 3, height, width)
        with torch.no_grad():
            expected = model.features(image).numpy()
        (found,) = session.run(["features"], {"image": image.numpy()})
        assert found.shape == (1, 256, height // 16, width // 16)
        assert relative_error(found, expected) <= 1e-5


def test_folding_leaves_no_batchnorm_and_the_model_as_it_was() -> None:
    model = random_model(TINY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batchnorm(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_rounding_to_half_changes_matrices_only_and_refuses_overflow() -> None:
    model = random_model(TINY)
    rounded = round_to_half(model)
    halves, wholes = rounded.state_dict(), model.state_dict()
    kernel, whole = (weights["trunk.conv1.weight"] for weights in (halves, wholes))
    assert torch.equal(kernel, whole.half().float())
    assert not torch.equal(kernel, whole)
    assert torch.equal(halves["mask_head.reduce.bias"], wholes["mask_head.reduce.bias"])
    model.mask_head.classify.weight.data[0, 0] = 1e5
    with pytest.raises(ExportError, match=r"weight mask_head\.classify\.weight is beyond float16"):
        round_to_half(model)
