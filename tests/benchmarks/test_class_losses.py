"""The comparison of losses: categories that stay, and the table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from benchmarks.class_losses import Crops, frequent, only, table, with_only
from deepmask.coco.reader import read_coco
from tests.networks.anchors.test_objective import batch


def test_crops_keep_the_objects_of_some_categories() -> None:
    (crops,) = only([Crops([], batch("focal"))], [4, 9], [9])
    assert [one.tolist() for one in crops.batch.category] == [[1], []]
    assert [len(one) for one in crops.batch.boxes] == [1, 0]
    assert [one.tolist() for one in crops.batch.usable] == [[True], []]
    assert torch.equal(crops.batch.boxes[0][0], batch("focal").boxes[0][1])
    assert crops.batch.labelled[0].tolist() == [True]


def test_the_most_frequent_categories_are_chosen(drawn: tuple[Path, Path]) -> None:
    found = read_coco(*drawn)
    counts = Counter(one.category for one in found.objects)
    (best,) = frequent(found, 1)
    assert counts[best] == max(counts.values())
    assert {one.category for one in with_only(found, [best]).instances} == {best}


def test_a_row_is_the_mean_of_its_runs() -> None:
    runs = {
        str(k): {"loss": "ohem", "AP": value, "AP50": value, "AP75": 0.0}
        for k, value in enumerate((0.01, 0.02))
    }
    cell = "1.50 (1.00–2.00)"
    assert table(runs)[2:] == [f"| ohem | {cell} | {cell} | 0.00 (0.00–0.00) |"]
