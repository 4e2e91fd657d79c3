"""A whole family of networks that is as small as one can be: an example, and a test of the seams.

One grid at stride 8, a convolution that scores each location, and one learnt mask for all windows.
A family of the product has its configuration and recipe in a module without PyTorch; here all is in
one file. `main` runs commands with the family in the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deepmask.coco.annotations import Annotation
from deepmask.networks.config import BORDER_FILL, ConfigError, NetworkConfig
from deepmask.networks.dense.graphs import (
    DenseForm,
    DenseGraph,
    DenseModel,
    Description,
)
from deepmask.networks.families import FAMILIES
from deepmask.networks.family import Family, TensorBatch, TrainingData
from deepmask.networks.network import Network
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.sampling import Window
from deepmask.networks.presets import PRESETS, Preset
from deepmask.networks.recipe import Recipe, knob
from deepmask.runtime.model.manifest import VIEW, WINDOWS, Grid, Scales, TensorSpec, Views

STRIDE = 8
#: Side of a training picture, in pixels.
PICTURE = 128


@dataclass(frozen=True)
class ToyConfig(NetworkConfig):
    """Windows of `window` pixels, masks of `mask_size` samples, `channels` of the score's layer."""

    window: int = 64
    mask_size: int = 28
    channels: int = 8

    def __post_init__(self) -> None:
        """Raise `ConfigError` for sizes that cannot be built."""
        if min(self.window, self.mask_size, self.channels) < 1:
            raise ConfigError("window, mask_size and channels are at least 1")


@dataclass(frozen=True)
class ToyRecipe(Recipe):
    """Settings of a toy."""

    mask_weight: float = knob(1.0, "Weight of the mask's loss.")


class ToyNetwork(Network):
    """A convolution that scores each cell of 8×8 pixels, and one mask that every window has."""

    config: ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        """Random layers; the mask begins as a disc."""
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Conv2d(3, config.channels, STRIDE, STRIDE),
            nn.BatchNorm2d(config.channels),
            nn.ReLU(),
            nn.Conv2d(config.channels, 1, 5, padding=2),
        )
        self.mask = nn.Parameter(disc(config.mask_size))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) RGB of 0…255 → (N, 1, H/8, W/8) logits."""
        scores: Tensor = self.layers(pictures / BORDER_FILL - 1)
        return scores


def disc(size: int) -> Tensor:
    """Return (size, size) logits, above 0 within a circle."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    return 4 * (0.8 - (axis[:, None] ** 2 + axis[None] ** 2).sqrt())


@dataclass(frozen=True)
class ToyBatch(TensorBatch):
    """One process's share of a batch.

    pictures  uint8 (N, 3, PICTURE, PICTURE).
    centres   float32 (N, 1, PICTURE/8, PICTURE/8): 1 where the object's centre is.
    masks     uint8 (N, mask_size, mask_size): the object in the window on its centre.
    whole     pictures in the whole batch.
    """

    pictures: Tensor
    centres: Tensor
    masks: Tensor
    whole: int


