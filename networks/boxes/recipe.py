"""Settings of training a Fast R-CNN head."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.recipe import Recipe, knob


@dataclass(frozen=True)
class FastRcnnRecipe(Recipe):
    """The settings of Fast R-CNN. A batch is whole pictures, each seen as at test time."""

    complete_share: float = knob(
        0.62, "Share of the pictures that come from the set with every object labelled.", high=1
    )
    box_weight: float = knob(1.0, "Weight of the loss of boxes against that of names.")
