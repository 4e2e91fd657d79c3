"""Anchors of the papers: sizes, ratios, levels."""

from __future__ import annotations

import pytest

from deepmask.networks.anchors.config import RetinaNetConfig, RpnConfig
from deepmask.networks.anchors.levels import AnchorLevel, anchor_levels


def test_anchors_of_the_rpn_have_areas_of_32_to_512_squared_on_p2_to_p6() -> None:
    """§4.4.1: one size and three aspect ratios, 1:2, 1:1 and 2:1, on each level."""
    levels = RpnConfig().levels()
    assert [(one.name, one.stride) for one in levels] == [(f"p{k}", 2**k) for k in range(2, 7)]
    for level, side in zip(levels, (32, 64, 128, 256, 512), strict=True):
        assert [h * w for h, w in level.sizes] == pytest.approx([side**2] * 3)
        assert [h / w for h, w in level.sizes] == pytest.approx([0.5, 1, 2])


def test_anchors_of_retinanet_have_sides_of_32_to_813_on_p3_to_p7() -> None:
    """Chapter 5: 9 anchors, of three sizes an octave."""
    levels = RetinaNetConfig().levels()
    assert [(one.name, one.stride) for one in levels] == [(f"p{k}", 2**k) for k in range(3, 8)]
    sides = [(h * w) ** 0.5 for one in levels for h, w in one.sizes[::3]]
    assert sides == pytest.approx([32 * 2 ** (k / 3) for k in range(15)])
    assert (round(sides[0]), round(sides[-1])) == (32, 813)
    assert {len(one.sizes) for one in levels} == {9}


def test_p2_has_about_three_times_the_locations_of_p3_to_p7() -> None:
    """Chapter 5: why RetinaNet does without it."""
    finest = RpnConfig().strides[0]
    cells = sum(1 / one.stride**2 for one in RetinaNetConfig().levels())
    assert 1 / finest**2 / cells == pytest.approx(3, abs=0.01)


def test_sizes_come_before_ratios() -> None:
    (level,) = anchor_levels((8,), 4.0, 2, (1.0, 4.0))
    assert level == AnchorLevel(
        "p3", 8, ((32, 32), (64, 16), (32 * 2**0.5,) * 2, (64 * 2**0.5, 16 * 2**0.5))
    )
