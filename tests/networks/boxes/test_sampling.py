"""Which boxes learn what."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepmask.networks.boxes.sampling import sample_boxes

OBJECTS = torch.tensor([[0.0, 0.0, 40.0, 40.0], [100.0, 0.0, 140.0, 60.0]])
NAMES = torch.tensor([5, 2])
NOTHING = torch.zeros(0, 4)


def grid(count: int, left: float) -> Tensor:
    """Boxes of 10 pixels far from all objects."""
    x = left + 12.0 * torch.arange(count)
    return torch.stack([x, x * 0 + 300, x + 10, x * 0 + 310], 1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_box_learns_the_name_of_what_it_covers_half() -> None:
    near = torch.tensor([[0.0, 0.0, 40.0, 21.0], [0.0, 0.0, 40.0, 19.0], [100.0, 0.0, 140.0, 50.0]])
    found = sample_boxes(near, OBJECTS, NAMES, NOTHING, complete=True, most=100)
    by_box = {tuple(b): (k, tuple(o)) for b, k, o in zip(
        found.boxes.tolist(), found.category.tolist(), found.objects.tolist(), strict=True
    )}  # fmt: skip
    first, second = (tuple(one) for one in OBJECTS.tolist())
    assert by_box == {
        first: (5, first),
        second: (2, second),
        tuple(near[0].tolist()): (5, first),
        tuple(near[1].tolist()): (0, tuple(near[1].tolist())),
        tuple(near[2].tolist()): (2, second),
    }


def test_a_quarter_at_most_are_objects() -> None:
    proposed = torch.cat([OBJECTS[:1].repeat(30, 1), grid(200, 200)])
    found = sample_boxes(proposed, OBJECTS, NAMES, NOTHING, complete=True, most=64)
    assert len(found.boxes) == 64
    assert int((found.category > 0).sum()) == 16


def test_partly_labelled_pictures_have_no_background() -> None:
    found = sample_boxes(grid(50, 200), OBJECTS, NAMES, NOTHING, complete=False, most=64)
    assert sorted(found.category.tolist()) == [2, 5]


def test_what_lies_in_a_crowd_is_no_background() -> None:
    proposed = torch.cat([grid(10, 0), grid(10, 500)])
    crowd = torch.tensor([[0.0, 290.0, 200.0, 320.0]])
    found = sample_boxes(proposed, OBJECTS, NAMES, crowd, complete=True, most=64)
    background = found.boxes[found.category == 0]
    assert len(background) == 10
    assert (background[:, 0] >= 500).all()


def test_a_picture_without_objects_is_background() -> None:
    found = sample_boxes(grid(5, 0), NOTHING, NAMES[:0], NOTHING, complete=True, most=64)
    assert found.category.tolist() == [0] * 5
    nothing = sample_boxes(NOTHING, NOTHING, NAMES[:0], NOTHING, complete=True, most=64)
    assert nothing.boxes.shape == (0, 4)
