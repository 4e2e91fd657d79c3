"""How a preset is trained: every number of sampling, loss, optimiser and schedule, as one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


def _knob(default: Any, text: str, low: float = 0.0, high: float = math.inf) -> Any:
    """A setting; numbers must be finite and lie within low … high."""
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Recipe:
    """Training settings, by default the paper's (DeepMask §3, §3.4). Lengths are patch pixels.

    Each field is an option of `deepmask-train`; its help text is the field's description.
    """

    steps: int = _knob(480_000, "Batches to train.", low=1)
    batch: int = _knob(32, "Patches in a batch.")
    negatives: int = _knob(
        16, "Of these, negatives in a batch that trains the score; 0: only masks are trained."
    )
    alternate: bool = _knob(True, "Train mask and score in turn, rather than both in every batch.")
    score_weight: float = _knob(1 / 32, "Weight of the score loss, lambda of eq. 1.")
    sum_loss: bool = _knob(
        True, "Add up the loss over the batch, as eq. 1 does, rather than average it."
    )
    loss_size: int = _knob(224, "Side the mask logits are upsampled to for the loss.", 1, 4096)
    score_partly: bool = _knob(
        False,
        "Objects of partly labelled sets are positives of the score too; negatives never "
        "come from there.",
    )
    category_exponent: float = _knob(
        0.0,
        "Instances are drawn with weight (count of their category)^x; -1: categories alike.",
        -10,
        10,
    )
    jitter_shift: float = _knob(16.0, "Positives lie at most this far off centre.")
    jitter_octaves: float = _knob(0.25, "Positives are scaled by at most 2^±x.", high=10)
    negative_shift: float = _knob(32.0, "Negatives lie at least this far from every object, or")
    negative_octaves: float = _knob(1.0, "are at least 2^±x off its scale.", high=100)
    near_negatives: float = _knob(
        0.0, "Share of the negatives that are drawn close to an object.", high=1
    )
    min_area: float = _knob(100.0, "Objects of less area (image px²) are not drawn as positives.")
    min_side: float = _knob(5.0, "Nor those with a box side under this (image px).")
    max_octaves: float = _knob(6.0, "Nor those that need magnifying by more than 2^x.", -100, 100)
    brightness: float = _knob(
        0.0, "Colour augmentation: brightness changes by up to this share.", high=1
    )
    contrast: float = _knob(0.0, "Contrast changes by up to this share.", high=1)
    saturation: float = _knob(0.0, "Saturation changes by up to this share.", high=1)
    optimiser: str = _knob("sgd", "sgd or adamw.")
    lr: float = _knob(1e-3, "Learning rate of the heads.")
    trunk_lr: float = _knob(1.0, "Learning rate of the trunk, as a factor of the heads'.")
    momentum: float = _knob(0.9, "Momentum (sgd).", high=1)
    weight_decay: float = _knob(5e-5, "Weight decay.")
    schedule: str = _knob("constant", "constant or cosine (to zero at the last step).")
    warmup: int = _knob(0, "Steps of linear warm-up.")
    clip: float = _knob(0.0, "Largest gradient norm; 0: no clipping.")
    freeze_stem: bool = _knob(False, "Keep the first layers of the trunk at their initial weights.")
    average: float = _knob(0.0, "Decay of the running average of the weights; 0: none.", high=1)
    categories: str = _knob(
        "",
        "Learn from these categories only, ids or names between commas, or voc for PASCAL's 20 "
        "(DeepMask20); other objects are background. Empty: all.",
    )

    def __post_init__(self) -> None:
        """Raise ValueError for settings that cannot be trained with."""
        for item in fields(self):
            value, low, high = getattr(self, item.name), item.metadata["low"], item.metadata["high"]
            if isinstance(value, (int, float)) and not (
                math.isfinite(value) and low <= value <= high
            ):
                accepted = "finite" if high == math.inf else f"at most {high:g}"
                raise ValueError(
                    f"{item.name.replace('_', '-')} is {value}, "
                    f"it must be at least {low:g} and {accepted}"
                )
        if self.negatives >= self.batch:
            raise ValueError(f"negatives is {self.negatives}, it must be below batch, {self.batch}")
        if self.optimiser not in ("sgd", "adamw"):
            raise ValueError(f"optimiser is {self.optimiser!r}, it must be sgd or adamw")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule is {self.schedule!r}, it must be constant or cosine")
        if self.lr == 0:
            raise ValueError("lr is 0, it must be above 0")
        if self.average == 1:
            raise ValueError("average is 1, it must be below 1: the start would never be left")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)


#: What settings amounted to before they existed: checkpoints of that time resume by these.
BEFORE: Mapping[str, Any] = {"categories": "", "sum_loss": False, "score_partly": False}

_PAPER = Recipe()
#: The thesis' (§3.4) as its authors released it; their learning rate falls in steps instead.
_THESIS = replace(
    _PAPER, loss_size=112, category_exponent=-1.0, weight_decay=5e-4, schedule="cosine"
)
_REFINED = replace(_THESIS, loss_size=160, negatives=0, alternate=False)

#: The recipe of each model preset. Those of `deepmask-r18` and `sharpmask-r18` are made for hours,
#: or one, on two CPU cores: the papers' need days, and in a short run leave the score untrained.
RECIPES: Mapping[str, Recipe] = {
    "deepmask-vgg-a": _PAPER,
    "deepmask-full": _PAPER,
    "deepmask-r18": replace(
        _PAPER,
        steps=3_200,
        batch=64,
        negatives=24,
        alternate=False,
        score_weight=0.3,
        sum_loss=False,
        loss_size=112,
        score_partly=True,
        category_exponent=-0.5,
        jitter_shift=12.0,
        negative_shift=26.0,
        near_negatives=0.5,
        max_octaves=1.75,
        brightness=0.4,
        contrast=0.4,
        saturation=0.6,
        optimiser="adamw",
        lr=6e-4,
        trunk_lr=0.5,
        weight_decay=0.05,
        schedule="cosine",
        warmup=200,
        clip=5.0,
        freeze_stem=True,
        average=0.999,
    ),
    "w160-p4-d8-vgg": _THESIS,
    "w160-p4-d39": _THESIS,
    "w112-p4-d39": _THESIS,
    "w112-p3-d21": _THESIS,
    "w112-p3-d21-f128": _THESIS,
    "deepmask-ours": _THESIS,
    "deepmask-ours-head-a": _THESIS,
    "deepmask-ours-head-b": _THESIS,
    "sharpmask": _REFINED,
    "sharpmask-constant": _REFINED,
    "sharpmask-r18": replace(
        _REFINED,
        steps=5_000,
        sum_loss=False,
        category_exponent=-0.5,
        jitter_shift=12.0,
        max_octaves=1.75,
        brightness=0.4,
        contrast=0.4,
        saturation=0.6,
        optimiser="adamw",
        lr=1e-3,
        weight_decay=0.05,
        warmup=100,
        clip=5.0,
        average=0.998,
    ),
}
