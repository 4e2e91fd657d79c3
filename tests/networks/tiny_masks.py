"""An `fpn-masks` that is small enough for tests."""

from __future__ import annotations

from deepmask.networks.whole.masks_config import FpnMasksConfig

TINY_MASKS = FpnMasksConfig("resnet18", width=8, code=16)
