"""Settings of training on whole pictures."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.recipe import Recipe, knob


@dataclass(frozen=True)
class FpnLiteRecipe(Recipe):
    """The settings of `fpn-lite`. A batch is crops of 512², or as many pixels of whole pictures."""

    whole_share: float = knob(
        0.42, "Share of the batches that show whole pictures, on canvases of 768×1024.", high=1
    )
    complete_share: float = knob(
        0.62, "Share of the pictures that come from the set with every object labelled.", high=1
    )
    large_objects: float = knob(
        0.3, "Share of the crops around an object that are scaled until it fills them.", high=1
    )
    windows_each: int = knob(8, "Windows an object that learn its mask.", low=1)
    windows_most: int = knob(72, "Windows a picture that learn masks.", low=1)
    trunk_lr: float = knob(0.4, "Learning rate of the trunk, as a factor of the heads'.")
    freeze_stem: bool = knob(True, "Keep the trunk's layers to stride 4 as published.")
    fast_depthwise: bool = knob(
        False,
        "Compile a faster backward pass of the trunk's depthwise layers for this CPU, for bf16: "
        "needs a C++ compiler and ninja.",
    )
