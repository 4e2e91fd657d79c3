"""RoI features are those of ONNX's RoiAlign, also of boxes beside the map."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from deepmask.networks.roi_align import roi_align

STRIDE = 8


def by_onnx(features: Tensor, boxes: Tensor, size: int, samples: int) -> Tensor:
    """RoiAlign of opset 16 with half pixels, in ONNX Runtime."""
    inputs = [
        helper.make_tensor_value_info("features", TensorProto.FLOAT, list(features.shape)),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, list(boxes.shape)),
        helper.make_tensor_value_info("picture", TensorProto.INT64, [len(boxes)]),
    ]
    node = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "picture"],
        ["cells"],
        coordinate_transformation_mode="half_pixel",
        mode="avg",
        output_height=size,
        output_width=size,
        sampling_ratio=samples,
        spatial_scale=1 / STRIDE,
    )
    output = helper.make_tensor_value_info("cells", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "align", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = {"features": features.numpy(), "boxes": boxes.numpy()}
    (cells,) = session.run(None, {**given, "picture": np.zeros(len(boxes), np.int64)})
    return torch.from_numpy(cells)


@pytest.mark.parametrize(("size", "samples"), [(7, 2), (3, 4), (1, 1)])
def test_the_features_of_any_box_are_onnx_runtimes(size: int, samples: int) -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn((1, 5, 9, 13), generator=random)
    centres = torch.rand((200, 2), generator=random) * torch.tensor([130.0, 100.0]) - 13
    half = torch.exp(torch.rand((200, 2), generator=random) * 5) / 2
    boxes = torch.cat([centres - half, centres + half], 1)
    outside = (boxes[:, :2] < -STRIDE).any(1) & (boxes[:, 2:] > 9 * STRIDE).any(1)
    assert outside.any()
    expected = by_onnx(features, boxes, size, samples)
    found = roi_align(features, boxes, STRIDE, size, samples)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_box_of_whole_cells_has_their_values() -> None:
    """A box of 2×2 cells with one sample in the middle of each."""
    features = torch.arange(12.0).reshape(1, 1, 3, 4)
    found = roi_align(features, torch.tensor([[8.0, 0.0, 24.0, 16.0]]), STRIDE, 2, 1)
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 2.0], [5.0, 6.0]]]]))


def test_the_map_learns_where_boxes_are() -> None:
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)
    roi_align(features, torch.tensor([[0.0, 0.0, 16.0, 16.0]]), STRIDE, 1, 2).sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.sum() == 1
    assert not features.grad[0, 0, 3:].any()


def test_no_box_has_no_features() -> None:
    assert roi_align(torch.zeros(1, 3, 4, 4), torch.zeros(0, 4), 8, 2, 2).shape == (0, 3, 2, 2)
