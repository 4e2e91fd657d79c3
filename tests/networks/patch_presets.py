"""The presets of networks that are trained on patches: DeepMasks and SharpMasks."""

from __future__ import annotations

from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.presets import PRESETS

PATCH_PRESETS = [name for name, one in PRESETS.items() if isinstance(one.config, DeepMaskConfig)]
