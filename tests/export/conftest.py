"""Small random networks, their checkpoints and their exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepmask.export import parity
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import build
from deepmask.networks.patches.config import DeepMaskConfig, sharpened
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import VggA
from deepmask.runtime.model.manifest import Manifest
from deepmask.train.checkpoint import Checkpoint, save_checkpoint

TINY = DeepMaskConfig(
    patch=64,
    context=16,
    trunk="resnet18",
    channels=8,
    mask_head="low-rank",
    rank=12,
    mask_size=14,
    score_head="shared",
    score_width=20,
)
#: The same network with the paper's score head; with the full mask head; on a VGG-A.
PAPER_LIKE = replace(TINY, context=0, score_head="pooled")
FULL_LIKE = replace(PAPER_LIKE, patch=96, mask_head="full", rank=0)
VGG_LIKE = replace(PAPER_LIKE, trunk="vgg-a")
#: The first one refined, with masks at full resolution.
TINY_SHARP = sharpened(TINY, (8, 6, 5, 4, 3), (7, 6, 5, 4), TINY.patch)
#: The same refined network with masks that start from the features.
HEAD_A = replace(TINY_SHARP, score_head="separate")


def random_model(config: DeepMaskConfig) -> DeepMaskNetwork:
    """Random weights and random BatchNorm statistics, the same each time.

    Refinement and VGG-A get larger ones, so that what they give is about as large as of trained
    ones, and nothing in it is lost below a tolerance.
    """
    torch.manual_seed(0)
    model = build(config)
    assert isinstance(model, DeepMaskNetwork)
    for name, buffer in model.named_buffers():
        if "running_mean" in name:
            buffer.normal_(0, 0.3)
        elif "running_var" in name:
            buffer.uniform_(0.5, 2)
    for name, parameter in model.named_parameters():
        if name.startswith("refine."):
            parameter.data *= 3
    if isinstance(model.trunk, VggA):
        for parameter in model.trunk.parameters():
            parameter.data *= 2.4  # the gain of a ReLU behind PyTorch's own initialisation
    return model.eval()


def write_checkpoint(model: DeepMaskNetwork, path: Path) -> Path:
    save_checkpoint(Checkpoint(model.config, model.state_dict(), {}), path)
    return path


def export_quickly(
    checkpoint: Path, out: Path, options: ExportOptions, pictures: int = 1
) -> Manifest:
    """Export, compared with PyTorch on the smallest pictures only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "PICTURE_SIZES", parity.PICTURE_SIZES[:pictures])
        return export_model(checkpoint, out, options)


def write_photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (60 + number, 48), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return write_checkpoint(random_model(TINY), folder / "tiny.pt")


@pytest.fixture(scope="session")
def r18_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r18")
    return write_checkpoint(random_model(PRESETS["deepmask-r18"].config), folder / "r18.pt")


@pytest.fixture(scope="session", params=["fp32", "fp16"])
def r18_export(
    request: pytest.FixtureRequest,
    r18_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("models") / f"r18-{request.param}"
    export_model(r18_checkpoint, out, ExportOptions(weights=request.param))
    return out
