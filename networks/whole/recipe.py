"""Settings of training on whole pictures."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.recipe import Recipe, knob


@dataclass(frozen=True)
class WholeRecipe(Recipe):
    """Settings of every network that sees whole pictures.

    A batch is crops of 512², or as many pixels of whole pictures.
    """

    whole_share: float = knob(
        0.42, "Share of the batches that show whole pictures, on canvases of 768×1024.", high=1
    )
    complete_share: float = knob(
        0.62, "Share of the pictures that come from the set with every object labelled.", high=1
    )
    large_objects: float = knob(
        0.3, "Share of the crops around an object that are scaled until it fills them.", high=1
    )
    scale_jitter: float = knob(
        0.0,
        "Octaves by which pictures are seen larger, and smaller, than otherwise (large-scale "
        "jitter).",
        high=4,
    )
    copy_paste: float = knob(
        0.0, "Share of the pictures onto which objects of another one are pasted.", high=1
    )
    trunk_lr: float = knob(0.4, "Learning rate of the trunk, as a factor of the heads'.")
    freeze_stem: bool = knob(True, "Keep the trunk's layers to stride 4 as published.")


@dataclass(frozen=True)
class FpnLiteRecipe(WholeRecipe):
    """The settings of `fpn-lite`."""

    windows_each: int = knob(8, "Windows an object that learn its mask.", low=1)
    windows_most: int = knob(72, "Windows a picture that learn masks.", low=1)
    second_only: bool = knob(
        False, "Train the second look alone and keep the rest as it was (with --from)."
    )
    fast_depthwise: bool = knob(
        False,
        "Compile a faster backward pass of the trunk's depthwise layers for this CPU, for bf16: "
        "needs a C++ compiler and ninja.",
    )


@dataclass(frozen=True)
class FpnMasksRecipe(WholeRecipe):
    """The settings of `fpn-masks`, the thesis' (§4.6)."""

    locations: int = knob(128, "Locations a picture that learn, a quarter of them objects'.", low=4)
    mask_weight: float = knob(10.0, "Weight of the mask loss beside the score loss.")
