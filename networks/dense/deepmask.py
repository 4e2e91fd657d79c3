"""The dense graphs of DeepMask and SharpMask: trunk and score per view, masks per window."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log2

import torch
from torch import Tensor, nn

from deepmask.networks.config import (
    BORDER_FILL,
    IMAGENET_MEAN,
    IMAGENET_STD,
    ConfigError,
    ModelConfig,
)
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.graphs import (
    DenseForm,
    DenseGraph,
    DenseModel,
    DenseOptions,
    Description,
    Reference,
)
from deepmask.networks.dense.mask import (
    CodeMaskDenseGraph,
    CodeMaskGraph,
    WindowMaskDenseGraph,
    WindowMaskGraph,
)
from deepmask.networks.dense.refinement import RefinedMaskGraph, SkipTrunkGraph
from deepmask.networks.dense.score import (
    INTERLEAVINGS,
    PooledScoreGraph,
    SharedScoreGraph,
    WindowScoreGraph,
)
from deepmask.networks.dense.trunk import TrunkGraph
from deepmask.networks.heads import (
    LowRankMaskHead,
    PooledScoreHead,
    SeparateScoreHead,
    SharedScoreHead,
)
from deepmask.runtime.model.manifest import VIEW, WINDOWS, Grid, Scales, TensorSpec, Views

#: Pixels that a window at the picture's edge sees beyond itself: half of the thesis' 32 (§3.4).
SURROUNDINGS = 16
#: Longest side that scale 1 may have: the customary limit of COCO detectors, in pixels. It bounds
#: time and memory for large photographs.
MAX_SIDE = 1333
WINDOWS_AT_ONCE = 32


def border_of(patch: int) -> int:
    """Return the gray pixels around each view: what a training patch has around its middle.

    Half a patch and 16 px of context: 96 for 160 px, 128 for 224 px. A wider border costs more area
    than the recall it adds.
    """
    return patch // 2 + SURROUNDINGS


def margin_of(config: ModelConfig) -> int:
    """Return the feature cells between the border's edge and the first window."""
    return SURROUNDINGS // config.stride


def skip_width(config: ModelConfig) -> int:
    """Return the values that a cell of the skip maps holds; 0 without refinement."""
    return sum(width << (2 * level) for level, width in enumerate(config.refine_widths[1:]))


def default_scales(patch: int) -> Scales:
    """Return seven scales at which windows of `patch` pixels show objects of the paper's sizes.

    2^-2 … 2^1 for 224 px (§3.3); half a power less for 160 px (the thesis), one less for 112 px.
    """
    shift = round(2 * log2(patch / 224)) / 2
    return Scales(-2 + shift, 1 + shift, 0.5)


def describe(config: ModelConfig) -> Description:
    """Return what `model.json` says of a network; mask threshold as in the paper (0.2, §4)."""
    return Description(
        views=Views(
            scales=default_scales(config.patch),
            max_side=MAX_SIDE,
            enlarge=False,
            border=border_of(config.patch),
            fill=BORDER_FILL,
            multiple=config.stride,
        ),
        grids=(_grid(config, config.output_size),),
        coarse_grids=(_grid(config, config.mask_size),) if config.refined else (),
        about={
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "score_head": config.score_head,
        },
    )


def dense_model(model: DeepMaskNetwork, options: DenseOptions) -> DenseModel:
    """Return the graphs of a network in evaluation mode.

    A model with the shared score head hands the code of each window from score to mask; any other
    mask graph starts from the features. A refined model's mask graph reads skip maps as well.
    Raises `ConfigError` for options that the network has no use for.
    """
    config = model.config
    _check(config, options)
    tensors = _tensors(config)
    heads = _heads(model, options.interleaving or INTERLEAVINGS[0])
    plain = TrunkGraph(model, border_of(config.patch))
    trunk = _graph("trunk", VIEW, plain, tensors, "image > features", _NORMALISATION)
    score = _graph("score", VIEW, heads.score, tensors, heads.score_edges, _SCORE)
    masks = f"{heads.start} locations > mask"
    if model.refine is None:
        mask = _graph("mask", WINDOWS, heads.mask, tensors, masks, heads.mask_layers("encode"))
        dense = _graph("mask_dense", WINDOWS, heads.dense, tensors, f"{heads.start} > mask", {})
        extra = (replace(dense, file="mask_dense"),) if options.dense_mask else ()
        return DenseModel(DenseForm((trunk, score, mask), reference(model)), extra=extra)

    names = tuple(f"refine.skips.{level}.join.weight" for level in range(len(config.skip_widths)))
    skips = _graph(
        "trunk",
        VIEW,
        SkipTrunkGraph(model),
        tensors,
        "image > features skips",
        {**_NORMALISATION, "skips": names},
    )
    refined = RefinedMaskGraph(heads.mask, model.refine, margin_of(config))
    sharp = _graph(
        "mask",
        WINDOWS,
        refined,
        tensors,
        f"{heads.start} skips locations > mask",
        heads.mask_layers("coarse.encode"),
    )
    blunt = _graph(
        "mask", WINDOWS, heads.mask, _tensors(config.coarse()), masks, heads.mask_layers("encode")
    )
    coarse = (
        replace(trunk, file="coarse_trunk", part_of="trunk"),
        score,
        replace(blunt, file="coarse_mask"),
    )
    return DenseModel(
        DenseForm((skips, score, sharp), reference(model)),
        DenseForm(coarse, reference(model, coarse=True)),
    )


