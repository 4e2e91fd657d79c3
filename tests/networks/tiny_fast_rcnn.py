"""Networks that name boxes, small enough for tests: one of each kind."""

from __future__ import annotations

from dataclasses import replace

from deepmask.networks.boxes.config import FastRcnnConfig
from tests.networks.tiny_fpn import TINY

#: Boxes are read from the pyramid.
OF_PYRAMID = FastRcnnConfig(
    **TINY.to_dict(), roi=2, hidden=8, category_ids=(1, 7), category_names=("square", "disc")
)
#: Boxes are read from a trunk of their own.
OF_TRUNK = replace(OF_PYRAMID, name_trunk="efficientnet-lite0")
