"""The dense graphs of SharpMask: DeepMask's, skip maps per view, and refined masks per window."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deepmask.networks.dense.deepmask import (
    NORMALISATION,
    WINDOWS_AT_ONCE,
    cut_windows,
    deepmask_graphs,
    dense_graph,
    dense_heads,
    describe_deepmask,
    grid,
    margin_of,
    reference,
    score_everywhere,
    tensors_of,
)
from deepmask.networks.dense.graphs import DenseForm, DenseModel, Description, Reference
from deepmask.networks.dense.refinement import RefinedMaskGraph, SkipTrunkGraph
from deepmask.networks.patches.config import SharpMaskConfig
from deepmask.networks.sharpmask import SharpMaskNetwork
from deepmask.runtime.model.manifest import VIEW, WINDOWS, TensorSpec


def describe_sharpmask(config: SharpMaskConfig) -> Description:
    """Return what `model.json` says of a network: as for DeepMask, and its coarse masks."""
    return replace(describe_deepmask(config), coarse_grids=(grid(config, config.mask_size),))


def dense_sharpmask(model: SharpMaskNetwork) -> DenseModel:
    """Return the graphs of a network in evaluation mode; the mask graph reads skip maps as well.

    Its coarse form makes the masks it would have without refinement.
    """
    config = model.config
    heads = dense_heads(model)
    rows, cols = f"height/{config.stride}", f"width/{config.stride}"
    values = sum(width << (2 * level) for level, width in enumerate(config.refine_widths[1:]))
    skips = TensorSpec("map", "float32", (1, rows, cols, values))
    tensors = {**tensors_of(config), "skips": skips}
    names = tuple(f"refine.skips.{level}.join.weight" for level in range(len(config.skip_widths)))
    layers = {**NORMALISATION, "skips": names}
    features, masks = "image > features skips", f"{heads.start} skips locations > mask"
    refined = RefinedMaskGraph(heads.mask, model.refine, margin_of(config))
    codes = heads.mask_layers("coarse.encode")
    trunk = dense_graph("trunk", VIEW, SkipTrunkGraph(model), tensors, features, layers)
    mask = dense_graph("mask", WINDOWS, refined, tensors, masks, codes)
    plain, score, blunt = deepmask_graphs(model, heads)
    outputs = {"mask": TensorSpec("mask", "float32", ("n", config.mask_size, config.mask_size))}
    coarse = (
        replace(plain, file="coarse_trunk", part_of="trunk"),
        score,
        replace(blunt, file="coarse_mask", outputs=outputs),
    )
    return DenseModel(
        DenseForm((trunk, score, mask), refined_reference(model)),
        DenseForm(coarse, reference(model)),
    )


def refined_reference(model: SharpMaskNetwork) -> Reference:
    """Return what gives features, the score of every location and refined masks as trained.

    The trunk and the skip paths see the canvas; heads and refinement see one window at a time.
    """

    def run(canvas: Tensor, locations: Tensor) -> dict[str, Tensor]:
        stages = model.stages(canvas)
        features, shared = stages[-1], model.refine.shared(stages)
        masks = []
        for some in torch.split(locations, WINDOWS_AT_ONCE):
            code = model.mask_head.code(cut_windows(model.config, features, some))
            skips = [cut_windows(model.config, one, some, 1 << k) for k, one in enumerate(shared)]
            masks.append(model.refine(code, skips))
        score = score_everywhere(model, features)
        return {"features": features, "score": score, "mask": torch.cat(masks)}

    return run
