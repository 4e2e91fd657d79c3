"""The table of graphs: which module, which inputs and which outputs each model is exported as."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.mask import (
    CodeMaskDenseGraph,
    CodeMaskGraph,
    WindowMaskDenseGraph,
    WindowMaskGraph,
)
from deepmask.networks.dense.refinement import RefinedMaskGraph, SkipTrunkGraph
from deepmask.networks.dense.score import PooledScoreGraph, SharedScoreGraph, WindowScoreGraph
from deepmask.networks.dense.trunk import TrunkGraph
from deepmask.networks.heads import (
    FullMaskHead,
    LowRankMaskHead,
    PooledScoreHead,
    SeparateScoreHead,
    SharedScoreHead,
    WindowScoreHead,
)
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.sharpmask import SharpMaskNetwork

#: Pixels that a window at the picture's edge sees beyond itself: half of the thesis' 32 (§3.4).
SURROUNDINGS = 16


@dataclass(frozen=True)
class GraphSource:
    """A module to export, and names of its inputs and outputs in `runtime.manifest.TENSORS`."""

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def border_of(patch: int) -> int:
    """Gray pixels around each scaled picture: what a training patch has around its object's middle.

    Half a patch and 16 px of context: 96 for 160 px, 128 for 224 px. A wider border costs more area
    than the recall it adds.
    """
    return patch // 2 + SURROUNDINGS


def margin_of(config: DeepMaskConfig) -> int:
    """Feature cells between the border's edge and the first window."""
    return SURROUNDINGS // config.stride


def skip_width(config: DeepMaskConfig) -> int:
    """Values that a cell of the skip maps holds; 0 without refinement."""
    if not isinstance(config, SharpMaskConfig):
        return 0
    return sum(width << (2 * level) for level, width in enumerate(config.refine_widths[1:]))


def graph_sources(
    model: DeepMaskNetwork, interleaving: str, dense_mask: bool
) -> dict[str, GraphSource]:
    """The graphs of one model, by name; `dense_mask` adds `mask_dense`.

    A model with the shared score head hands the code of each window from score to mask; any other
    mask graph starts from the features. A refined model's mask graph reads skip maps as well, and
    what its masks would be without is `coarse_mask`.
    """
    cells, margin = model.config.cells, margin_of(model.config)
    graphs = {"trunk": _trunk_source(model)}
    mask: CodeMaskGraph | WindowMaskGraph
    dense: nn.Module
    if isinstance(model.score_head, SharedScoreHead):
        assert isinstance(model.mask_head, LowRankMaskHead)  # DeepMaskConfig saw to it
        score = SharedScoreGraph(model.mask_head, model.score_head, cells, margin)
        graphs["score"] = GraphSource(score, ("features",), ("score", "code"))
        start = "code"
        mask, dense = CodeMaskGraph(model.mask_head), CodeMaskDenseGraph(model.mask_head)
    else:
        apart: nn.Module
        if isinstance(model.score_head, PooledScoreHead):
            apart = PooledScoreGraph(model.score_head, cells, margin, interleaving)
        else:
            own = model.score_head if isinstance(model.score_head, SeparateScoreHead) else None
            assert isinstance(model.score_head, WindowScoreHead)
            reduce = (own or model.mask_head).reduce
            apart = WindowScoreGraph(reduce, model.score_head, cells, margin)
        graphs["score"] = GraphSource(apart, ("features",), ("score",))
        start = "features"
        assert isinstance(model.mask_head, LowRankMaskHead | FullMaskHead)
        mask = WindowMaskGraph(model.mask_head, cells, margin)
        dense = WindowMaskDenseGraph(model.mask_head, cells, margin)
    graphs["mask"] = GraphSource(mask, (start, "locations"), ("mask",))
    if isinstance(model, SharpMaskNetwork):
        refined = RefinedMaskGraph(mask, model.refine, margin)
        graphs["coarse_mask"] = graphs["mask"]
        graphs["mask"] = GraphSource(refined, (start, "skips", "locations"), ("mask",))
    if dense_mask:
        graphs["mask_dense"] = GraphSource(dense, (start,), ("mask",))
    return graphs


def _trunk_source(model: DeepMaskNetwork) -> GraphSource:
    if isinstance(model, SharpMaskNetwork):
        return GraphSource(SkipTrunkGraph(model), ("image",), ("features", "skips"))
    trunk = TrunkGraph(model, border_of(model.config.patch))
    return GraphSource(trunk, ("image",), ("features",))


def example_inputs(config: DeepMaskConfig) -> dict[str, Tensor]:
    """A tensor of each graph's input for a picture of 80×112 px: shapes to trace with."""
    rows, cols, border = 6, 8, border_of(config.patch)
    stride = config.stride
    height, width = stride * (rows - 1) + 2 * border, stride * (cols - 1) + 2 * border
    cells = (1, config.features, height // stride, width // stride)
    return {
        "image": torch.zeros(1, 3, height, width),
        "features": torch.zeros(cells),
        "skips": torch.zeros(1, height // stride, width // stride, skip_width(config)),
        "code": torch.zeros(1, config.rank, rows, cols),
        "locations": torch.zeros(3, 2, dtype=torch.int64),
    }
