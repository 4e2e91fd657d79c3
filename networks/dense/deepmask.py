"""The dense graphs of DeepMask: trunk and score per view, masks per window."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import torch
from torch import Tensor, nn

from deepmask.networks.config import BORDER_FILL, IMAGENET_MEAN, IMAGENET_STD
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.graphs import (
    DenseForm,
    DenseGraph,
    DenseModel,
    Description,
    Reference,
)
from deepmask.networks.dense.mask import CodeMaskGraph, WindowMaskGraph
from deepmask.networks.dense.score import PooledScoreGraph, SharedScoreGraph, WindowScoreGraph
from deepmask.networks.dense.trunk import TrunkGraph
from deepmask.networks.heads import (
    LowRankMaskHead,
    PooledScoreHead,
    ReducedScoreHead,
    SeparateScoreHead,
    SharedScoreHead,
)
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.manifest import VIEW, WINDOWS, Grid, Scales, TensorSpec, Views

#: Pixels that a window at the picture's edge sees beyond itself: half of the thesis' 32 (§3.4).
SURROUNDINGS = 16
#: Longest side that scale 1 may have: the customary limit of COCO detectors, in pixels. It bounds
#: time and memory for large photographs.
MAX_SIDE = 1333
WINDOWS_AT_ONCE = 32
#: What the runtime does by default: measured for `sharpmask-r18`. The paper cuts
#: masks at 0.2 and leaves overlap and scales alone; `deepmask-export --validation` measures anew.
THRESHOLD = 0.4
OVERLAP = 0.75
SCALE_PRIOR = 0.5


def border_of(patch: int) -> int:
    """Return the gray pixels around each view: what a training patch has around its middle.

    Half a patch and 16 px of context: 96 for 160 px, 128 for 224 px. A wider border costs more area
    than the recall it adds.
    """
    return patch // 2 + SURROUNDINGS


def margin_of(config: DeepMaskConfig) -> int:
    """Return the feature cells between the border's edge and the first window."""
    return SURROUNDINGS // config.stride


def default_scales(patch: int) -> Scales:
    """Return seven scales at which windows of `patch` pixels show objects of the paper's sizes.

    2^-2 … 2^1 for 224 px (§3.3); half a power less for 160 px (the thesis), one less for 112 px.
    """
    shift = round(2 * log2(patch / 224)) / 2
    return Scales(-2 + shift, 1 + shift, 0.5)


def describe_deepmask(config: DeepMaskConfig) -> Description:
    """Return what `model.json` says of a network; mask threshold as in the paper (0.2, §4)."""
    return Description(
        threshold=THRESHOLD,
        overlap=OVERLAP,
        scale_prior=SCALE_PRIOR,
        views=Views(
            scales=default_scales(config.patch),
            max_side=MAX_SIDE,
            enlarge=False,
            border=border_of(config.patch),
            fill=BORDER_FILL,
            multiple=config.stride,
        ),
        grids=(grid(config, config.output_size),),
        about={
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "score_head": config.score_head,
        },
    )


def dense_deepmask(model: DeepMaskNetwork) -> DenseModel:
    """Return the graphs of a network in evaluation mode.

    A model with the shared score head hands the code of each window from score to mask; any other
    mask graph starts from the features.
    """
    return DenseModel(DenseForm(deepmask_graphs(model, dense_heads(model)), reference(model)))


def deepmask_graphs(model: DeepMaskNetwork, heads: DenseHeads) -> tuple[DenseGraph, ...]:
    """Return trunk, score and mask graphs of a network without refinement."""
    tensors = tensors_of(model.config)
    plain = TrunkGraph(model, border_of(model.config.patch))
    scores = "features > score code" if heads.start == "code" else "features > score"
    masks = f"{heads.start} locations > mask"
    return (
        dense_graph("trunk", VIEW, plain, tensors, "image > features", NORMALISATION),
        dense_graph("score", VIEW, heads.score, tensors, scores, _SCORE),
        dense_graph("mask", WINDOWS, heads.mask, tensors, masks, heads.mask_layers("encode")),
    )


