"""Boxes and offsets between them, against a plain form in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepmask.networks.boxes.offsets import box_ious, decode, encode


def boxes(count: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low = torch.rand((count, 2), generator=random) * 200
    return torch.cat([low, low + 1 + torch.rand((count, 2), generator=random) * 300], 1)


def test_offsets_are_r_cnns() -> None:
    one, other = boxes(50, 0), boxes(50, 1)
    a, b = one.double().numpy(), other.double().numpy()
    size = a[:, 2:] - a[:, :2]
    shift = ((b[:, 2:] + b[:, :2]) - (a[:, 2:] + a[:, :2])) / 2 / size
    growth = np.log((b[:, 2:] - b[:, :2]) / size)
    expected = np.concatenate([10 * shift, 5 * growth], 1)
    np.testing.assert_allclose(encode(one, other).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_decoding_undoes_encoding() -> None:
    one, other = boxes(50, 2), boxes(50, 3)
    small = ((other[:, 2:] - other[:, :2]) / (one[:, 2:] - one[:, :2]) < 60).all(1)
    found = decode(one, encode(one, other))
    torch.testing.assert_close(found[small], other[small], rtol=1e-4, atol=1e-2)


def test_no_box_grows_beyond_all_reason() -> None:
    found = decode(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 500.0, 0.0]]))
    assert (found[0, 2] - found[0, 0]).item() == pytest.approx(1000, rel=1e-4)


def test_overlaps_by_hand() -> None:
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    others = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 0.0, 15.0, 10.0], [20.0, 0.0, 30.0, 9.0]])
    torch.testing.assert_close(box_ious(one, others), torch.tensor([[1.0, 1 / 3, 0.0]]))
