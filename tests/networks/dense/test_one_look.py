"""A network that sees a picture once says so, and its table of grids goes level by level."""

from __future__ import annotations

from deepmask.networks.dense.one_look import LIGHT_SIDE, mask_grids, one_look
from deepmask.networks.levels import SLOTS, STRIDES, grids
from deepmask.runtime.views.views import plan_views


def test_there_is_one_view_with_the_longer_side_that_is_asked_for() -> None:
    views = one_look(LIGHT_SIDE, STRIDES[-1])
    (view,) = plan_views(480, 640, views.scales.factors(), views, None)
    assert (view.height, view.width) == (768, LIGHT_SIDE)


def test_each_window_of_a_location_reads_its_own_channel() -> None:
    rows = mask_grids(grids(), len(SLOTS))
    assert [(row.score, row.channel) for row in rows] == [
        (f"score{stride}", slot) for stride in STRIDES for slot in range(len(SLOTS))
    ]
