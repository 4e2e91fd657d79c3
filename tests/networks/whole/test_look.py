"""Looks at pictures: objects pasted from one onto another, and wider scales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepmask.coco.reader import read_coco
from deepmask.networks.family import TrainingData
from deepmask.networks.whole.batches import whole_looks
from deepmask.networks.whole.look import Look, objects_of, pasted
from deepmask.networks.whole.recipe import FpnLiteRecipe

CANVAS = (128, 128)


def a_look(value: int, *boxes: tuple[int, int, int, int], complete: bool = True) -> Look:
    """A canvas of one gray with rectangles of another, (x0, y0, x1, y1)."""
    image = np.full((*CANVAS, 3), value, np.uint8)
    bitmaps = np.zeros((len(boxes), *CANVAS), np.uint8)
    for bitmap, (x0, y0, x1, y1) in zip(bitmaps, boxes, strict=True):
        bitmap[y0:y1, x0:x1] = 1
        image[y0:y1, x0:x1] = value + 50
    return Look(image, bitmaps, bitmaps.sum((1, 2)).astype(float), np.zeros((0, 4)), complete)


def test_pasted_objects_cover_what_lies_under_them() -> None:
    under = a_look(20, (10, 10, 50, 50), (60, 60, 120, 120))
    over = a_look(150, (10, 10, 50, 44), (90, 0, 128, 20))
    draws = [pasted(under, over, np.random.default_rng(seed)) for seed in range(16)]
    counts = {len(one.bitmaps) for one in draws}
    assert counts == {2, 3, 4}
    for one in draws:
        assert (one.bitmaps.sum(0) <= 1).all()
        new = one.bitmaps[2:].any(0)
        assert (one.image[new] == 200).all()
        assert (one.image[~new] == under.image[~new]).all()
    both = next(one for one in draws if len(one.bitmaps) == 4)
    bitmaps, objects = objects_of(both)
    assert len(bitmaps) == 4
    assert objects.usable.tolist() == [False, True, True, True]  # 15 % of the first are left


def test_specks_are_regions_to_ignore() -> None:
    bitmaps, objects = objects_of(a_look(20, (3, 5, 5, 8), (40, 40, 80, 80)))
    assert len(bitmaps) == 1
    assert objects.crowds.tolist() == [[3, 5, 5, 8]]


def test_options_of_looks_change_them(drawn: tuple[Path, Path]) -> None:
    data = TrainingData(read_coco(*drawn))
    plain = FpnLiteRecipe(batch=6, whole_share=0.0, large_objects=0.0)
    usual, wide, crowded = (
        whole_looks(data, one)
        for one in (plain, replace(plain, scale_jitter=1.5), replace(plain, copy_paste=1.0))
    )

    def spread(looks: list[Look]) -> float:
        return float(np.ptp([np.log2(look.whole.max()) for look in looks if len(look.whole)]))

    def count(looks: list[Look]) -> int:
        return sum(len(look.whole) for look in looks)

    seen = [[look for step in range(3) for look in f(step).looks] for f in (usual, wide, crowded)]
    assert spread(seen[1]) > spread(seen[0]) + 1
    assert count(seen[2]) > count(seen[0])
