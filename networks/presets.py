"""Named networks and how each is trained: one entry a preset, those to use and those of a study.

`deepmask-vgg-a` and `deepmask-full` are the paper's (§3.1, §3.4). The others are the thesis', named
W-P-D-F as in its table 3.1: W the patch, P poolings before the features, D layers of the trunk, F
channels before the window's linear code (512 where not said). `deepmask-ours` is W160-P4-D39-F128;
`sharpmask` refines it by schedule (b), `sharpmask-constant` by (a). Those with r18 are light forms
on a ResNet-18, trained within hours on two CPU cores. `sharpmask-r18` ends at half the patch's
size, where masks can be right to an IoU of 0.99.

`fpn-lite` sees a picture once. `fpn-masks` and those named after it are table 4.6's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepmask.networks.anchors.config import FasterRcnnConfig, RetinaNetConfig, RpnConfig
from deepmask.networks.anchors.recipe import AnchorRecipe, FasterRcnnRecipe
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.boxes.recipe import FastRcnnRecipe
from deepmask.networks.patches.config import (
    DeepMaskConfig,
    constant_widths,
    halved_widths,
    sharpened,
)
from deepmask.networks.patches.recipe import DeepMaskRecipe, SharpMaskRecipe
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.whole.recipe import FpnLiteRecipe, FpnMasksRecipe


@dataclass(frozen=True)
class Preset:
    """A network and its training: `family` is a key of `families.FAMILIES`.

    `config` and `recipe` are of that family's types.
    """

    family: str
    config: Any
    recipe: Any

    def table(self) -> str:
        """Return every value as a table for the terminal: of the network, then of the recipe."""
        options = {f"--{key.replace('_', '-')}": v for key, v in self.recipe.to_dict().items()}
        lines = []
        for title, values in (
            (f"network: family {self.family}", self.config.to_dict()),
            ("recipe: options of deepmask-train", options),
        ):
            lines += [title, *(f"  {name:<20}  {_shown(v)}" for name, v in values.items())]
        return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "(none)"


def _study_row(trunk: str, patch: int, channels: int) -> DeepMaskConfig:
    # A row of thesis table 3.1: 32 px of context and reflection (§3.4).
    return DeepMaskConfig(
        patch=patch,
        context=16,
        trunk=trunk,
        channels=channels,
        mask_head="low-rank",
        rank=512,
        mask_size=56,
        score_head="shared",
        score_width=1024,
        padding="reflect",
    )


_VGG_A = replace(
    _study_row("vgg-a", 224, 512), context=0, score_head="pooled", padding="zero"
)  # DeepMask §3
_R18 = replace(_study_row("resnet18", 160, 128), padding="zero")
_OURS = _study_row("resnet50", 160, 128)
_SHARP = sharpened(_OURS, halved_widths(4), (64,) * 4, 160)

_PAPER = DeepMaskRecipe()
#: The thesis' (§3.4) as its authors released it; their learning rate falls in steps instead.
_THESIS = DeepMaskRecipe(
    loss_size=112, category_exponent=-1.0, weight_decay=5e-4, schedule="cosine"
)
_REFINED = SharpMaskRecipe(
    loss_size=160, category_exponent=-1.0, weight_decay=5e-4, schedule="cosine"
)
_SHORT: dict[str, Any] = {
    "sum_loss": False,
    "category_exponent": -0.5,
    "jitter_shift": 12.0,
    "max_octaves": 1.75,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.6,
    "optimiser": "adamw",
    "weight_decay": 0.05,
    "schedule": "cosine",
    "clip": 5.0,
}
_R18_RECIPE = DeepMaskRecipe(
    **_SHORT,
    steps=3_200,
    batch=64,
    negatives=24,
    alternate=False,
    score_weight=0.3,
    loss_size=112,
    score_partly=True,
    negative_shift=26.0,
    near_negatives=0.5,
    lr=6e-4,
    trunk_lr=0.5,
    warmup=200,
    freeze_stem=True,
    average=0.999,
)
_SHARP_R18_RECIPE = SharpMaskRecipe(
    **_SHORT, steps=5_000, loss_size=160, lr=1e-3, warmup=100, average=0.998
)

_FPN_LITE_RECIPE = FpnLiteRecipe(
    steps=16_000,
    batch=10,
    optimiser="adamw",
    lr=6e-4,
    weight_decay=0.05,
    schedule="cooldown",
    warmup=300,
    clip=4.0,
    average=0.999,
    copy_paste=0.3,
)

_FAST_RCNN_LITE_RECIPE = FastRcnnRecipe(
    steps=12_000,
    batch=4,
    optimiser="adamw",
    lr=5e-4,
    weight_decay=0.1,
    schedule="cosine",
    warmup=200,
    clip=5.0,
    average=0.999,
)
#: Fast R-CNN's (thesis §4.4.2): the learning rate falls in steps there.
_FAST_RCNN_RECIPE = FastRcnnRecipe(
    steps=80_000, batch=16, lr=0.02, weight_decay=1e-4, schedule="cosine", warmup=500
)

#: Table 4.6's. Batches are 16 whole pictures; optimiser and length are those of chapter 5.
_FPN_MASKS = FpnMasksConfig()
_FPN_MASKS_RECIPE = FpnMasksRecipe(
    steps=90_000,
    batch=48,
    whole_share=1.0,
    lr=0.01,
    weight_decay=1e-4,
    schedule="cosine",
    warmup=500,
    trunk_lr=1.0,
)

#: Chapter 5's: 16 whole pictures, flipped only. The learning rate falls in steps there.
_RETINANET_RECIPE = AnchorRecipe(
    steps=90_000,
    batch=16,
    lr=0.01,
    weight_decay=1e-4,
    schedule="cosine",
    warmup=500,
    crop=1024,
    shrink=0.0,
    trunk_lr=1.0,
)
#: On the pyramid of `fpn-lite`, whose windows are as large as these anchors.
_LIGHT: dict[str, Any] = {
    "trunk": "efficientnet-lite2",
    "width": 128,
    "cells": 4.0,
    "hidden": 128,
    "separable": True,
}
_LIGHT_RECIPE: dict[str, Any] = {
    "steps": 12_000,
    "batch": 8,
    "optimiser": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup": 200,
    "clip": 5.0,
    "average": 0.999,
    "freeze_backbone": True,
}

#: The networks to train and use.
USED: Mapping[str, Preset] = {
    "fpn-lite": Preset("fpn-lite", FpnLiteConfig(), _FPN_LITE_RECIPE),
    "fast-rcnn-lite": Preset(
        "fast-rcnn",
        FastRcnnConfig(name_trunk="efficientnet-lite0", roi=2, samples=6, hidden=384, dropout=0.4),
        _FAST_RCNN_LITE_RECIPE,
    ),
    "fast-rcnn": Preset("fast-rcnn", FastRcnnConfig(), _FAST_RCNN_RECIPE),
    "rpn-lite": Preset(
        "rpn", RpnConfig(**_LIGHT), AnchorRecipe(**_LIGHT_RECIPE, class_loss="sampled")
    ),
    "rpn": Preset("rpn", RpnConfig(), replace(_RETINANET_RECIPE, class_loss="sampled", lr=0.02)),
    "retinanet-lite": Preset(
        "retinanet", RetinaNetConfig(**_LIGHT, layers=2, last=1), AnchorRecipe(**_LIGHT_RECIPE)
    ),
    "retinanet": Preset("retinanet", RetinaNetConfig(), _RETINANET_RECIPE),
    "faster-rcnn-lite": Preset(
        "faster-rcnn",
        FasterRcnnConfig(**_LIGHT, roi=4, code=256),
        FasterRcnnRecipe(**_LIGHT_RECIPE, class_loss="sampled"),
    ),
    "faster-rcnn": Preset(
        "faster-rcnn",
        FasterRcnnConfig(),
        FasterRcnnRecipe(**vars(_RETINANET_RECIPE) | {"class_loss": "sampled", "lr": 0.02}),
    ),
    "deepmask-r18": Preset("deepmask", _R18, _R18_RECIPE),
    "sharpmask-r18": Preset(
        "sharpmask", sharpened(_R18, (32, 16, 8, 4, 4), (64, 64, 32, 16), 80), _SHARP_R18_RECIPE
    ),
    "deepmask-vgg-a": Preset("deepmask", _VGG_A, _PAPER),
    "deepmask-full": Preset("deepmask", replace(_VGG_A, mask_head="full", rank=0), _PAPER),
    "deepmask-ours": Preset("deepmask", _OURS, _THESIS),
    "sharpmask": Preset("sharpmask", _SHARP, _REFINED),
}
#: Rows of the thesis' tables, for comparison.
STUDIED: Mapping[str, Preset] = {
    "w160-p4-d8-vgg": Preset("deepmask", _study_row("vgg-a", 160, 512), _THESIS),
    "w160-p4-d39": Preset("deepmask", _study_row("resnet50", 160, 512), _THESIS),
    "w112-p4-d39": Preset("deepmask", _study_row("resnet50", 112, 512), _THESIS),
    "w112-p3-d21": Preset("deepmask", _study_row("resnet50-stride8", 112, 512), _THESIS),
    "w112-p3-d21-f128": Preset("deepmask", _study_row("resnet50-stride8", 112, 128), _THESIS),
    "deepmask-ours-head-a": Preset("deepmask", replace(_OURS, score_head="separate"), _THESIS),
    "deepmask-ours-head-b": Preset("deepmask", replace(_OURS, score_head="reduced"), _THESIS),
    "sharpmask-constant": Preset(
        "sharpmask", replace(_SHARP, refine_widths=constant_widths(4)), _REFINED
    ),
    "fpn-masks-5x5": Preset("fpn-masks", replace(_FPN_MASKS, heads=(5,)), _FPN_MASKS_RECIPE),
    "fpn-masks-7x7": Preset("fpn-masks", replace(_FPN_MASKS, heads=(7,)), _FPN_MASKS_RECIPE),
    "fpn-masks": Preset("fpn-masks", _FPN_MASKS, _FPN_MASKS_RECIPE),
    "fpn-masks-28x28": Preset("fpn-masks", replace(_FPN_MASKS, mask_size=28), _FPN_MASKS_RECIPE),
}
PRESETS: dict[str, Preset] = {**USED, **STUDIED}
