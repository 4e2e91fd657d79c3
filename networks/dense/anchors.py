"""The exportable form of networks with anchors: RPN, RetinaNet and Faster R-CNN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from deepmask.networks.anchors.config import (
    AnchorConfig,
    FasterRcnnConfig,
    RetinaNetConfig,
    RpnConfig,
)
from deepmask.networks.anchors.network import AnchorNetwork
from deepmask.networks.anchors.tower import Anchored
from deepmask.networks.dense.graphs import DenseForm, DenseGraph, DenseModel, Description, Reference
from deepmask.networks.dense.names import box_graph, categories_of
from deepmask.networks.dense.one_look import LIGHT_SIDE, THESIS_SIDE, one_look
from deepmask.networks.faster_rcnn import FasterRcnn
from deepmask.networks.retinanet import RetinaNet
from deepmask.networks.rpn import Rpn
from deepmask.runtime.model.manifest import VIEW, Grid, TensorSpec, Views

#: IoU above which a box is left out beside a better one: of proposals, and of one category.
PROPOSALS_OVERLAP, CATEGORY_OVERLAP = 0.7, 0.5
#: Least probability of a category (§5.3).
LABEL_SCORE = 0.05


class AnchorStage(nn.Module):
    """Everything that is dense, once a picture."""

    def __init__(self, network: AnchorNetwork) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, 3, H, W) RGB in 0…255 → logits of each level, then offsets of each; see `Anchored`.

        H and W are multiples of the coarsest stride.
        """
        found = self.network.dense(image)
        return *found.logits, *found.offsets


class LevelStage(AnchorStage):
    """`AnchorStage`, and the pyramid's levels for boxes to be read from."""

    network: FasterRcnn

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return what `AnchorStage` does, then the levels: (1, width, H/s, W/s)."""
        levels = self.network.levels(image)
        found = self.network.read(levels)
        count = len(self.network.config.box_strides)
        return *found.logits, *found.offsets, *levels[:count]


class BoxStage(nn.Module):
    """Names of boxes, and a better box for each name."""

    def __init__(self, network: FasterRcnn) -> None:
        """Share the parameters of `network`."""
        super().__init__()
        self.network = network

    def forward(
        self, finest: Tensor, finer: Tensor, coarser: Tensor, coarsest: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Levels, boxes (n, 4) → logits (n, C + 1), offsets (n, C, 4)."""
        return self.network.name((finest, finer, coarser, coarsest), boxes)


def dense_rpn(network: Rpn) -> DenseModel:
    """Return the graph of a network in evaluation mode."""
    last = ("network.proposals.object.weight", "network.proposals.offset.weight")
    graph = _anchor_graph(AnchorStage(network), network.config, 1, last)
    return DenseModel(DenseForm((graph,), _reference(network)))


def dense_retinanet(network: RetinaNet) -> DenseModel:
    """Return the graph of a network in evaluation mode."""
    config = network.config
    last = ("network.category.last.weight", "network.offset.last.weight")
    graph = _anchor_graph(AnchorStage(network), config, len(config.category_ids), last)
    return DenseModel(DenseForm((graph,), _reference(network)))


def dense_faster_rcnn(network: FasterRcnn) -> DenseModel:
    """Return the graphs of a network in evaluation mode: proposals, and what names boxes."""
    config = network.config
    maps = {
        f"map{stride}": TensorSpec("map", "float32", _axes(config.width, stride))
        for stride in config.box_strides
    }
    last = ("network.proposals.object.weight", "network.proposals.offset.weight")
    boxes = box_graph(BoxStage(network), maps, config)

    def named(canvas: Tensor, places: Tensor) -> dict[str, Tensor]:
        logits, offsets = network.name(network.levels(canvas), places)
        return {"class": logits, "delta": offsets}

    before = _anchor_graph(LevelStage(network), config, 1, last, maps)
    return DenseModel(DenseForm((before, boxes), _reference(network), named))


def _anchor_graph(
    stage: AnchorStage,
    config: AnchorConfig,
    scores: int,
    last: tuple[str, ...],
    maps: dict[str, TensorSpec] | None = None,
) -> DenseGraph:
    """Return the graph that runs per view.

    scores  an anchor has.
    last    weights of the layers that end in scores and offsets.
    maps    that it makes besides.
    """
    levels = config.levels()
    made = {
        f"{role}{level.stride}": TensorSpec(
            role, "float32", _axes(len(level.sizes) * values, level.stride)
        )
        for role, values in (("score", scores), ("delta", 4))
        for level in levels
    }
    image = {"image": TensorSpec("image", "float32", (1, 3, "height", "width"))}
    return DenseGraph(
        "anchors", "anchors", VIEW, stage, image, made | (maps or {}), {"score": last}
    )


def _axes(channels: int, stride: int) -> tuple[int | str, ...]:
    return (1, channels, f"height/{stride}", f"width/{stride}")


def _reference(network: AnchorNetwork) -> Reference:
    """Return what the network as it is trained gives for all anchors."""
    strides = network.config.strides

    def named(role: str, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        return {f"{role}{s}": one for s, one in zip(strides, maps, strict=True)}

    def reference(canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        found: Anchored = network.dense(canvas)
        return named("score", found.logits) | named("delta", found.offsets)

    return reference


def describe_rpn(config: RpnConfig) -> Description:
    """Return the view, the anchors and the defaults."""
    return Description(_views(config), _grids(config, 1), overlap=PROPOSALS_OVERLAP)


def describe_retinanet(config: RetinaNetConfig) -> Description:
    """Return the view, the anchors, the categories and the defaults."""
    return Description(
        _views(config),
        _grids(config, len(config.category_ids)),
        categories=categories_of(config),
        overlap=CATEGORY_OVERLAP,
        label_score=LABEL_SCORE,
    )


def describe_faster_rcnn(config: FasterRcnnConfig) -> Description:
    """Return the view, the anchors, the categories and the defaults."""
    return Description(
        _views(config),
        _grids(config, 1),
        categories=categories_of(config),
        overlap=PROPOSALS_OVERLAP,
        label_score=LABEL_SCORE,
    )


def _views(config: AnchorConfig) -> Views:
    side = LIGHT_SIDE if config.is_lite else THESIS_SIDE
    return one_look(side, config.strides[-1])


def _grids(config: AnchorConfig, scores: int) -> tuple[Grid, ...]:
    """Return a row for each anchor of each level."""
    return tuple(
        Grid(
            f"{level.name}-{number}",
            f"score{level.stride}",
            number * scores,
            level.stride,
            sides,
            None,
            0.5,
            f"delta{level.stride}",
            4 * number,
        )
        for level in config.levels()
        for number, sides in enumerate(level.sizes)
    )
