"""The baseline is a fair one: it finds what the runtime finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from benchmarks.baseline import Baseline
from benchmarks.scenes import draw_picture
from deepmask.runtime.predict.deepmask import DeepMask
from tests.benchmarks.conftest import Exports


@pytest.mark.parametrize("head", ["shared", "pooled"])
def test_same_proposals_as_the_runtime(exports: Exports, head: str) -> None:
    folder, _ = exports[head]
    picture = draw_picture(150, 203)
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as model:
        manifest = replace(model.manifest, scale_prior=0.0)  # which the paper has not
        ours = DeepMask(manifest, model.engine, model.choice)(picture, proposals=60, overlap=1.0)
        baseline = Baseline(folder.parent / "checkpoint.pt", model.manifest)
    theirs = baseline(picture, proposals=60)
    assert len(theirs) == 60
    np.testing.assert_allclose([one["score"] for one in theirs], ours.scores, atol=1e-4)
    # Equal scores may change places; the first masks of each are compared by their best partner.
    iou = coco_mask.iou([one["segmentation"] for one in theirs], ours.rles(), [0] * 60)
    assert np.mean(iou.max(axis=1)) > 0.9


def test_proposals_beyond_the_locations(exports: Exports) -> None:
    folder, _ = exports["shared"]
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as model:
        count = len(model(draw_picture(40, 50), proposals=10_000, overlap=1.0))
        baseline = Baseline(folder.parent / "checkpoint.pt", model.manifest)
    assert len(baseline(draw_picture(40, 50), proposals=10_000)) == count
