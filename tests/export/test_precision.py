"""Exports in fp16 and int8: their types, what is spared, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from deepmask.export.errors import ExportUsageError
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.half_graph import half_form
from deepmask.runtime.model.manifest import WINDOWS, Scales, Stage, TensorSpec
from deepmask.runtime.validation import ContentError
from tests.export.conftest import (
    HEAD_A,
    PAPER_LIKE,
    TINY,
    VGG_LIKE,
    export_quickly,
    random_model,
    write_checkpoint,
    write_photographs,
)
from tests.export.float_graphs import graphs_of, random_feed

FORMS = ("fp16", "int8", "int8-symmetric")
ONE_SCALE = Scales(0, 0, 0.5)


@pytest.fixture(scope="module", params=FORMS)
def reduced(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder, precision = tmp_path_factory.mktemp("reduced"), str(request.param)
    photographs = write_photographs(folder / "photographs", 3)
    options = ExportOptions(precision=precision, photographs=photographs, scales=ONE_SCALE)
    out = folder / precision
    export_quickly(tiny_checkpoint, out, options)
    return out


def test_the_folder_is_whole_and_plain(reduced: Path) -> None:
    names = [RECORD, "mask.onnx", "model.json", "score.onnx", "trunk.onnx"]
    assert sorted(path.name for path in reduced.iterdir()) == names
    manifest = load_manifest(reduced)
    assert (manifest.precision, manifest.about["weights"]) == (reduced.name, reduced.name)
    for stage in manifest.stages:
        path = reduced / stage.file
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        assert (model.producer_name, model.producer_version) == ("deepmask-export", "")
        assert not model.metadata_props
        assert [domain.domain for domain in model.opset_import] == [""]
        for value in [*model.graph.input, *model.graph.output]:
            wanted = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
            spec = {**stage.inputs, **stage.outputs}[value.name]
            assert value.type.tensor_type.elem_type == wanted[spec.dtype]
        data = path.read_bytes()
        for place in (str(reduced.parent), "ort.quant", "site-packages", ".py"):
            assert place.encode() not in data


def test_the_agreement_with_fp32_is_kept(reduced: Path) -> None:
    about = json.loads((reduced / "model.json").read_text(encoding="utf-8"))["about"]
    assert about["parity"]["pictures"]  # of the fp32 graphs, against PyTorch
    figures = about["against_fp32"]
    assert (figures["pictures"], figures["top"], figures["among"]) == (3, 100, 150)
    assert figures["calibrated_on"] == (0 if reduced.name == "fp16" else 3)
    assert 0 < figures["found"] <= 1
    for name in ("scores", "masks"):
        error = figures[name]
        assert 0 < error["rms"] <= error["largest"]
        assert error["rms"] < 0.3 * error["reference_rms"]
    assert str(reduced.parent) not in json.dumps(about)


@pytest.mark.parametrize("reduced", ["int8"], indirect=True)
def test_integer_convolutions_run_as_such(reduced: Path, tmp_path: Path) -> None:
    """ONNX Runtime on a CPU fuses the plain form; what it leaves in float32 is what is spared."""
    for name, spared in (("trunk", 0), ("score", 1)):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        onnxruntime.InferenceSession(
            str(reduced / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]
        )
        kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
        assert kinds.count("Conv") + kinds.count("FusedConv") == spared
        assert kinds.count("QLinearConv") == {"trunk": 15, "score": 3}[name]
        assert "Relu" not in kinds


@pytest.mark.parametrize("reduced", ["int8", "int8-symmetric"], indirect=True)
def test_weights_are_int8_by_channel(reduced: Path) -> None:
    expected: dict[str, set[str]] = {"trunk": set(), "score": {"classify.weight"}}
    if reduced.name == "int8-symmetric":
        expected["score"].add("widen.weight")
    for name, spared in expected.items():
        graph = onnx.load(reduced / f"{name}.onnx").graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        made_by = {output: node for node in graph.node for output in node.output}
        plain = set()
        for node in graph.node:
            if node.op_type != "Conv":
                continue
            weight = node.input[1]
            if weight in values:
                plain.add(weight)
                continue
            stored, scale, zero = (values[key] for key in made_by[weight].input)
            assert stored.dtype == np.int8
            assert scale.shape == (len(stored),)
            assert not zero.any()
        assert plain == spared


@pytest.mark.parametrize("reduced", ["int8", "int8-symmetric"], indirect=True)
def test_the_symmetric_form_has_no_zero_points(reduced: Path) -> None:
    kinds, offset = set(), False
    for name in ("trunk", "score"):
        graph = onnx.load(reduced / f"{name}.onnx").graph
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                kinds.add(values[node.input[2]].dtype.name)
                offset |= bool(values[node.input[2]].any())
            if node.op_type == "DequantizeLinear" and reduced.name == "int8-symmetric":
                assert values[node.input[2]].dtype == np.int8  # a bias would be int32
    assert (kinds, offset) == {
        "int8": ({"uint8"}, True),
        "int8-symmetric": ({"int8"}, False),
    }[reduced.name]


@pytest.mark.parametrize("config", [TINY, PAPER_LIKE, VGG_LIKE], ids=["shared", "pooled", "vgg-a"])
def test_half_graphs_are_typed_throughout(config: DeepMaskConfig, tmp_path: Path) -> None:
    for name, written in graphs_of(config, tmp_path).items():
        half = tmp_path / "half.onnx"
        half.write_bytes(half_form(written.path.read_bytes(), written.stage))
        onnx.checker.check_model(half, full_check=True)
        graph = onnx.shape_inference.infer_shapes(onnx.load(half)).graph
        kinds = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.output]}
        casts = {output for node in graph.node if node.op_type == "Cast" for output in node.output}
        in_float = set()
        for node in graph.node:
            if node.op_type in ("Conv", "Gemm", "MatMul") and kinds[node.output[0]] == 1:
                in_float.add(node.input[1])
            assert node.op_type != "Cast" or not set(node.input) & casts  # never there and back
        spared = {"widen.weight", "classify.weight"} if name == "score" else set()
        assert in_float == spared
        full, other = (onnxruntime.InferenceSession(str(one)) for one in (written.path, half))
        feed = random_feed(full)
        for expected, found in zip(full.run(None, feed), other.run(None, feed), strict=True):
            assert found.dtype == np.float32
            assert 0 < np.abs(found - expected).max() < 0.01 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("form", ["int8", "int8-symmetric"])
@pytest.mark.parametrize("config", [VGG_LIKE, HEAD_A], ids=["vgg-a", "refined"])
def test_models_with_masks_of_the_features_are_lowered(
    config: DeepMaskConfig, form: str, tmp_path: Path
) -> None:
    """Calibrated as they will be fed, window by window; every graph still gives what it gave."""
    checkpoint = write_checkpoint(random_model(config), tmp_path / "model.pt")
    options = ExportOptions(
        precision=form,
        photographs=write_photographs(tmp_path / "photographs", 2),
        scales=ONE_SCALE,
    )
    manifest = export_quickly(checkpoint, tmp_path / "model", options)
    figures = manifest.about["against_fp32"]
    for name in ("scores", "masks"):
        assert 0 < figures[name]["rms"] < 0.2 * figures[name]["reference_rms"]
    coarse = ["coarse_mask"] if isinstance(config, SharpMaskConfig) else []
    graphs = ["trunk", "score", "mask", *coarse]
    for name in graphs:
        nodes = onnx.load(tmp_path / "model" / f"{name}.onnx").graph.node
        assert "QuantizeLinear" in {node.op_type for node in nodes}


def test_weights_beyond_half_are_refused(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.full((1, 1, 1, 1), 1e5, np.float32), "huge")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["code", "huge"], ["mask"], name="conv")],
        "graph",
        [value("code", TensorProto.FLOAT, (1, 1, 4, 4))],
        [value("mask", TensorProto.FLOAT, (1, 1, 4, 4))],
        [weight],
    )
    onnx.save_model(onnx.helper.make_model(graph), tmp_path / "mask.onnx")
    code, mask = (TensorSpec(role, "float32", (1, 1, 4, 4)) for role in ("map", "mask"))
    stage = Stage("mask", "mask.onnx", "", WINDOWS, {"code": code}, {"mask": mask}, {})
    with pytest.raises(ContentError, match="weight huge is beyond float16's range: use --precisio"):
        half_form((tmp_path / "mask.onnx").read_bytes(), stage)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (ExportOptions(precision="int8"), "--precision int8 needs --calibration DIR, a folder of"),
        (ExportOptions(photographs=Path()), "--calibration is for --precision fp16 and int8"),
        (
            ExportOptions(precision="fp16", weights="fp16"),
            "--weights fp16 is for --precision fp32: leave it out",
        ),
    ],
)
def test_options_that_do_not_go_together(
    options: ExportOptions, text: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportUsageError, match=text):
        export_model(tiny_checkpoint, tmp_path / "model", options)
    assert list(tmp_path.iterdir()) == []
