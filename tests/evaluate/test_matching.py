"""Greedy matching against COCOeval's own loops, ties and ignored objects included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepmask.evaluate.ground_truth import Objects
from deepmask.evaluate.matching import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    Candidates,
    match,
    overlaps,
    rank_matches,
)

#: Few values, so that equal IoUs and IoUs on a threshold are common.
IOUS = st.sampled_from([0.0, 0.3, *IOU_THRESHOLDS.tolist(), 0.72, 1.0])
TABLES = hnp.arrays(np.float64, st.tuples(st.integers(0, 9), st.integers(1, 6)), elements=IOUS)


def coco_ranks(ious: npt.NDArray[np.float64], ignored: list[bool]) -> npt.NDArray[np.int64]:
    """COCOeval.evaluateImg's loops, in ranks of the objects that are not ignored."""
    order = np.argsort(ignored, kind="mergesort")
    flags, table = np.array(ignored)[order], ious[:, order]
    ranks = np.zeros((len(ignored), len(IOU_THRESHOLDS)), np.int64)
    for t, threshold in enumerate(IOU_THRESHOLDS):
        matched = np.zeros(len(ignored), bool)
        for d in range(len(table)):
            iou, chosen = min(threshold, 1 - 1e-10), -1
            for g in range(len(flags)):
                if matched[g]:
                    continue
                if chosen > -1 and not flags[chosen] and flags[g]:
                    break
                if table[d, g] < iou:
                    continue
                iou, chosen = table[d, g], g
            if chosen > -1:
                matched[chosen] = True
                ranks[order[chosen], t] = d + 1
    kept: npt.NDArray[np.int64] = ranks[~np.array(ignored)]
    return kept


@given(TABLES, st.data())
def test_ignored_objects_never_change_what_is_found(
    ious: npt.NDArray[np.float64], data: st.DataObject
) -> None:
    count = ious.shape[1]
    ignored = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    assert np.array_equal(match(ious[:, ~np.array(ignored)]), coco_ranks(ious, ignored))


@given(TABLES, st.integers(0, 9))
def test_the_best_k_find_the_beginning_of_what_all_find(
    ious: npt.NDArray[np.float64], k: int
) -> None:
    ranks = match(ious)
    assert np.array_equal(match(ious[:k]), np.where(ranks <= k, ranks, 0))


def test_an_object_on_the_border_of_two_sizes_counts_in_both() -> None:
    boxes = np.array([[0.0, 0, 32, 32], [40, 40, 33, 32]])
    areas = boxes[:, 2] * boxes[:, 3]
    objects = Objects(ids=np.array([1, 2]), areas=areas, boxes=boxes, rles=None)
    found = Candidates(np.array([0.9, 0.8]), boxes[::-1].copy(), None)
    ranks = rank_matches(found, objects, ("bbox",))["bbox"]
    assert {name: len(ranks[name]) for name in AREA_RANGES} == {
        "all": 2,
        "small": 1,
        "medium": 2,
        "large": 0,
    }
    assert ranks["all"][:, 0].tolist() == [2, 1]
    assert ranks["small"][:, 0].tolist() == [2]


@settings(max_examples=30)
@given(st.integers(0, 3), st.integers(0, 3))
def test_nothing_to_match(proposals: int, objects: int) -> None:
    boxes = np.tile([0.0, 0, 9, 9], (3, 1))
    found = Candidates(np.ones(proposals), boxes[:proposals], None)
    truth = Objects(np.arange(objects), np.full(objects, 81.0), boxes[:objects], None)
    assert overlaps(found, truth, "bbox").shape == (proposals, objects)
    ranks = rank_matches(found, truth, ("bbox",))["bbox"]["all"]
    assert np.count_nonzero(ranks[:, 0]) == min(proposals, objects)
