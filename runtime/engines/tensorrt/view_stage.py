"""The stage that comes before a model's own: it paints views on the GPU."""

from __future__ import annotations

import hashlib

from deepmask.runtime.model.manifest import VIEW, Manifest, Stage, TensorSpec
from deepmask.runtime.views.view_graph import ACROSS, DOWN, NUMBERS, PICTURE, view_graph

#: The name of the stage, and of its time.
RESIZE = "resize"


def view_stage(manifest: Manifest) -> tuple[Stage, bytes]:
    """Return the stage for a model's pictures, and its graph."""
    [(name, spec)] = [
        (name, stage.inputs[name])
        for stage in manifest.view_stages
        for name in stage.with_role("image")
    ][:1]
    graph = view_graph(manifest.views.fill, name)
    inputs = {
        PICTURE: TensorSpec("picture", "uint8", ("rows of pixels", "pixels", 3)),
        DOWN: TensorSpec("map", "float32", ("height", NUMBERS)),
        ACROSS: TensorSpec("map", "float32", ("width", NUMBERS)),
    }
    digest = hashlib.sha256(graph).hexdigest()
    return Stage(RESIZE, "", digest, VIEW, inputs, {name: spec}, {}), graph
