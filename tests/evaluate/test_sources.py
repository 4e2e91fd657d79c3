"""Proposals of a model are measured in the order in which it ranks them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from rlemasklib import RLEMask

from deepmask import DeepMask, Proposals
from deepmask.coco.annotations import Image
from deepmask.evaluate.sources import ModelSource
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.classes import Classes
from tests.runtime.named_model import CATEGORIES, write_named_model


def test_names_do_not_reorder_equal_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (20, 30)
    Picture.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "a.png")
    masks = np.zeros((3, *size), bool)
    for index in range(3):
        masks[index, : 4 + 4 * index, :5] = True
    chances = np.array([[0, 0.9], [0.9, 0], [0, 0.9]], np.float32)  # bright, dark, bright
    found = Proposals(
        np.full(3, 0.5, np.float32),
        [RLEMask.from_array(mask.astype(np.uint8)) for mask in masks],
        size,
        classes=Classes(CATEGORIES, chances, None, 0.5),
    )
    with DeepMask.load(write_named_model(tmp_path / "model"), device="cpu") as model:
        scales = Scales(0, 0, 1)
        labels = {one.id: one.name for one in CATEGORIES}
        source = ModelSource(
            model, tmp_path, proposals=3, scales=scales, threshold=0.5, overlap=1.0, labels=labels
        )
        monkeypatch.setattr(source, "_propose", lambda image: found)
        candidates, _ = source.propose(Image(1, Path("a.png"), size[1], size[0]))
    assert candidates.boxes[:, 3].tolist() == [4, 8, 12]
    assert candidates.detections is not None
    dark = candidates.detections.boxes[candidates.detections.categories == CATEGORIES[0].id]
    assert 8 in dark[:, 3].tolist()
