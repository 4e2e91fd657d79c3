"""ONNX Runtime as an engine: what it holds on to, and what it says of graphs it cannot run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of


def test_an_upload_outlives_the_callers_array(model: DeepMask) -> None:
    """The engine keeps what it reads from."""
    image = np.full((1, 3, 160, 160), 200, np.float32)
    expected = model.engine.run("trunk", {"image": model.engine.upload(image.copy())})
    tensor = model.engine.upload(image)
    del image
    scratch = [np.random.default_rng(k).random((1, 3, 160, 160)) for k in range(4)]
    features = model.engine.run("trunk", {"image": tensor})["features"]
    assert_array_equal(model.engine.fetch(features), model.engine.fetch(expected["features"]))
    assert len(scratch) == 4


def test_a_failing_graph_is_one_line(model: DeepMask) -> None:
    """A shape the graph cannot take."""
    wrong = model.engine.upload(np.zeros((1, 3, 15, 15), np.float32))
    with pytest.raises(EngineError, match="onnxruntime failed in stage trunk: ") as caught:
        model.engine.run("trunk", {"image": wrong})
    assert "\n" not in str(caught.value)


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
    """Names at the edge differ, the file is no graph, or an operator is none of ONNX's."""
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


def test_the_engine_names_itself(model_folder: Path) -> None:
    """Version, device and threads, to be printed."""
    with DeepMask.load(model_folder, device="cpu", threads=3) as model:
        assert model.engine.description.startswith("onnxruntime 1.")
        assert model.engine.description.endswith("on CPU, 3 threads")
    model.close()
