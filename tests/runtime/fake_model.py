"""A model on the GPU that is not there, and pictures for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask import DeepMask
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import fake_library, fake_plans

Picture = npt.NDArray[np.uint8]


def load(
    folder: Path, device: FakeDevice, flavour: str = "tensorrt", max_side: int = 640, *kept: Any
) -> DeepMask:
    """The model of a folder on the fake device; where kernels are kept, and who is told."""
    manifest = load_manifest(folder)
    plans, library = fake_plans(manifest, folder, max_side), fake_library(device, flavour)
    engine = TensorRTEngine(manifest, plans, library, device, *kept)
    return DeepMask(manifest, engine, Choice(flavour, "cuda"))


def picture(seed: int, height: int = 90, width: int = 120) -> Picture:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
