"""What stages are fed while their ranges are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepmask.export.precision.calibration import Feeds
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import WINDOWS, Stage, TensorSpec
from deepmask.runtime.views.views import plan_views, render_view
from tests.runtime.chains_model import write_chains_model
from tests.runtime.square_model import write_square_model


class NamedArrays:
    """As much of an engine as calibration uses: outputs are arrays that say how they were made."""

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self.stages = stages
        self.ran: list[str] = []

    def upload(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def run(self, stage: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert set(inputs) == set(self.stages[stage].inputs)
        self.ran.append(stage)
        return {name: np.array([len(self.ran)]) for name in self.stages[stage].outputs}

    def fetch(self, tensor: NDArray[Any]) -> NDArray[Any]:
        return tensor


def test_a_stage_is_fed_with_what_all_stages_before_it_make(tmp_path: Path) -> None:
    """Also with what an earlier stage makes of windows."""
    manifest = load_manifest(write_square_model(tmp_path / "squares"))
    code = TensorSpec("map", "float32", ("n", 4))
    trunk, score, mask = manifest.stages
    first = replace(mask, name="code", per=WINDOWS, outputs={"window_code": code})
    last = replace(mask, inputs={"window_code": code})
    manifest = replace(manifest, stages=(trunk, score, first, last))
    Image.new("RGB", (70, 50)).save(tmp_path / "photograph.png")
    engine: Any = NamedArrays({stage.name: stage for stage in manifest.stages})
    views = len(manifest.views.scales.factors())
    for stage, before in ((trunk, []), (first, ["trunk", "score"]), (last, 3 * [""])):
        engine.ran.clear()
        found = list(Feeds(stage, [tmp_path / "photograph.png"], manifest, engine))
        assert [set(feed) for feed in found] == views * [set(stage.inputs)]
        assert len(engine.ran) == views * len(before)


def test_every_canvas_without_a_border_has_black_and_white(tmp_path: Path) -> None:
    """Once each, so that the range of pixels is the same for all photographs."""
    manifest = load_manifest(write_square_model(tmp_path / "squares"))
    stage = manifest.stage("trunk")
    engine: Any = NamedArrays({one.name: one for one in manifest.stages})
    Image.new("RGB", (70, 50), (90, 91, 92)).save(tmp_path / "photograph.png")
    image = read_image(tmp_path / "photograph.png")
    height, width = image.shape[:2]
    for border in (0, 32):
        views = replace(manifest.views, border=border)
        files = [tmp_path / "photograph.png"]
        planned = plan_views(height, width, views.scales.factors(), views)
        found = Feeds(stage, files, replace(manifest, views=views), engine)
        for view, feed in zip(planned, found, strict=True):
            changed = feed["image"] != render_view(image, view, views)
            assert changed.sum() == (0 if border else 6)
            assert {*feed["image"][changed].tolist()} == (set() if border else {0, 255})


def test_a_stage_is_fed_with_the_windows_of_its_grids(tmp_path: Path) -> None:
    """One that several chains share, with those of each, made by the stages before it there."""
    manifest = load_manifest(write_chains_model(tmp_path / "chains"))
    *views, small, large = manifest.stages
    ends = [
        replace(large, name=f"end-{k}", grids=one.grids) for k, one in enumerate((small, large))
    ]
    both = replace(large, name="both", grids=None)
    stages = (*views, *ends[:1], both, *ends[1:])
    manifest = replace(manifest, stages=stages)
    Image.new("RGB", (70, 50)).save(tmp_path / "photograph.png")
    engine: Any = NamedArrays({stage.name: stage for stage in stages})
    before = ["trunk", "score", "table"]
    for stage, grids, ran in (
        (manifest.stage("end-0"), [{0}], before),
        (manifest.stage("both"), [{0}, {1, 2}], [*before, "end-0", *before]),
        (manifest.stage("end-1"), [{1, 2}], [*before, "both"]),
    ):
        engine.ran.clear()
        found = list(Feeds(stage, [tmp_path / "photograph.png"], manifest, engine))
        assert [set(feed["locations"][:, 0].tolist()) for feed in found] == grids
        assert engine.ran == ran
    [feed] = Feeds(manifest.stage("table"), [tmp_path / "photograph.png"], manifest, engine)
    assert set(feed) == set(manifest.stage("table").inputs)
