"""`fpn-masks` from training to masks: trained, exported, read back, run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepmask.export import parity
from deepmask.export.request import ExportRequest, export
from deepmask.networks.presets import PRESETS
from deepmask.networks.whole import batches
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.data import DataFiles
from deepmask.train.initialise import read_trained
from deepmask.train.run import Request, train
from tests.networks.tiny_masks import TINY_MASKS


@pytest.mark.slow
def test_from_training_to_masks(
    drawn: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(PRESETS["fpn-masks"].recipe, steps=2, batch=2, whole_share=0.0)
    preset = replace(PRESETS["fpn-masks"], config=TINY_MASKS, recipe=recipe)
    monkeypatch.setitem(PRESETS, "tiny", preset)
    monkeypatch.setattr(batches, "CROP", 128)
    monkeypatch.setattr(parity, "PICTURE_SIZES", parity.PICTURE_SIZES[:1])
    told: list[str] = []
    request = Request("tiny", DataFiles(*drawn), tmp_path / "run", recipe, init="random")
    last = train(request, told.append).last
    assert any("score" in line and "mask" in line for line in told)

    folder = export(ExportRequest(last, tmp_path / "model")).folder
    picture = np.random.default_rng(0).integers(0, 256, (37, 211, 3), np.uint8)
    with DeepMask.load(folder, engine="onnxruntime") as model:
        found = model(picture, proposals=50)
    assert len(found) == 50
    assert found.image_size == (37, 211)

    trained = load_checkpoint(last).build()
    again = read_trained(folder, TINY_MASKS).build()
    image = 255 * torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        levels = [network.pyramid(image).levels for network in (trained, again)]  # type: ignore[operator]
    for one, other in zip(*levels, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
