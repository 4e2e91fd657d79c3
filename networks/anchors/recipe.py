"""Settings of training networks with anchors."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.anchors.losses import CLASS_LOSSES
from deepmask.networks.recipe import Recipe, knob

#: Sides of canvases are multiples of the coarsest stride.
MULTIPLE = 128


@dataclass(frozen=True)
class AnchorRecipe(Recipe):
    """The settings of `rpn` and `retinanet`. A batch is square crops of pictures."""

    crop: int = knob(384, f"Pixels a side of a crop, a multiple of {MULTIPLE}.", low=MULTIPLE)
    shrink: float = knob(
        1.4,
        "Octaves by which pictures are seen smaller than at test time, at most; with 0, a crop of "
        "1024 is a whole picture as it is seen there.",
        high=4,
    )
    complete_share: float = knob(
        0.62, "Share of the pictures that come from the set with every object labelled.", high=1
    )
    class_loss: str = knob(
        "focal",
        "Loss of categories: focal, cross-entropy over all anchors, ohem (hard example mining), or "
        "sampled (cross entropy, 1 anchor of an object to 3 of background).",
    )
    box_weight: float = knob(1.0, "Weight of the loss of boxes against that of categories.")
    trunk_lr: float = knob(0.4, "Learning rate of the trunk, as a factor of the heads'.")
    freeze_stem: bool = knob(True, "Keep the trunk's layers to stride 4 as they began.")
    freeze_backbone: bool = knob(
        False, "Keep trunk and pyramid as they began, and train what reads them."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % MULTIPLE:
            raise ValueError(f"crop is {self.crop}, it must be a multiple of {MULTIPLE}")
        if self.class_loss not in CLASS_LOSSES:
            *others, last = CLASS_LOSSES
            accepted = f"{', '.join(others)} or {last}"
            raise ValueError(f"class-loss is {self.class_loss!r}, it must be {accepted}")


@dataclass(frozen=True)
class FasterRcnnRecipe(AnchorRecipe):
    """The settings of `faster-rcnn`: those of its proposals, and of what names them."""

    best_proposals: int = knob(1000, "Best proposals of a crop that boxes are drawn from.", low=1)
    boxes: int = knob(512, "Most boxes of a crop that are named.", low=4)
    head_weight: float = knob(1.0, "Weight of the losses of the head against those of proposals.")
