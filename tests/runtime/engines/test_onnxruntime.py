"""The engines of the CPU: what they call themselves, and say of graphs that they cannot run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_names_and_failures_are_one_line(engine: str, model_folder: Path) -> None:
    pytest.importorskip(engine)
    with DeepMask.load(model_folder, engine=engine, device="cpu", threads=3) as model:
        name, version, *where = model.engine.description.split(" ", 2)
        assert (name, where) == (engine, ["on CPU, 3 threads"])
        assert version.count(".") == 2
        wrong = model.engine.upload(np.zeros((1, 4, 15, 15), np.float32))
        with pytest.raises(EngineError, match=f"{engine} failed in stage trunk: ") as caught:
            model.engine.run("trunk", {"image": wrong})
        assert "\n" not in str(caught.value)
    model.close()


@pytest.mark.parametrize(
    ("engine", "no_graph"),
    [
        ("onnxruntime", "score.onnx: onnxruntime cannot load it: "),
        ("openvino", r"score.onnx: has inputs \[\] and outputs \[\], "),  # it sees an empty graph
    ],
)
def test_graphs_that_are_not_what_the_manifest_says(
    engine: str, no_graph: str, model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip(f"deepmask.runtime.engines.{engine}")
    folder = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    content = json.loads((folder / "model.json").read_text())
    score = content["stages"][1]
    score["outputs"]["code"] = {"role": "map", "dtype": "float32", "axes": [1, 9, "rows", "cols"]}
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match=r"has inputs .* model.json says .*'code'"):
        DeepMask.load(folder, engine=engine, device="cpu")
    del score["outputs"]["code"]
    strange = onnx.load(folder / "score.onnx")
    strange.graph.node[0].op_type = "Nonsense"
    for broken, said in (
        (strange.SerializeToString(), rf"score.onnx: {engine} cannot load it: "),
        (b"\x08\x08", no_graph),
    ):
        (folder / "score.onnx").write_bytes(broken)
        score["sha256"] = sha256_of(folder / "score.onnx")
        (folder / "model.json").write_text(json.dumps(content))
        with pytest.raises(EngineError, match=said) as caught:
            DeepMask.load(folder, engine=engine, device="cpu")
        assert "\n" not in str(caught.value)
