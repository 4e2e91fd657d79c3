"""The float32 graphs of a random network, and what one is fed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from deepmask.export.onnx_graph import to_onnx
from deepmask.export.precision.calibration import Feed
from deepmask.networks.dense.graphs import (
    DenseModel,
    Description,
    canvas_multiple,
    example_inputs,
    manifest_of,
)
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.runtime.model.manifest import Manifest, Stage
from tests.export.conftest import random_model


@dataclass(frozen=True)
class Written:
    """A graph in float32 as one ONNX file, and what the runtime is told of it."""

    stage: Stage
    path: Path

    @property
    def model(self) -> onnx.ModelProto:
        """The graph, read anew."""
        return onnx.load(self.path)


def sketch(dense: DenseModel, description: Description) -> Manifest:
    """Return the manifest of graphs that are not written yet."""
    return manifest_of(dense, description, name="random", about={})


def graphs_of(config: DeepMaskConfig, folder: Path, *files: str) -> dict[str, Written]:
    """Write graphs of a random network, all or those of these names; returns them by name.

    Those that are cut out of others are left out.
    """
    dense = dense_model(random_model(config))
    manifest = sketch(dense, describe(config))
    written = {}
    for graph in dense.files():
        if graph.part_of or (files and graph.file not in files):
            continue
        path = folder / f"{graph.file}.onnx"
        examples, multiple = example_inputs(graph, manifest), canvas_multiple(manifest.views)
        onnx.save_model(to_onnx(graph, examples, 18, multiple), path)
        written[graph.file] = Written(graph.stage(), path)
    return written


def random_feed(session: onnxruntime.InferenceSession) -> Feed:
    """Return inputs of a graph: a picture of 160×192 px or maps of 12×12 cells, three locations."""
    random = np.random.default_rng(0)
    sizes = {"height": 160, "width": 192, "rows": 5, "cols": 6}
    feed: Feed = {}
    for value in session.get_inputs():
        if value.name == "locations":
            feed[value.name] = np.array([[0, 0], [2, 3], [4, 1]])
            continue
        shape = [sizes.get(axis, 12) if isinstance(axis, str) else axis for axis in value.shape]
        bright = 255 if value.name == "image" else 1
        feed[value.name] = (bright * random.random(shape)).astype(np.float32)
    return feed
