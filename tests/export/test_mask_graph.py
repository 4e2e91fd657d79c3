"""Mask graphs equal the training head on the windows at the given locations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deepmask.export.parity import relative_error
from deepmask.networks.dense.mask import CodeMaskGraph, WindowMaskGraph
from deepmask.networks.heads import FullMaskHead, LowRankMaskHead
from tests.export.windows import session_of, windows_of

WIDTH, CELLS, MARGIN, SIZE = 5, 6, 1, 8


def mask_head(kind: str) -> LowRankMaskHead | FullMaskHead:
    torch.manual_seed(0)
    if kind == "full":
        return FullMaskHead(WIDTH, 4, CELLS, SIZE)
    return LowRankMaskHead(WIDTH, 4, CELLS, 9, SIZE)


def masks_of_every_window(head: nn.Module, features: Tensor) -> tuple[Tensor, int, int]:
    windows, rows, cols = windows_of(features, CELLS, MARGIN)
    with torch.no_grad():
        return head(windows), rows, cols


@pytest.mark.parametrize("kind", ["low-rank", "full"])
def test_window_masks_equal_the_head_at_any_locations(kind: str) -> None:
    head = mask_head(kind)
    session = session_of(
        WindowMaskGraph(head, CELLS, MARGIN),
        (torch.zeros(1, WIDTH, 12, 14), torch.zeros(3, 2, dtype=torch.int64)),
        ("features", "locations"),
        ("mask",),
    )
    for height, width, count in ((8, 8, 1), (9, 15, 40), (16, 11, 7)):
        features = torch.randn(1, WIDTH, height, width)
        masks, rows, cols = masks_of_every_window(head, features)
        chosen = torch.randint(rows * cols, (count,))
        locations = torch.stack([chosen // cols, chosen % cols], 1)
        feed = {"features": features.numpy(), "locations": locations.numpy()}
        (found,) = session.run(["mask"], feed)
        assert found.shape == (count, SIZE, SIZE)
        assert relative_error(found, masks[chosen].numpy()) <= 1e-5


def test_code_masks_equal_the_head() -> None:
    head = mask_head("low-rank")
    assert isinstance(head, LowRankMaskHead)
    features = torch.randn(1, WIDTH, 11, 13)
    windows, rows, cols = windows_of(features, CELLS, MARGIN)
    with torch.no_grad():
        code = head.code(windows).T.reshape(1, 9, rows, cols).contiguous()
        masks = head(windows)
    example = (torch.zeros(1, 9, 4, 5), torch.zeros(3, 2, dtype=torch.int64))
    some = session_of(CodeMaskGraph(head), example, ("code", "locations"), ("mask",))
    chosen = torch.tensor([rows * cols - 1, 0, cols - 1, cols, cols])
    locations = torch.stack([chosen // cols, chosen % cols], 1)
    feed = {"code": code.numpy(), "locations": locations.numpy()}
    (found,) = some.run(["mask"], feed)
    assert relative_error(found, masks[chosen].numpy()) <= 1e-5


def test_no_location_gives_no_mask() -> None:
    head = mask_head("low-rank")
    session = session_of(
        WindowMaskGraph(head, CELLS, MARGIN),
        (torch.zeros(1, WIDTH, 12, 14), torch.zeros(3, 2, dtype=torch.int64)),
        ("features", "locations"),
        ("mask",),
    )
    nowhere = torch.zeros(0, 2, dtype=torch.int64)
    feed = {"features": torch.zeros(1, WIDTH, 9, 9).numpy(), "locations": nowhere.numpy()}
    (found,) = session.run(["mask"], feed)
    assert found.shape == (0, SIZE, SIZE)
