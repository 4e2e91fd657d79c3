"""Hostile model folders, graphs whose hash is right but which are not, and plan descriptions."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.plan_cache import FORMAT, Identity, find, keep, path_of
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from tests.fuzz.mutations import EDGES, Target, damaged, damaged_json, exchanged
from tests.runtime.boxes_model import write_boxes_model
from tests.runtime.chains_model import write_chains_model
from tests.runtime.named_model import write_named_model
from tests.runtime.square_model import write_square_model

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
VALUES = (
    *("../trunk.onnx", "/dev/zero", "trunk.onnx", "mask.onnx", "coarse_mask.onnx", 64, -10),
    *(
        ["small"],
        ["large", "huge"],
        [[0.5, 0.1], [0.7, 0.2]],
        ["n"],
        ["any", 1],
        "any",
        "int64",
        "rank",
        [32, 0.5],
        "near_move",
    ),
    *(["image"], ["code", "score"], ["features"], ["skips", "features"], ["skips", "locations"]),
)


@cache
def good(form: str) -> Path:
    """A model folder that works, whichever place it has."""
    folder = Path(tempfile.mkdtemp(prefix="deepmask-fuzz-"))
    if form == "chains":
        return write_chains_model(folder)
    if form == "named":
        return write_named_model(folder)
    if form in ("boxes", "boxes in stages"):
        return write_boxes_model(folder, stages=form == "boxes in stages")
    return write_square_model(folder, refined=form == "refined")


def make_manifest(chance: Random, form: str) -> bytes:
    content = json.loads((good(form) / "model.json").read_bytes())
    if chance.random() < 0.3:
        return json.dumps(exchanged(content, chance)).encode()
    return damaged_json(content, chance, VALUES)


def read_manifest(path: Path, form: str) -> None:
    """The description, beside graphs that work, and a run; of its coarse form too."""
    folder = copied(path, form)
    (folder / "model.json").write_bytes(path.read_bytes())
    load_manifest(folder)
    for coarse in (False, True) if form == "refined" else (False,):
        _run(folder, coarse)


def make_graph(chance: Random, form: str) -> bytes:
    """One of the graphs, its bytes damaged or its operators, edges and sizes exchanged."""
    content = chance.choice(sorted(good(form).glob("*.onnx"))).read_bytes()
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


def read_graph(path: Path, form: str) -> None:
    """The graph in the place of the one that it looks like, with its hash in `model.json`."""
    folder, content = copied(path, form), path.read_bytes()
    manifest = json.loads((good(form) / "model.json").read_bytes())
    name = "anchors" if form == "boxes" else "score"
    for mark, place in ((b"locations", "mask"), (b"SpaceToDepth", "trunk")):
        name = place if mark in content and form != "boxes" else name
    coarse = form == "refined" and name != "score" and b"skips" not in content
    stages = (manifest["coarse"] if coarse else manifest)["stages"]
    described = next(stage for stage in stages if stage["name"] == name)
    (folder / described["file"]).write_bytes(content)
    described["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(manifest))
    _run(folder, coarse)


def copied(path: Path, form: str) -> Path:
    """A folder of graphs that work."""
    folder = path.with_name("model")
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(good(form), folder))


def _run(folder: Path, coarse: bool) -> None:
    on_cpu: dict[str, Any] = {"engine": "onnxruntime", "device": "cpu", "threads": 1}
    with DeepMask.load(folder, coarse=coarse, **on_cpu) as model:
        found = model(IMAGE, proposals=5)
        assert np.isfinite(found.scores).all()
        assert all(0 <= result["score"] <= 1 for result in found.to_coco(1))


def _names(model: onnx.ModelProto) -> list[str]:
    return [name for node in model.graph.node for name in (*node.input, *node.output)]


def _target(name: str, make: Any, read: Any, form: str) -> Target:
    refusals = (ModelFolderError, EngineError)
    return Target(name, partial(make, form=form), partial(read, form=form), refusals)


IDENTITY: Identity = {
    **{"format": FORMAT, "flavour": "tensorrt", "version": "11.4.0", "platform": "linux-x86_64"},
    **{"gpu": "L4", "compute_capability": "8.9", "driver": "12.8", "precision": "fp16"},
    **{"graph": "ab" * 32, "shapes": "cd" * 8, "max_side": 1333},
}
GOOD = {**IDENTITY, "sha256": hashlib.sha256(b"plan").hexdigest()}


class Rebuild(Exception):
    """A plan that is not used; the text is the reason that a user is told."""


def read_plan(path: Path) -> None:
    """Look a plan up by its description; what is no match is a reason to build again."""
    keep(path.parent, IDENTITY, b"plan")
    beside = path_of(path.parent, IDENTITY).with_suffix(".json")
    hostile = path.read_bytes()
    good = json.loads(beside.read_bytes())
    beside.write_bytes(hostile)
    found = find(path.parent, IDENTITY)
    if isinstance(found, str):
        raise Rebuild(found)
    values = json.loads(hostile)
    assert found == b"plan"
    assert all(values[key] == good[key] for key in good if key != "max_side")
    assert values["max_side"] >= good["max_side"]


def make_plan(chance: Random) -> bytes:
    return damaged_json(GOOD, chance, ("a\nb", 1334))


TARGETS = (
    _target("model.json", make_manifest, read_manifest, form="plain"),
    _target("model.json, refined", make_manifest, read_manifest, form="refined"),
    _target("model.json, chains", make_manifest, read_manifest, form="chains"),
    _target("model.json, names", make_manifest, read_manifest, form="named"),
    _target("model.json, boxes", make_manifest, read_manifest, form="boxes"),
    _target("model.json, boxes in stages", make_manifest, read_manifest, form="boxes in stages"),
    _target("onnx graphs", make_graph, read_graph, form="plain"),
    _target("onnx graphs, refined", make_graph, read_graph, form="refined"),
    _target("onnx graphs, boxes", make_graph, read_graph, form="boxes"),
    Target("plan descriptions", make_plan, read_plan, (Rebuild,)),
)
