"""The float32 graphs of a random network, and what one is fed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from deepmask.export.onnx_graph import to_onnx
from deepmask.networks.dense.graphs import example_inputs, graph_sources
from deepmask.networks.patches.config import DeepMaskConfig
from tests.export.conftest import random_model


def graphs_of(
    config: DeepMaskConfig, interleaving: str, folder: Path
) -> Iterator[tuple[str, Path]]:
    sources = graph_sources(random_model(config), interleaving, dense_mask=True)
    examples = example_inputs(config)
    for name, source in sources.items():
        inputs = [examples[key] for key in source.inputs]
        onnx.save_model(
            to_onnx(source.module, inputs, source.inputs, source.outputs, 18),
            folder / f"{name}.onnx",
        )
        yield name, folder / f"{name}.onnx"


def random_feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    sizes = {"height": 160, "width": 192, "h": 12, "w": 12, "rows": 5, "cols": 6}
    feed = {}
    for value in session.get_inputs():
        if value.name == "locations":
            feed[value.name] = np.array([[0, 0], [2, 3], [4, 1]])
            continue
        shape = [sizes.get(axis, axis) for axis in value.shape]
        bright = 255 if value.name == "image" else 1
        feed[value.name] = (bright * random.random(shape)).astype(np.float32)
    return feed
