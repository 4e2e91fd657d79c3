"""Every image that the runtime accepts fits a profile, and common ones are at its best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.profile import (
    FIXED,
    MOST_WINDOWS,
    ZOOMS,
    Range,
    choose_profile,
    profiles,
)
from deepmask.runtime.model.manifest import TENSORS, Manifest, Scales, load_manifest
from deepmask.runtime.views.pyramid import plan_pyramid

MAX_SIDE = 1333


@pytest.fixture(scope="module")
def manifest(model_folder: Path) -> Manifest:
    return load_manifest(model_folder)


def shapes_of(manifest: Manifest, level: object, windows: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors at a level, written out by hand; fixed axes are 7."""
    height, width = level.canvas_height, level.canvas_width  # type: ignore[attr-defined]
    rows, cols = level.rows, level.cols  # type: ignore[attr-defined]
    return {
        "image": (1, 3, height, width),
        "features": (1, 7, height // 16, width // 16),
        "code": (1, 7, rows, cols),
        "locations": (windows, 2),
    }


SIDES = st.one_of(st.integers(1, 4000), st.sampled_from([1, 15, 16, 17, 640, 1332, 1333, 1334]))


@settings(max_examples=60, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    start=st.sampled_from([-2.5, -2.0, -1.0, 0.0]),
    count=st.integers(0, 6),
    step=st.sampled_from([0.25, 0.5, 0.7, 1.0]),
    zooms=st.integers(0, ZOOMS),
    max_side=st.sampled_from([100, 640, 641, 800, 1333, 2000]),
    windows=st.integers(1, MOST_WINDOWS),
)
def test_every_level_of_every_image_fits(
    manifest: Manifest,
    height: int,
    width: int,
    start: float,
    count: int,
    step: float,
    zooms: int,
    max_side: int,
    windows: int,
) -> None:
    scales = Scales(start, start + count * step, step)
    manifest = replace(manifest, scales=scales)
    searched = Scales(scales.start, scales.stop + zooms * step, step)
    levels = plan_pyramid(height, width, searched.factors(), manifest, max_side)
    for graph in manifest.graphs.values():
        found = profiles(manifest, graph, max_side)
        for level in levels:
            shapes = shapes_of(manifest, level, windows)
            choose_profile(found, {name: shapes[name] for name in graph.inputs})


@pytest.mark.parametrize("zooms", range(ZOOMS + 1))
def test_a_common_photograph_is_at_the_optimum_of_each_bucket(
    manifest: Manifest, zooms: int
) -> None:
    scales = manifest.scales
    searched = Scales(scales.start, scales.stop + zooms * scales.step, scales.step)
    found = profiles(manifest, manifest.graphs["trunk"], MAX_SIDE)
    levels = plan_pyramid(480, 640, searched.factors(), manifest, MAX_SIDE)
    for index, level in enumerate(levels):
        shape = (1, 3, level.canvas_height, level.canvas_width)
        assert choose_profile(found, {"image": shape}) == index
        assert found[index]["image"].opt == shape


def test_every_range_is_in_order_and_buckets_ascend(manifest: Manifest) -> None:
    for graph in manifest.graphs.values():
        found = profiles(manifest, graph, MAX_SIDE)
        for profile in found:
            assert set(profile) == set(graph.inputs)
            for name, accepted in profile.items():
                sides = zip(accepted.min, accepted.opt, accepted.max, strict=True)
                assert all(low <= best <= high for low, best, high in sides)
                assert len(accepted.min) == len(TENSORS[name].axes)
        maxima = [[accepted.max for accepted in profile.values()] for profile in found]
        assert maxima == sorted(maxima)


def test_buckets_do_not_crowd(manifest: Manifest) -> None:
    fine = replace(manifest, scales=Scales(-2.0, 1.0, 0.05))
    coarse = replace(manifest, scales=Scales(-2.0, 1.0, 0.5))
    graph = manifest.graphs["trunk"]
    assert len(profiles(fine, graph, MAX_SIDE)) <= len(profiles(coarse, graph, MAX_SIDE))
    assert len(profiles(coarse, graph, 1)) == 1


def test_axes_that_a_graph_fixes_are_left_to_it(manifest: Manifest) -> None:
    features = profiles(manifest, manifest.graphs["score"], MAX_SIDE)[0]["features"]
    assert features.min[:2] == (1, FIXED)
    assert (1, 99, *features.opt[2:]) in features
    assert (2, 99, *features.opt[2:]) not in features
    assert (99, *features.opt[2:]) not in features


def test_what_fits_nowhere_is_told_with_the_limits(manifest: Manifest) -> None:
    found = profiles(manifest, manifest.graphs["trunk"], MAX_SIDE)
    high = found[-1]["image"].max
    with pytest.raises(EngineError) as caught:
        choose_profile(found, {"image": (1, 3, high[2] + 16, 320)})
    text = str(caught.value)
    assert text.startswith(f"the engine was not built for image 1×3×{high[2] + 16}×320; ")
    assert str(found[-1]["image"]) in text
    assert "--max-side" in text


def test_a_range_shows_its_minimum_maximum_and_optimum() -> None:
    accepted = Range((1, FIXED, 2), (1, FIXED, 5), (1, FIXED, 9))
    assert str(accepted) == "1×?×2 … 1×?×9 (best: 1×?×5)"
