"""Hostile model folders: `model.json`, and graphs whose hash is right but which are not."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import onnx

from deepmask.runtime import DeepMask, EngineError, ModelFolderError
from deepmask.runtime.manifest import load_manifest
from tests.runtime.square_model import write_square_model

from .mutations import EDGES, damaged, damaged_json
from .target import Target

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
VALUES = ("../trunk.onnx", "/dev/zero", "trunk.onnx", "mask.onnx", ["image"], ["code", "score"])


@cache
def good() -> Path:
    """A model folder that works, whichever place it has."""
    return write_square_model(Path(tempfile.mkdtemp(prefix="deepmask-fuzz-")))


def make_manifest(chance: Random) -> bytes:
    return damaged_json(json.loads((good() / "model.json").read_bytes()), chance, VALUES)


def read_manifest(path: Path) -> None:
    """The description, beside graphs that work, and a run."""
    folder = _folder(path)
    (folder / "model.json").write_bytes(path.read_bytes())
    load_manifest(folder)

    _run(folder)


def make_graph(chance: Random) -> bytes:
    """One of the three graphs, its bytes damaged or its operators, edges and sizes exchanged."""
    content = (good() / f"{chance.choice(('trunk', 'score', 'mask'))}.onnx").read_bytes()
    if chance.random() < 0.5:
        return damaged(content, chance)
    model = onnx.ModelProto.FromString(content)
    for _ in range(chance.randint(1, 2)):
        node = chance.choice(model.graph.node)
        how = chance.randrange(6)
        if how == 0:
            node.op_type = chance.choice(OPERATORS)
        elif how == 1 and node.input:
            node.input[chance.randrange(len(node.input))] = chance.choice(_names(model))
        elif how == 2 and node.attribute:
            attribute = chance.choice(node.attribute)
            attribute.i = chance.choice(EDGES) * chance.choice((1, -1))
            attribute.ints[:] = [chance.choice(EDGES) for _ in attribute.ints]
        elif how == 3 and model.graph.initializer:
            tensor = chance.choice(model.graph.initializer)
            tensor.dims[:] = [chance.choice((0, 1, 2, 2**31, 2**40, -1)) for _ in tensor.dims]
        elif how == 4 and model.graph.initializer:
            tensor = chance.choice(model.graph.initializer)
            tensor.raw_data = damaged(tensor.raw_data, chance)
        else:
            model.graph.node.append(node)
    return bytes(model.SerializeToString())


OPERATORS = ("Loop", "Expand", "ConstantOfShape", "Resize", "Conv", "Gather", "Reshape", "x", "Abs")


def read_graph(path: Path) -> None:
    """The graph in the place of the one whose output it has, with its hash in `model.json`."""
    folder, content = _folder(path), path.read_bytes()
    places = {b"features": "trunk", b"locations": "mask"}
    name = next((place for mark, place in places.items() if content.endswith(mark)), "score")
    for mark, place in ((b"locations", "mask"), (b"SpaceToDepth", "trunk")):
        name = place if mark in content else name
    (folder / f"{name}.onnx").write_bytes(content)
    manifest = json.loads((good() / "model.json").read_bytes())
    manifest["graphs"][name]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(manifest))
    _run(folder)


def _folder(path: Path) -> Path:
    """A folder of graphs that work."""
    folder = path.with_name("model")
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(good(), folder))


def _run(folder: Path) -> None:
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as model:
        found = model(IMAGE, proposals=5)
        assert np.isfinite(found.scores).all()
        assert all(0 <= result["score"] <= 1 for result in found.to_coco(1))


def _names(model: onnx.ModelProto) -> list[str]:
    return [name for node in model.graph.node for name in (*node.input, *node.output)]


TARGETS = (
    Target("model.json", make_manifest, read_manifest, (ModelFolderError, EngineError)),
    Target("onnx graphs", make_graph, read_graph, (ModelFolderError, EngineError)),
)
