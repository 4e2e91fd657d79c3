"""What graphs and `model.json` say of categories, for every network that names boxes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from deepmask.networks.boxes.config import CategoriesConfig
from deepmask.networks.dense.graphs import DenseGraph
from deepmask.runtime.model.manifest import BOXES, Category, TensorSpec


def box_graph(
    stage: nn.Module, maps: Mapping[str, TensorSpec], config: CategoriesConfig
) -> DenseGraph:
    """Return the graph that names boxes: `stage` takes the maps and boxes, gives class and delta.

    With C categories, class is (n, C + 1) logits, the first of background, and delta (n, C, 4).
    """
    categories = len(config.category_ids)
    return DenseGraph(
        "boxes",
        "boxes",
        BOXES,
        stage,
        {**maps, "boxes": TensorSpec("boxes", "float32", ("n", 4))},
        {
            "class": TensorSpec("class", "float32", ("n", categories + 1)),
            "delta": TensorSpec("delta", "float32", ("n", categories, 4)),
        },
    )


def categories_of(config: CategoriesConfig) -> tuple[Category, ...]:
    """Return the categories as `model.json` lists them."""
    both = zip(config.category_ids, config.category_names, strict=True)
    return tuple(Category(number, name) for number, name in both)
