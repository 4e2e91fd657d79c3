"""The graphs that TensorRT builds: the model's own, and one before them that paints views."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.model.manifest import VIEW, Manifest, Stage, TensorSpec
from deepmask.runtime.model.onnx_writer import with_half_output
from deepmask.runtime.validation import ContentError
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
    # Named by the model, so that two models do not exchange their plans of it again and again.
    of_model = manifest.view_stages[0].sha256[:16]
    graph = view_graph(manifest.views.fill, name, f"{RESIZE} for {of_model}")
    inputs = {
        PICTURE: TensorSpec("picture", "uint8", ("rows of pixels", "pixels", 3)),
        DOWN: TensorSpec("map", "float32", ("height", NUMBERS)),
        ACROSS: TensorSpec("map", "float32", ("width", NUMBERS)),
    }
    digest = hashlib.sha256(graph).hexdigest()
    return Stage(RESIZE, "", digest, VIEW, inputs, {name: spec}, {}), graph


def stage_graph(path: Path, stage: Stage) -> bytes:
    """Read a stage's graph. Its masks are given out as float16: half the bytes on their way.

    Raises `EngineError` if the file is not the one that the model was loaded with.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != stage.sha256:
        raise EngineError(f"{path}: was changed since the model was loaded; start again")
    for name, spec in stage.outputs.items():
        if spec.role == "mask":
            try:
                content = with_half_output(content, name, spec.axes)
            except ContentError as error:
                raise EngineError(f"{path}: {error}") from error
    return content
