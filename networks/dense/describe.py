"""What `model.json` says of a network: sizes, border, normalisation and the runtime's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2
from typing import Any

from deepmask.networks.config import BORDER_FILL, IMAGENET_MEAN, IMAGENET_STD
from deepmask.networks.dense.graphs import border_of
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.manifest import Coarse, Graph, Manifest, Scales

#: Mask probability above which a pixel belongs to the object (0.2 on COCO, §4).
THRESHOLD = 0.2
#: IoU above which near-duplicates are ranked lower; 1: never, as in the paper.
OVERLAP = 1.0


def default_scales(patch: int) -> Scales:
    """Seven scales at which windows of `patch` pixels show objects of the paper's sizes.

    2^-2 … 2^1 for 224 px (§3.3); half a power less for 160 px (the thesis), one less for 112 px.
    """
    shift = round(2 * log2(patch / 224)) / 2
    return Scales(-2 + shift, 1 + shift, 0.5)


def describe(
    config: DeepMaskConfig,
    graphs: Mapping[str, Graph],
    *,
    name: str,
    weights: str,
    opset: int,
    parity: Mapping[str, Any],
    scales: Scales | None = None,
    threshold: float = THRESHOLD,
    overlap: float = OVERLAP,
    scale_prior: float = 0.0,
    coarse: Mapping[str, Graph] | None = None,
) -> Manifest:
    """The manifest of a network whose graphs compute in float32; `scales` None: the default.

    `coarse` are the graphs of a refined network's coarse form that are not those of its own.
    """
    return Manifest(
        name=name,
        patch=config.patch,
        stride=config.stride,
        mask_size=config.output_size,
        border=border_of(config.patch),
        fill=BORDER_FILL,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        score_head=config.score_head,
        precision="fp32",
        weights=weights,
        opset=opset,
        scales=scales or default_scales(config.patch),
        threshold=threshold,
        graphs=graphs,
        parity=parity,
        overlap=overlap,
        scale_prior=scale_prior,
        coarse=Coarse(config.mask_size, coarse) if coarse else None,
    )