def reference(model: DeepMaskNetwork, coarse: bool = False) -> Reference:
    """Return what gives features, the score of every location and masks by the heads as trained.

    The trunk sees the canvas; each head and the refinement see one window at a time. With `coarse`
    the masks are the mask head's, else refined ones where the network has them.
    """

    def run(canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        stages = model.stages(canvas)
        features = stages[-1]
        cells, margin = model.config.cells, margin_of(model.config)
        rows, cols = (side - 2 * margin - cells + 1 for side in features.shape[2:])

        def windows(some: Tensor, maps: Tensor = features, ratio: int = 1) -> Tensor:
            size = ratio * cells
            corners = (ratio * (some + margin)).tolist()
            return torch.stack([maps[0, :, i : i + size, j : j + size] for i, j in corners])

        everywhere = torch.tensor(list(itertools.product(range(rows), range(cols))))
        score = [model.score(windows(some)) for some in torch.split(everywhere, WINDOWS_AT_ONCE)]
        chosen = torch.split(locations, WINDOWS_AT_ONCE)
        if model.refine is None or coarse:
            masks = [model.mask(windows(some)) for some in chosen]
        else:
            assert isinstance(model.mask_head, LowRankMaskHead)
            shared = model.refine.shared(stages)
            masks = [
                model.refine(
                    model.mask_head.code(windows(some)),
                    [windows(some, one, 1 << level) for level, one in enumerate(shared)],
                )
                for some in chosen
            ]
        return {
            "features": features,
            "score": torch.cat(score).view(1, 1, rows, cols),
            "mask": torch.cat(masks),
        }

    return run


_NORMALISATION = {"normalisation": ("mean", "scale")}
_SCORE = {"score": ("classify.weight",), "hidden_score": ("widen.weight",)}


@dataclass(frozen=True)
class _Heads:
    """The graphs behind the trunk: what they are and which tensors they read and make."""

    score: nn.Module
    score_edges: str
    start: str
    mask: CodeMaskGraph | WindowMaskGraph
    dense: nn.Module
    has_code: bool

    def mask_layers(self, encode: str) -> dict[str, tuple[str, ...]]:
        """Return the layer that ends a window's code, if the mask graph makes one of features."""
        codes = self.start == "features" and self.has_code
        return {"code": (f"{encode}.weight",)} if codes else {}


def _heads(model: DeepMaskNetwork, interleaving: str) -> _Heads:
    cells, margin = model.config.cells, margin_of(model.config)
    head = model.mask_head
    has_code = isinstance(head, LowRankMaskHead)
    if isinstance(model.score_head, SharedScoreHead):
        assert isinstance(head, LowRankMaskHead)
        score = SharedScoreGraph(head, model.score_head, cells, margin)
        mask, dense = CodeMaskGraph(head), CodeMaskDenseGraph(head)
        return _Heads(score, "features > score code", "code", mask, dense, has_code)
    apart: nn.Module
    if isinstance(model.score_head, PooledScoreHead):
        apart = PooledScoreGraph(model.score_head, cells, margin, interleaving)
    else:
        own = model.score_head if isinstance(model.score_head, SeparateScoreHead) else None
        apart = WindowScoreGraph((own or head).reduce, model.score_head, cells, margin)
    windows = WindowMaskGraph(head, cells, margin)
    everywhere = WindowMaskDenseGraph(head, cells, margin)
    return _Heads(apart, "features > score", "features", windows, everywhere, has_code)


def _check(config: ModelConfig, options: DenseOptions) -> None:
    if options.interleaving and config.score_head != "pooled":
        raise ConfigError(
            f"it has the {config.score_head} score head, which has no pooling to interleave: "
            "leave --interleave out"
        )
    if options.dense_mask and config.refined:
        raise ConfigError(
            "it has refined masks, which are made window by window: leave --dense-mask out"
        )


def _grid(config: ModelConfig, mask_size: int) -> Grid:
    return Grid("windows", "score", 0, config.stride, config.patch, mask_size, 0.0)


def _tensors(config: ModelConfig) -> dict[str, TensorSpec]:
    """Return every tensor that crosses from one graph to the next, by name."""
    rows, cols = f"height/{config.stride}", f"width/{config.stride}"
    return {
        "image": TensorSpec("image", "float32", (1, 3, "height", "width")),
        "features": TensorSpec("map", "float32", (1, config.features, rows, cols)),
        "skips": TensorSpec("map", "float32", (1, rows, cols, skip_width(config))),
        "score": TensorSpec("score", "float32", (1, 1, "rows", "cols")),
        "code": TensorSpec("map", "float32", (1, config.rank, "rows", "cols")),
        "locations": TensorSpec("locations", "int64", ("n", 2)),
        "mask": TensorSpec("mask", "float32", ("n", config.output_size, config.output_size)),
    }


def _graph(
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
