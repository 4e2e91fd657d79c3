"""Every image that the runtime accepts fits a profile, and common ones are at its best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.profile import WINDOWS, choose_profile
from deepmask.runtime.engines.tensorrt.profile import profiles as profiles_of
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest, Scales
from deepmask.runtime.views.views import View, plan_views
from tests.runtime.chains_model import write_chains_model

MAX_SIDE = 1333
#: Most larger scales, see `Scales.zoomed`.
ZOOMS = 2


@pytest.fixture(scope="module")
def manifest(model_folder: Path) -> Manifest:
    return load_manifest(model_folder)


def with_scales(manifest: Manifest, scales: Scales, enlarge: bool = False) -> Manifest:
    return replace(manifest, views=replace(manifest.views, scales=scales, enlarge=enlarge))


def shapes_of(view: View, windows: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of the square model's inputs at a view, written out by hand."""
    height, width = view.canvas_height, view.canvas_width
    features = (1, 256, height // 16, width // 16)
    return {"image": (1, 3, height, width), "features": features, "locations": (windows, 2)}


SIDES = st.one_of(st.integers(1, 4000), st.sampled_from([1, 15, 16, 17, 640, 1332, 1333, 1334]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_view_of_every_image_fits(manifest: Manifest, data: st.DataObject) -> None:
    size = data.draw(st.tuples(SIDES, SIDES))
    start = data.draw(st.sampled_from([-2.5, -2.0, -1.0, 0.0]))
    step = data.draw(st.sampled_from([0.25, 0.5, 0.7, 1.0]))
    scales = Scales(start, start + data.draw(st.integers(0, 6)) * step, step)
    max_side = data.draw(st.sampled_from([100, 640, 641, 800, 1333, 2000]))
    zooms, windows = data.draw(st.integers(0, ZOOMS)), data.draw(st.integers(1, WINDOWS[-1]))
    enlarge = data.draw(st.booleans())
    manifest = with_scales(manifest, scales, enlarge)
    factors = scales.zoomed(zooms).factors()
    for stage in manifest.stages:
        found = profiles_of(manifest, stage, max_side, scales.zoomed(zooms).stop)
        for view in plan_views(*size, factors, manifest.views, max_side):
            shapes = shapes_of(view, windows)
            choose_profile(found, {name: shapes[name] for name in stage.inputs})


@pytest.mark.parametrize("enlarge", [False, True])
@pytest.mark.parametrize("zooms", range(ZOOMS + 1))
def test_common_photographs_are_optimal(manifest: Manifest, zooms: int, enlarge: bool) -> None:
    manifest = with_scales(manifest, manifest.views.scales, enlarge)
    scales = manifest.views.scales.zoomed(zooms)
    found = profiles_of(manifest, manifest.stage("trunk"), MAX_SIDE, scales.stop)
    assert len(found) == len(scales.factors())
    factors = scales.factors()
    for index, view in enumerate(plan_views(480, 640, factors, manifest.views, MAX_SIDE)):
        shape = (1, 3, view.canvas_height, view.canvas_width)
        assert choose_profile(found, {"image": shape}) == index
        assert found[index]["image"].opt == shape


def test_a_bucket_ends_half_way_to_the_next(manifest: Manifest) -> None:
    """A picture that is somewhat larger than a common one is at the optimum of the same size."""
    scales = manifest.views.scales
    found = profiles_of(manifest, manifest.stage("trunk"), MAX_SIDE)
    assert len(found) > 3
    for index in range(len(found) - 1):
        for quarters, expected in ((1, index), (2, index), (3, index + 1)):
            factor = 2 ** (scales.start + (index + quarters / 4) * scales.step)
            [view] = plan_views(640, 640, (factor,), manifest.views)
            shapes = {"image": shapes_of(view)["image"]}
            assert choose_profile(found, shapes) == expected


def test_buckets_do_not_crowd(manifest: Manifest) -> None:
    fine = with_scales(manifest, Scales(-2.0, 1.0, 0.05))
    coarse = with_scales(manifest, Scales(-2.0, 1.0, 0.5))
    stage = manifest.stage("trunk")
    assert len(profiles_of(fine, stage, MAX_SIDE)) <= len(profiles_of(coarse, stage, MAX_SIDE))
    assert len(profiles_of(coarse, stage, 1)) == 1


def test_a_free_axis_has_room_for_any_table(tmp_path: Path) -> None:
    """From one row to as many as the canvas has pixels, which is at most that of the profile."""
    chains = load_manifest(write_chains_model(tmp_path))
    chains = replace(chains, views=replace(chains.views, enlarge=True, max_side=1024))
    found = profiles_of(chains, chains.stage("mask-small"), 1024, 1.0)
    images = profiles_of(chains, chains.stage("trunk"), 1024, 1.0)
    assert len(found) == len(images) > 1
    for profile, image in zip(found, images, strict=True):
        _, _, height, width = image["image"].max
        samples, layout = profile["samples"], profile["layout"]
        assert (samples.min, samples.max) == ((1, 1), (height * width, 1))
        assert 1 < samples.opt[0] < height * width
        assert layout.min == layout.opt == layout.max == (2, 3)


def test_what_fits_nowhere_is_told_with_the_limits(manifest: Manifest) -> None:
    found = profiles_of(manifest, manifest.stage("trunk"), MAX_SIDE)
    high = found[-1]["image"].max
    with pytest.raises(EngineError) as caught:
        choose_profile(found, {"image": (1, 3, high[2] + 16, 320)})
    text = str(caught.value)
    assert text.startswith(f"the plan was not built for image 1×3×{high[2] + 16}×320; ")
    assert str(found[-1]["image"]) in text
    assert "--max-side" in text
