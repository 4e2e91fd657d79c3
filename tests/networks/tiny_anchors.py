"""Networks with anchors, small enough for tests: one on each kind of pyramid."""

from __future__ import annotations

from typing import Any

from deepmask.networks.anchors.config import FasterRcnnConfig, RetinaNetConfig, RpnConfig
from tests.networks.tiny_fpn import TINY

_LIGHT: dict[str, Any] = {
    "trunk": TINY.trunk,
    "width": TINY.width,
    "hidden": 8,
    "cells": 4.0,
    "separable": True,
}
_RESNET: dict[str, Any] = {"trunk": "resnet18", "width": 8, "hidden": 8, "layers": 1}
_NAMES: dict[str, Any] = {"category_ids": (1, 7), "category_names": ("square", "disc")}

#: On the pyramid of an `fpn-lite`.
LIGHT = RpnConfig(**_LIGHT)
LIGHT_RETINANET = RetinaNetConfig(layers=2, last=1, **_LIGHT, **_NAMES)
LIGHT_FASTER_RCNN = FasterRcnnConfig(roi=2, code=8, **_LIGHT, **_NAMES)
#: On ResNets.
RPN = RpnConfig(**_RESNET)
RETINANET = RetinaNetConfig(**_RESNET, **_NAMES)
FASTER_RCNN = FasterRcnnConfig(roi=3, code=8, **_RESNET, **_NAMES)
