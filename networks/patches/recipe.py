"""Settings of training on patches: where they are taken, what is lost on them. Patch pixels."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.recipe import Recipe, knob


@dataclass(frozen=True)
class PatchRecipe(Recipe):
    """What DeepMask and SharpMask share; by default the paper's (DeepMask §3, §3.4)."""

    sum_loss: bool = knob(
        True, "Add up the loss over the batch, as eq. 1 does, rather than average it."
    )
    loss_size: int = knob(224, "Side the mask logits are upsampled to for the loss.", 1, 4096)
    category_exponent: float = knob(
        0.0,
        "Instances are drawn with weight (count of their category)^x; -1: categories alike.",
        -10,
        10,
    )
    jitter_shift: float = knob(16.0, "Positives lie at most this far off centre.")
    jitter_octaves: float = knob(0.25, "Positives are scaled by at most 2^±x.", high=10)
    negative_shift: float = knob(
        32.0, "Negatives lie at least this far from an object, or --negative-octaves off its scale."
    )
    negative_octaves: float = knob(
        1.0, "Negatives nearer than --negative-shift are at least 2^±x off the scale.", high=100
    )
    near_negatives: float = knob(
        0.0, "Share of the negatives that are drawn close to an object.", high=1
    )
    min_area: float = knob(100.0, "Objects of less area (image px²) are not drawn as positives.")
    min_side: float = knob(5.0, "Objects with a shorter box side (image px) are not drawn.")
    max_octaves: float = knob(
        6.0, "Objects that need magnifying by more than 2^x are not drawn.", -100, 100
    )
    brightness: float = knob(
        0.0, "Colour augmentation: brightness changes by up to this share.", high=1
    )
    contrast: float = knob(0.0, "Contrast changes by up to this share.", high=1)
    saturation: float = knob(0.0, "Saturation changes by up to this share.", high=1)

    @property
    def loss_scale(self) -> float:
        """Factor of a batch's mean loss: its size where the loss is a sum."""
        return float(self.batch if self.sum_loss else 1)


@dataclass(frozen=True)
class DeepMaskRecipe(PatchRecipe):
    """The settings of a network that learns masks and scores."""

    negatives: int = knob(
        16, "Patches of a batch that show no object, where it trains the score.", low=1
    )
    alternate: bool = knob(True, "Train mask and score in turn, rather than both in every batch.")
    score_weight: float = knob(1 / 32, "Weight of the score loss, lambda of eq. 1.")
    score_partly: bool = knob(
        False,
        "Objects of partly labelled sets are positives of the score too; negatives never "
        "come from there.",
    )
    trunk_lr: float = knob(1.0, "Learning rate of the trunk, as a factor of the heads'.")
    freeze_stem: bool = knob(False, "Keep the first layers of the trunk at their initial weights.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives >= self.batch:
            raise ValueError(f"negatives is {self.negatives}, it must be below batch, {self.batch}")


@dataclass(frozen=True)
class SharpMaskRecipe(PatchRecipe):
    """The settings of a refinement, the second stage of training, which learns masks alone."""
