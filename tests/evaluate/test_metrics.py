"""Curves, areas under them and bootstrap intervals from ranks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepmask.evaluate.matching import AREA_RANGES
from deepmask.evaluate.metrics import AUC_COUNTS, Totals, interval, measures, summary

Ranks = npt.NDArray[np.int64]
RANKS = hnp.arrays(
    np.int64, st.tuples(st.integers(0, 4), st.just(10)), elements=st.integers(0, 1000)
)


def by_area(ranks: Ranks) -> dict[str, Ranks]:
    """The same objects in every area range."""
    return dict.fromkeys(AREA_RANGES, ranks)


def test_the_grid_of_the_auc_is_logarithmic_from_1_to_1000() -> None:
    assert len(AUC_COUNTS) == 31
    assert (AUC_COUNTS[0], AUC_COUNTS[10], AUC_COUNTS[20], AUC_COUNTS[30]) == (1, 10, 100, 1000)
    assert np.abs(np.diff(np.log10(AUC_COUNTS[10:])) - 0.1).max() < 0.03


def coin_totals(count: int, share: float, first: int = 0) -> Totals:
    """So many images of one object, a share of which is found at once and at every IoU."""
    totals = Totals()
    found = np.random.default_rng(1).random(count) < share
    for image_id in range(count):
        totals.add(first + image_id, by_area(np.full((1, 10), int(found[image_id]))))
    return totals


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_intervals_have_the_width_statistics_gives_them(share: float) -> None:
    count = 400
    values = measures(coin_totals(count, share))["AR@100"]
    low, high = interval(values[1:])
    mean = float(values[0])
    width = 2 * 1.96 * np.sqrt(mean * (1 - mean) / count)
    assert low < mean < high
    assert high - low == pytest.approx(width, rel=0.12)


def test_resamples_belong_to_images_not_to_their_order() -> None:
    """So shards merge, and two runs on the same images are resampled alike."""
    images = {7: np.full((2, 10), 3), 2: np.zeros((1, 10), np.int64), 5: np.full((1, 10), 900)}
    one, other = Totals(), Totals()
    for image_id in (7, 2, 5):
        one.add(image_id, by_area(images[image_id]))
    for image_id in (5, 7, 2):
        other.add(image_id, by_area(images[image_id]))
    for name, values in measures(one).items():
        assert np.array_equal(values, measures(other)[name], equal_nan=True)
    again, elsewhere = coin_totals(50, 0.5), coin_totals(50, 0.5, first=1000)
    assert interval(measures(again)["AUC"]) == interval(measures(coin_totals(50, 0.5))["AUC"])
    assert interval(measures(again)["AUC"]) != interval(measures(elsewhere)["AUC"])


def test_negative_and_huge_image_ids_have_resamples_too() -> None:
    totals = Totals()
    for image_id in (-3, 2**63 - 1):
        totals.add(image_id, by_area(np.full((1, 10), 1)))
    assert summary(totals)["AR@10"] == 1


def test_no_objects_of_a_size_means_no_figure() -> None:
    totals = Totals()
    ranks = by_area(np.full((1, 10), 1))
    totals.add(1, {**ranks, "small": np.zeros((0, 10), np.int64)})
    found = summary(totals)
    assert found["AUC_small"] is None
    assert found["intervals"]["AUC_small"] == [None, None]
    assert found["curves"]["AR_small"][0] is None
    assert found["AUC_large"] == 1


def test_curves_only_rise_with_proposals_and_fall_with_iou() -> None:
    totals = Totals()
    random = np.random.default_rng(0)
    for image_id in range(20):
        # A proposal that passes a high IoU passes the lower ones.
        passes = random.integers(1, 11, (5, 1)) > np.arange(10)
        totals.add(image_id, by_area(np.where(passes, random.integers(1, 1001, (5, 1)), 0)))
    curves = summary(totals)["curves"]
    assert np.all(np.diff(curves["AR"]) >= 0)
    assert np.all(np.diff(curves["recall@100"]) <= 0)
    bands = np.array(curves["AR_interval"])
    assert np.all(bands[:, 0] <= curves["AR"])
    assert np.all(bands[:, 1] >= curves["AR"])
