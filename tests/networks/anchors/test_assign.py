"""Which object an anchor belongs to, and what its logits learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepmask.networks.anchors.assign import (
    BACKGROUND,
    IGNORED,
    RETINANET,
    RPN,
    Rule,
    Truth,
    owners,
    targets,
)

#: What `of_iou` is measured against.
OBJECT = torch.tensor([[0.0, 0.0, 100.0, 100.0]])


def of_iou(*shares: float) -> Tensor:
    """Boxes with these IoUs with `OBJECT`."""
    return torch.tensor([[0.0, 0.0, 100.0, 100.0 * share] for share in shares])


def truth(boxes: Tensor, category: list[int], **changes: Tensor) -> Truth:
    """What lies on a picture of which both categories are labelled."""
    given = Truth(
        boxes,
        torch.tensor(category, dtype=torch.int64),
        torch.ones(len(boxes), dtype=torch.bool),
        torch.zeros(0, 4),
        torch.tensor([True, True]),
    )
    return given._replace(**changes)


def test_retinanet_takes_half_and_leaves_what_lies_between() -> None:
    """Chapter 5: IoU ≥ .5 object, < .4 background, between them ignored."""
    found = owners(of_iou(1.0, 0.51, 0.49, 0.41, 0.39, 0.0), OBJECT, RETINANET)
    assert found.tolist() == [0, 0, IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_rpn_takes_seven_tenths_and_each_objects_best() -> None:
    """§4.4.1: IoU > .7 or the highest for an object; background below .3 with all."""
    assert owners(of_iou(0.9, 0.71, 0.69, 0.31, 0.29), OBJECT, RPN).tolist() == [
        *(0, 0, IGNORED, IGNORED, BACKGROUND)
    ]
    assert owners(of_iou(0.2, 0.1, 0.2), OBJECT, RPN).tolist() == [0, BACKGROUND, 0]
    assert owners(of_iou(0.2, 0.1), OBJECT, RETINANET).tolist() == [BACKGROUND] * 2
    far = OBJECT + 1000
    assert owners(of_iou(0.9, 0.1), far, RPN).tolist() == [BACKGROUND] * 2


def test_an_anchor_that_is_two_objects_best_goes_to_the_nearer() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 20.0], [0.0, 0.0, 100.0, 30.0]])
    assert owners(of_iou(1.0), boxes, RPN).tolist() == [1]


def test_the_best_object_owns() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 60.0], [0.0, 0.0, 100.0, 90.0]])
    assert owners(of_iou(1.0, 0.6), boxes, RETINANET).tolist() == [1, 0]


def test_labels_name_the_objects_category() -> None:
    labels, owner = targets(of_iou(0.9, 0.45, 0.1), truth(OBJECT, [2]), RETINANET)
    assert labels.tolist() == [[0, 1], [-1, -1], [0, 0]]
    assert owner.tolist() == [0, IGNORED, BACKGROUND]


def test_without_objects_all_is_background() -> None:
    labels, owner = targets(of_iou(0.9, 0.1), truth(torch.zeros(0, 4), []), RPN)
    assert labels.tolist() == [[0, 0]] * 2
    assert owner.tolist() == [BACKGROUND] * 2


def test_categories_that_are_not_labelled_get_no_background() -> None:
    """At an object's own anchor the others are known: it is not one of them."""
    given = truth(OBJECT, [1], labelled=torch.tensor([True, False]))
    assert targets(of_iou(0.9, 0.1), given, RETINANET)[0].tolist() == [[1, 0], [0, -1]]
    partly = truth(OBJECT, [1], labelled=torch.tensor([False, False]))
    assert targets(of_iou(0.9, 0.1), partly, RETINANET)[0].tolist() == [[1, 0], [-1, -1]]


def test_crowds_are_no_background_and_objects_in_them_are_objects() -> None:
    crowd = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    given = truth(OBJECT, [1], crowds=crowd)
    anchors = torch.cat([of_iou(0.9, 0.1), torch.tensor([[60.0, 10.0, 200.0, 20.0]])])
    assert targets(anchors, given, RETINANET)[0].tolist() == [[1, 0], [-1, -1], [0, 0]]


@pytest.mark.parametrize("rule", [RPN, RETINANET], ids=["rpn", "retinanet"])
def test_objects_cut_too_short_are_neither(rule: Rule) -> None:
    given = truth(OBJECT, [1], usable=torch.tensor([False]))
    labels, owner = targets(of_iou(0.9, 0.1), given, rule)
    assert labels.tolist() == [[-1, -1], [0, 0]]
    assert owner.tolist() == [IGNORED, BACKGROUND]


def test_of_any_category_there_is_one() -> None:
    one = truth(OBJECT, [2]).of_any_category()
    assert targets(of_iou(0.9, 0.1), one, RPN)[0].tolist() == [[1], [0]]
    some = truth(OBJECT, [2], labelled=torch.tensor([True, False])).of_any_category()
    assert targets(of_iou(0.9, 0.1), some, RPN)[0].tolist() == [[1], [-1]]
