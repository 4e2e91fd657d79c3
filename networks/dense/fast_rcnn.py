"""The exportable form of Fast R-CNN: the graphs of its base, and what names boxes."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.dense.fpn_lite import ScoreStage, dense_fpn_lite, describe_fpn_lite
from deepmask.networks.dense.graphs import DenseForm, DenseGraph, DenseModel, Description
from deepmask.networks.dense.names import box_graph, categories_of
from deepmask.networks.fast_rcnn import FastRcnn
from deepmask.runtime.model.manifest import VIEW, TensorSpec

#: Probability from which a mask is called by its category, by default: six of seven names of masks
#: that are an object were right from there on (150 validation pictures).
LABEL_SCORE = 0.4


class LevelStage(ScoreStage):
    """`ScoreStage`, and the pyramid's levels for boxes to be read from."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return what `ScoreStage` does, then each level: (1, width, H/s, W/s)."""
        features = self.network.features(image)
        return *self.read(features, image.device), *features.levels


class NameStage(nn.Module):
    """The maps of the name trunk, once a picture."""

    def __init__(self, network: FastRcnn) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.namer = network.namer

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, H, W) RGB in 0…255 → its maps at strides 32 and 64."""
        assert self.namer is not None
        coarse, coarser = self.namer(image)
        return coarse, coarser


class BoxStage(nn.Module):
    """Names of boxes, and a better box for each name."""

    def __init__(self, network: FastRcnn) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(self, coarse: Tensor, coarser: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of the name trunk, boxes (n, 4) → logits (n, C + 1), offsets (n, C, 4)."""
        return self.network.name((coarse, coarser), boxes)


class LevelBoxStage(BoxStage):
    """The same, read from the pyramid."""

    def forward(  # type: ignore[override]
        self, p8: Tensor, p16: Tensor, p32: Tensor, p64: Tensor, p128: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Levels, boxes (n, 4) → logits (n, C + 1), offsets (n, C, 4)."""
        return self.network.name((p8, p16, p32, p64, p128), boxes)


def dense_fast_rcnn(network: FastRcnn) -> DenseModel:
    """Return the graphs of a network in evaluation mode: its base's, and those that name boxes."""
    base = dense_fpn_lite(network.base).main
    score, *masks = base.graphs
    maps = {
        f"map{stride}": TensorSpec(
            "map", "float32", (1, channels, f"height/{stride}", f"width/{stride}")
        )
        for stride, channels in network.map_channels().items()
    }
    if network.namer is None:
        before = [
            replace(score, module=LevelStage(network.base), outputs={**score.outputs, **maps})
        ]
    else:
        names = DenseGraph("names", "names", VIEW, NameStage(network), score.inputs, maps)
        before = [score, names]
    stage = BoxStage(network) if network.namer else LevelBoxStage(network)
    boxes = box_graph(stage, maps, network.config)

    def named(canvas: Tensor, places: Tensor) -> dict[str, Tensor]:
        found = network.maps(canvas, network.base.features(canvas))
        logits, offsets = network.name(found, places)
        return {"class": logits, "delta": offsets}

    return DenseModel(DenseForm((*before, *masks, boxes), base.reference, named))


def describe_fast_rcnn(config: FastRcnnConfig) -> Description:
    """Return what the base says, and the categories."""
    return replace(
        describe_fpn_lite(config.base()),
        categories=categories_of(config),
        label_score=LABEL_SCORE,
    )
