"""A whole export: its files, its figures, and what becomes of it when something is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from deepmask.export import cli, exporter, parity
from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.exporter import export_model
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.options import ExportOptions
from deepmask.export.parity import PICTURE_SIZES, relative_error
from deepmask.networks.dense.graphs import example_inputs
from deepmask.networks.families import dense_model, describe
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.model.shipped import shipped_model
from deepmask.train.checkpoint import load_checkpoint
from deepmask.train.initialise import read_trained
from tests.export.conftest import (
    FULL_LIKE,
    PAPER_LIKE,
    TINY,
    VGG_LIKE,
    export_quickly,
    random_model,
    write_checkpoint,
)
from tests.export.float_graphs import sketch

LOAD = """
import sys, onnxruntime
for path in sys.argv[1:]:
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
"""


def test_the_folder_holds_what_model_json_says(r18_export: Path) -> None:
    content = json.loads((r18_export / "model.json").read_text(encoding="utf-8"))
    weights = r18_export.name.removeprefix("r18-")
    assert sorted(path.name for path in r18_export.iterdir()) == [
        RECORD,
        "mask.onnx",
        "model.json",
        "score.onnx",
        "trunk.onnx",
    ]
    assert content["format"] == "deepmask-model/2"
    assert (content["name"], content["precision"]) == ("r18", "fp32")
    assert (content["about"]["weights"], content["about"]["opset"]) == (weights, 18)
    assert content["views"]["scales"] == {"start": -2.5, "stop": 0.5, "step": 0.5}
    assert (content["views"]["border"], content["views"]["multiple"]) == (96, 16)
    (grid,) = content["grids"]
    assert (grid["window"], grid["stride"], grid["offset"]) == (160, 16, 0)
    assert [stage["name"] for stage in content["stages"]] == ["trunk", "score", "mask"]
    for stage in content["stages"]:
        assert sha256_of(r18_export / stage["file"]) == stage["sha256"]
    megabytes = sum(path.stat().st_size for path in r18_export.glob("*.onnx")) / 1e6
    assert megabytes < {"fp32": 48, "fp16": 24}[weights]


def test_graphs_are_plain_and_pass_the_checker(r18_export: Path) -> None:
    for stage in load_manifest(r18_export).stages:
        path = r18_export / stage.file
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        assert [value.name for value in model.graph.input] == list(stage.inputs)
        assert [value.name for value in model.graph.output] == list(stage.outputs)
        for value in [*model.graph.input, *model.graph.output]:
            dims = value.type.tensor_type.shape.dim
            shape = tuple(dim.dim_param or dim.dim_value for dim in dims)
            assert shape == {**stage.inputs, **stage.outputs}[value.name].axes
        weights = {tensor.name.removesuffix(".half") for tensor in model.graph.initializer}
        assert {name for names in stage.layers.values() for name in names} <= weights
        assert not model.metadata_props
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        assert not any(t.external_data for t in model.graph.initializer)
        data = path.read_bytes()
        for place in (str(Path(exporter.__file__).parent), "site-packages", ".py"):
            assert place.encode() not in data


def test_onnx_runtime_loads_the_graphs_without_a_word(r18_export: Path) -> None:
    paths = [str(path) for path in sorted(r18_export.glob("*.onnx"))]
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_onnx_runtime_computes_in_float32_whatever_is_stored(
    r18_export: Path, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that an optimised graph is for one machine only
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        str(r18_export / "score.onnx"), options, providers=["CPUExecutionProvider"]
    )
    optimised = onnx.load(tmp_path / "optimised.onnx")
    assert "Cast" not in {node.op_type for node in optimised.graph.node}
    kinds = {tensor.data_type for tensor in optimised.graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in kinds


def test_parity_figures_are_kept(r18_export: Path) -> None:
    figures = load_manifest(r18_export).about["parity"]
    assert [(one["height"], one["width"]) for one in figures["pictures"]] == list(PICTURE_SIZES)
    assert any(size % 2 for picture in PICTURE_SIZES for size in picture)
    for one in figures["pictures"]:
        assert one["locations"] == (-(-one["height"] // 16) + 1) * (-(-one["width"] // 16) + 1)
        assert all(0 < one[key] < 1e-4 for key in ("features", "scores", "masks"))
    rounding = figures.get("rounding_of_weights")
    if r18_export.name.endswith("fp16"):
        assert all(1e-6 < one["features"] < 1e-2 for one in rounding)
    else:
        assert rounding is None


@pytest.mark.parametrize(
    "config", [PAPER_LIKE, FULL_LIKE, VGG_LIKE], ids=["low-rank", "full", "vgg-a"]
)
def test_models_with_a_pooled_score_head_export(config: DeepMaskConfig, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(random_model(config), tmp_path / "pooled.pt")
    options = ExportOptions(name="paper", scales=Scales(-1, 0, 0.25), threshold=0.1)
    manifest = export_quickly(checkpoint, tmp_path / "model", options, pictures=2)
    assert list(manifest.stage("mask").inputs) == ["features", "locations"]
    for one in manifest.about["parity"]["pictures"]:
        assert all(0 < one[key] < 1e-5 for key in ("features", "scores", "masks"))
    assert load_manifest(tmp_path / "model") == manifest
    assert (manifest.name, manifest.threshold) == ("paper", 0.1)
    assert manifest.views.scales == Scales(-1, 0, 0.25)
    assert manifest.about["score_head"] == "pooled"
    with pytest.raises(InitialiseError, match="as it is trained: give the checkpoint"):
        read_trained(tmp_path / "model", config)  # windows are columns in another order there


def test_weights_come_back_with_batchnorm_as_what_is_left_of_it(
    r18_export: Path, r18_checkpoint: Path
) -> None:
    trained = load_checkpoint(r18_checkpoint).build()
    found = read_trained(r18_export, trained.config).build()
    patches = 255 * torch.rand(2, 3, 192, 192)
    exact = not r18_export.name.endswith("fp16")
    with torch.no_grad():
        for one, other in zip(found(patches), trained(patches), strict=True):
            assert relative_error(one.numpy(), other.numpy()) < (1e-5 if exact else 1e-2)


def test_an_export_that_deviates_fails_and_leaves_what_was_there(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def corrupted(*arguments: Any) -> onnx.ModelProto:
        graph = to_onnx(*arguments)
        for tensor in graph.graph.initializer:
            if tensor.name == "classify.bias":
                values = numpy_helper.to_array(tensor) + np.float32(0.01)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return graph

    monkeypatch.setattr(exporter, "to_onnx", corrupted)
    monkeypatch.setattr(parity, "PICTURE_SIZES", PICTURE_SIZES[:1])
    out = tmp_path / "model"
    shutil.copytree(shipped_model(), out)
    (out / "score.onnx").unlink()  # incomplete, and a model all the same
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    given = ["deepmask-export", str(tiny_checkpoint), "--out", str(out), "--force"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    printed = capsys.readouterr()
    assert exit_.value.code == 1
    assert printed.err.startswith("Error: ONNX Runtime differs from PyTorch by 1.0e-02 for")
    assert printed.err.count("\n") == 1
    assert "61×83" in printed.out
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_graphs_of_one_checkpoint_are_byte_equal() -> None:
    dense = dense_model(random_model(TINY))
    score = dense.main.graphs[1]
    examples = example_inputs(score, sketch(dense, describe(TINY)))
    first, second = (to_onnx(score, examples, 18) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = random_model(TINY)
    model.score_head.widen.weight.data[3, 2] = float("nan")
    checkpoint = write_checkpoint(model, tmp_path / "diverged.pt")
    with pytest.raises(ExportError, match=r"^weight score_head\.widen\.weight has 1 of 240"):
        export_model(checkpoint, tmp_path / "model", ExportOptions())
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_weights_that_overflow_in_use_are_refused(tmp_path: Path) -> None:
    model = random_model(TINY)
    model.mask_head.reduce.weight.data.fill_(3e38)
    checkpoint = write_checkpoint(model, tmp_path / "huge.pt")
    with pytest.raises(ExportError, match="61×83 px gives values that are NaN or infinite"):
        export_quickly(checkpoint, tmp_path / "model", ExportOptions())
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_name_that_no_manifest_may_hold_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportUsageError, match="the name has 201 letters, at most 200 are kept"):
        export_model(tiny_checkpoint, tmp_path / "model", ExportOptions(name="x" * 201))
