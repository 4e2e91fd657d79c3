"""The graphs that TensorRT builds: the model's own, and one before them that paints views."""

from __future__ import annotations

import hashlib
import importlib.util
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


def stage_graph(path: Path, stage: Stage, half: bool = False) -> bytes:
    """Read a stage's graph. Its masks are given out as float16: half the bytes on their way.

    half  whether to compute in float16 what the graph computes in float32.
    Raises `EngineError` if the file is not the one that the model was loaded with.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != stage.sha256:
        raise EngineError(f"{path}: was changed since the model was loaded; start again")
    try:
        if half:
            from deepmask.runtime.model.half_graph import half_form

            content = half_form(content, stage)
        for name, spec in stage.outputs.items():
            if spec.role == "mask":
                content = with_half_output(content, name, spec.axes)
    except ContentError as error:
        raise EngineError(f"{path}: {error}") from error
    return content


def half_stages(manifest: Manifest) -> tuple[set[str], str]:
    """Return the stages of a float32 model to compute in float16, and the precision in words.

    They are those that proposals come from, if their recall was measured to hold; names were not.
    """
    recall = manifest.half
    if manifest.precision != "fp32" or recall is None:
        return set(), manifest.precision
    measured = f"AR@100 {recall.fp16:.4f} for {recall.fp32:.4f} on {recall.pictures} pictures"
    if not recall.holds:
        return set(), f"fp32 (fp16 would lose recall: {measured})"
    if importlib.util.find_spec("onnx") is None:
        return set(), "fp32 (fp16 needs the library onnx: pip install onnx)"
    of_names = {name for stage in manifest.box_stages for name in stage.inputs}
    stages = {
        stage.name
        for stage in (*manifest.view_stages, *manifest.window_stages)
        if not stage.outputs.keys() <= of_names
    }
    return stages, f"fp16 ({measured}; --no-fp16 keeps fp32)"