def toy_batches(
    data: TrainingData, config: ToyConfig, recipe: ToyRecipe
) -> Callable[[int], ToyBatch]:
    """Return the function from a step to its batch.

    Raises ValueError for data without objects, and for partly labelled sets.
    """
    if data.partly:
        raise ValueError("a toy learns where no object is, too: leave --mask-annotations out")
    objects = [one for one in data.labelled.instances if not one.crowd and one.segmentation]
    if not objects:
        raise ValueError("no object to learn from")
    cropper = Cropper(data.cache_bytes)

    def sample(one: Annotation, shift: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor]:
        scale = 0.8 * config.window / one.side
        x, y = one.centre
        place = Window(x - shift[0] / scale, y - shift[1] / scale, scale)
        picture = cropper.patch(one.image, place, PICTURE)
        mask = cropper.mask(one, Window(x, y, scale), config.window, config.mask_size)
        centres = torch.zeros((1, PICTURE // STRIDE, PICTURE // STRIDE))
        col, row = ((shift + PICTURE / 2) // STRIDE).astype(int)
        centres[0, row, col] = 1
        return torch.from_numpy(picture).permute(2, 0, 1), centres, torch.from_numpy(mask)

    def batch(step: int) -> ToyBatch:
        random = np.random.default_rng((data.seed, step))
        chosen = random.integers(len(objects), size=recipe.batch)
        shifts = random.uniform(-PICTURE / 4, PICTURE / 4, (recipe.batch, 2))
        mine = range(data.rank, recipe.batch, data.size)
        samples = [sample(objects[chosen[k]], shifts[k]) for k in mine]
        pictures, centres, masks = (torch.stack(one) for one in zip(*samples, strict=True))
        return ToyBatch(pictures, centres, masks, recipe.batch)

    return batch


def toy_losses(network: ToyNetwork, batch: ToyBatch) -> Mapping[str, Tensor]:
    """Return this share of the mean losses of scores and masks."""
    share = len(batch.pictures) / batch.whole
    scores = network(batch.pictures.float()).float()
    masks = network.mask.expand(batch.masks.shape)
    compare = functional.binary_cross_entropy_with_logits
    return {
        "score": share * compare(scores, batch.centres),
        "mask": share * compare(masks, batch.masks.float()),
    }


class ScoreGraph(nn.Module):
    """image (1, 3, H, W) → score (1, 1, H/8, W/8) logits."""

    def __init__(self, network: ToyNetwork) -> None:
        """Shares the network's layers."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Score every location."""
        scores: Tensor = self.network(image)
        return scores


class MaskGraph(nn.Module):
    """locations (N, 2) → mask (N, size, size) logits, all the same."""

    def __init__(self, network: ToyNetwork) -> None:
        """Shares the network's mask."""
        super().__init__()
        self.logits = network.mask

    def forward(self, locations: Tensor) -> Tensor:
        """Repeat the mask."""
        return self.logits.expand(locations.shape[0], -1, -1)


def dense_toy(network: ToyNetwork) -> DenseModel:
    """Return the two graphs of a network."""
    size = network.config.mask_size
    image = {"image": TensorSpec("image", "float32", (1, 3, "height", "width"))}
    score = {"score": TensorSpec("score", "float32", (1, 1, "rows", "cols"))}
    locations = {"locations": TensorSpec("locations", "int64", ("n", 2))}
    mask = {"mask": TensorSpec("mask", "float32", ("n", size, size))}

    def reference(canvas: Tensor, places: Tensor) -> dict[str, Tensor]:
        return {"score": network(canvas), "mask": torch.stack([network.mask] * len(places))}

    graphs = (
        DenseGraph("score", "score", VIEW, ScoreGraph(network), image, score),
        DenseGraph("mask", "mask", WINDOWS, MaskGraph(network), locations, mask),
    )
    return DenseModel(DenseForm(graphs, reference))


def describe_toy(config: ToyConfig) -> Description:
    """Return the views and the grid."""
    return Description(
        views=Views(
            scales=Scales(-1, 1, 0.5),
            max_side=1333,
            enlarge=False,
            border=0,
            fill=BORDER_FILL,
            multiple=STRIDE,
        ),
        grids=(Grid("cells", "score", 0, STRIDE, config.window, config.mask_size, 0.5),),
    )


TOY = Family(
    config=ToyConfig,
    recipe=ToyRecipe,
    units="pictures",
    build=ToyNetwork,
    batches=toy_batches,
    loss_weights=lambda recipe: {"score": 1.0, "mask": recipe.mask_weight},
    losses=toy_losses,
    dense=dense_toy,
    describe=describe_toy,
)
TOY_PRESET = Preset("toy", ToyConfig(), ToyRecipe(steps=100, batch=8, lr=0.01))


def main(words: Sequence[str]) -> int:
    """Run installed commands, between them the word "then", with the toy in both tables.

    Returns the exit code of the last that ran; one that fails ends the row.
    """
    FAMILIES["toy"], PRESETS["toy"] = TOY, TOY_PRESET
    command, *arguments = words[: words.index("then")] if "then" in words else words
    rest = words[len(arguments) + 2 :]
    (script,) = entry_points(group="console_scripts", name=command)
    try:
        script.load()(arguments)
    except SystemExit as ended:
        if ended.code or not rest:
            return int(ended.code or 0)
    return main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
