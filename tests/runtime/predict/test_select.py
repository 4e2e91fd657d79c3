"""The best locations over all views and grids, of which near-duplicates move down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from deepmask.runtime.model.manifest import Grid
from deepmask.runtime.predict.select import ScoreMap, select_best, weigh_sizes
from deepmask.runtime.predict.soft_nms import demote_duplicates
from deepmask.runtime.views.views import View


def grid_of(window: int, stride: int = 16) -> Grid:
    return Grid(f"of {window}", "score", 0, stride, window, 16, 0.0)


def view_of(factor: float) -> View:
    return View(factor, 1, 1, factor, factor, 1, 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 150), st.booleans())
def test_selection_is_a_full_sort_cut_short(seed: int, count: int, ties: bool) -> None:
    """Score descending, then view, grid, category, row, column: also where scores are equal."""
    rng = np.random.default_rng(seed)
    shapes = {(0, 0): (3, 3, 5), (0, 1): (3, 1, 2), (1, 0): (3, 6, 9), (1, 1): (3, 4, 4)}
    maps = [
        ScoreMap(view, grid, rng.normal(size=size).astype(np.float32))
        for (view, grid), size in shapes.items()
    ]
    if ties:
        maps = [ScoreMap(one.view, one.grid, np.round(one.logits)) for one in maps]
    ranked = sorted(
        (-float(one.logits[category, row, col]), one.view, one.grid, category, row, col)
        for one in maps
        for category, row, col in np.ndindex(one.logits.shape)
    )[:count]
    best = select_best(maps, count)
    columns = (-best.logit, best.view, best.grid, best.category, best.row, best.col)
    assert list(zip(*(one.tolist() for one in columns), strict=True)) == ranked
    assert len(best) == min(count, 3 * (15 + 2 + 54 + 16))


def test_a_prior_counts_octaves_below_scale_one() -> None:
    maps = [
        ScoreMap(0, 0, np.zeros((1, 1, 2), np.float32)),
        ScoreMap(1, 0, np.ones((1, 2, 2), np.float32)),
        ScoreMap(2, 0, np.ones((1, 1, 1), np.float32)),
    ]
    views = [view_of(factor) for factor in (0.25, 1.0, 2.0)]
    small, same, large = weigh_sizes(maps, views, [grid_of(64)], 0.5)
    assert small.logits.tolist() == [[[1.0, 1.0]]]
    assert same.logits.tolist() == [[[1.0, 1.0], [1.0, 1.0]]]
    assert large.logits.tolist() == [[[0.5]]]
    assert all(one.logits.dtype == np.float32 for one in (small, same, large))
    unweighed = weigh_sizes(maps, views, [grid_of(64)], 0.0)
    for found, raw in zip(unweighed, maps, strict=True):
        assert (found.view, found.grid) == (raw.view, raw.grid)
        assert_array_equal(found.logits, raw.logits)


def test_a_prior_counts_octaves_of_larger_windows_too() -> None:
    """A window of twice the size at scale 1 is as large in the picture as one at half the scale."""
    views, grids = [view_of(0.5), view_of(1.0)], [grid_of(64), grid_of(128), grid_of(32)]
    zero = np.zeros((1, 1, 1), np.float32)
    maps = [ScoreMap(view, grid, zero) for view in range(2) for grid in range(3)]
    found = [one.logits.item() for one in weigh_sizes(maps, views, grids, 0.5)]
    assert found == [0.5, 1.0, 0.0, 0.0, 0.5, -0.5]


Boxes = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32]


def boxes_of(*rows: tuple[int, int, int, int]) -> Boxes:
    return np.array(rows, np.float64).reshape(-1, 4)


def test_a_near_duplicate_falls_behind_another_object() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 10, 10))
    order, scores = demote_duplicates(np.array([0.9, 0.8, 0.5], np.float32), boxes, 0.8)
    assert order.tolist() == [0, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.8 * 0.1], rtol=1e-5)


def test_the_limit_is_exclusive_and_one_changes_nothing() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 10))
    given_scores = np.array([0.9, 0.8, 0.5], np.float32)
    order, scores = demote_duplicates(given_scores, boxes, 0.85)
    assert order.tolist() == [0, 1, 2]
    assert scores[1] == given_scores[1]
    order, scores = demote_duplicates(given_scores, boxes, 1.0)
    assert order.tolist() == [0, 1, 2]
    assert np.array_equal(scores, given_scores)


def plain(scores: Scores, boxes: Boxes, overlap: float) -> tuple[list[int], Scores]:
    """Soft-NMS as a reader would write it, in float32 as well: equal to the last bit."""

    def iou(a: Boxes, b: Boxes) -> np.float32:
        one, other = a.astype(np.float32), b.astype(np.float32)
        zero = np.float32(0)
        w = np.minimum(one[0] + one[2], other[0] + other[2]) - np.maximum(one[0], other[0])
        h = np.minimum(one[1] + one[3], other[1] + other[3]) - np.maximum(one[1], other[1])
        shared = np.maximum(w, zero) * np.maximum(h, zero)
        union = one[2] * one[3] + other[2] * other[3] - shared
        return np.float32(shared / np.maximum(union, np.float32(1e-9)))

    left = dict(enumerate(scores))
    order, final = [], []
    while left:
        best = max(left, key=lambda index: (left[index], -index))
        order.append(best)
        final.append(left.pop(best))
        for index in left:
            if iou(boxes[best], boxes[index]) > overlap:
                left[index] *= 1 - iou(boxes[best], boxes[index])
    return order, np.array(final, np.float32)


box = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(0, 9)] * 2)


@given(st.lists(box, max_size=25), st.sampled_from([0.0, 0.33, 0.62, 0.81]), st.integers(0, 999))
def test_the_plain_form(rows: list[tuple[int, int, int, int]], overlap: float, seed: int) -> None:
    boxes = boxes_of(*rows)
    drawn = np.random.default_rng(seed).integers(0, 40, len(boxes)) / np.float32(40)  # some tie
    scores = np.sort(drawn.astype(np.float32))[::-1].copy()
    order, final = demote_duplicates(scores, boxes, overlap)
    expected_order, expected = plain(scores, boxes, overlap)
    assert order.tolist() == expected_order
    assert_array_equal(final, expected)


def test_blocks_of_boxes_are_joined() -> None:
    random = np.random.default_rng(2)
    sides = (random.integers(low, high, (200, 2)) for low, high in ((0, 40), (8, 24)))
    boxes = np.hstack(list(sides)).astype(np.float64)
    drawn = np.sort(random.random(200).astype(np.float32))[::-1].copy()
    order, final = demote_duplicates(drawn, boxes, 0.5)
    expected_order, expected = plain(drawn, boxes, 0.5)
    assert order.tolist() == expected_order
    assert order.tolist() != list(range(200))
    assert_array_equal(final, expected)