def reference(model: DeepMaskNetwork) -> Reference:
    """Return what gives features, the score of every location and masks by the heads as trained.

    The trunk sees the canvas; each head sees one window at a time. The masks are the mask head's.
    """

    def run(canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        features = model.features(canvas)
        masks = [
            model.mask(cut_windows(model.config, features, some))
            for some in torch.split(locations, WINDOWS_AT_ONCE)
        ]
        score = score_everywhere(model, features)
        return {"features": features, "score": score, "mask": torch.cat(masks)}

    return run


def score_everywhere(model: DeepMaskNetwork, features: Tensor) -> Tensor:
    """Return the score of every location, window by window: (1, 1, rows, cols) logits."""
    config = model.config
    rows, cols = (side - 2 * margin_of(config) - config.cells + 1 for side in features.shape[2:])
    everywhere = torch.tensor(list(itertools.product(range(rows), range(cols))))
    scores = [
        model.score(cut_windows(config, features, some))
        for some in torch.split(everywhere, WINDOWS_AT_ONCE)
    ]
    return torch.cat(scores).view(1, 1, rows, cols)


def cut_windows(config: DeepMaskConfig, maps: Tensor, locations: Tensor, ratio: int = 1) -> Tensor:
    """Cut windows out of maps with `ratio` samples a feature cell, (1, C, h·ratio, w·ratio).

    locations: (N, 2) rows and columns of the score map. Returns (N, C, cells·ratio, cells·ratio).
    """
    size = ratio * config.cells
    corners = (ratio * (locations + margin_of(config))).tolist()
    return torch.stack([maps[0, :, i : i + size, j : j + size] for i, j in corners])


NORMALISATION = {"normalisation": ("mean", "scale")}
_SCORE = {"score": ("classify.weight",), "hidden_score": ("widen.weight",)}


@dataclass(frozen=True)
class DenseHeads:
    """The graphs behind the trunk.

    start  what masks are made from, "features" or "code"; a score graph gives code if it is that.
    """

    score: nn.Module
    start: str
    mask: CodeMaskGraph | WindowMaskGraph

    def mask_layers(self, encode: str) -> dict[str, tuple[str, ...]]:
        """Return the layer that ends a window's code, if the mask graph makes one of features."""
        codes = isinstance(self.mask, WindowMaskGraph) and self.mask.has_code
        return {"code": (f"{encode}.weight",)} if codes else {}


def dense_heads(model: DeepMaskNetwork) -> DenseHeads:
    """Return the graphs of both heads."""
    cells, margin = model.config.cells, margin_of(model.config)
    head, score_head = model.mask_head, model.score_head
    if isinstance(score_head, SharedScoreHead):
        assert isinstance(head, LowRankMaskHead)
        shared = SharedScoreGraph(head, score_head, cells, margin)
        return DenseHeads(shared, "code", CodeMaskGraph(head))
    score: nn.Module
    if isinstance(score_head, PooledScoreHead):
        score = PooledScoreGraph(score_head, cells, margin)
    else:
        assert isinstance(score_head, SeparateScoreHead | ReducedScoreHead)  # the other two
        reduce = (score_head if isinstance(score_head, SeparateScoreHead) else head).reduce
        score = WindowScoreGraph(reduce, score_head, cells, margin)
    return DenseHeads(score, "features", WindowMaskGraph(head, cells, margin))


def grid(config: DeepMaskConfig, mask_size: int) -> Grid:
    """Return the windows of a network, whose masks have this side."""
    return Grid("windows", "score", 0, config.stride, config.patch, mask_size, 0.0)


def tensors_of(config: DeepMaskConfig) -> dict[str, TensorSpec]:
    """Return every tensor that crosses from one graph to the next, by name."""
    rows, cols = f"height/{config.stride}", f"width/{config.stride}"
    return {
        "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
        "features": TensorSpec("map", "float32", (1, config.features, rows, cols)),
        "score": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
        "code": TensorSpec("map", "float32", (1, config.rank, "rows", "cols")),
        "locations": TensorSpec("locations", "int64", ("n", 2)),
        "mask": TensorSpec("mask", "float32", ("n", config.output_size, config.output_size)),
    }


def dense_graph(
    name: str,
    per: str,
    module: nn.Module,
    tensors: Mapping[str, TensorSpec],
    edges: str,
    layers: Mapping[str, tuple[str, ...]],
) -> DenseGraph:
    """Describe a graph whose edges are given as "inputs > outputs", names from `tensors`."""
    inputs, outputs = ({one: tensors[one] for one in side.split()} for side in edges.split(">"))
    return DenseGraph(name, name, per, module, inputs, outputs, layers)
