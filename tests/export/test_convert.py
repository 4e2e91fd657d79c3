"""A model folder lowered to another precision: what its checkpoint would have given."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.export.convert import convert_model
from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.options import ExportOptions
from deepmask.export.precision import reduce
from deepmask.export.weights import store_as_half
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.half_graph import store_as_single
from deepmask.runtime.model.manifest import ModelFolderError, Scales
from tests.export.conftest import (
    TINY_SHARP,
    export_quickly,
    random_model,
    write_checkpoint,
    write_photographs,
)

COMMAND = shutil.which("deepmask-export")
SETTLED = {"scales": Scales(0, 0, 0.5), "threshold": 0.35, "overlap": 0.7, "scale_prior": 0.25}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("lower") / "photographs", 3)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a refined network: its folder holds the coarse form too."""
    return write_checkpoint(random_model(TINY_SHARP), tmp_path_factory.mktemp("lower") / "sharp.pt")


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> Path:
    return export(checkpoint, checkpoint.parent / "source")


def export(checkpoint: Path, out: Path, **options: object) -> Path:
    export_quickly(checkpoint, out, ExportOptions(**SETTLED, **options))  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("form", ["fp16", "int8", "int8-symmetric"])
def test_it_is_what_the_checkpoint_gives(
    form: str, checkpoint: Path, source: Path, photographs: Path, tmp_path: Path
) -> None:
    """Every file to the byte, `model.json` too: scales, threshold and ranking are the model's."""
    options = {"precision": form, "photographs": photographs}
    expected = export(checkpoint, tmp_path / "expected", **options)
    found = tmp_path / "found"
    convert_model(source, found, ExportOptions(name="sharp", **options))  # type: ignore[arg-type]
    names = sorted(path.name for path in expected.iterdir())
    assert names == sorted(path.name for path in found.iterdir())
    for name in names:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_nodes_without_names(source: Path, photographs: Path, tmp_path: Path) -> None:
    """As ONNX allows them: nothing is spared that would not be otherwise."""
    strange = shutil.copytree(source, tmp_path / "strange")
    manifest = load_manifest(strange)
    path = strange / manifest.stage("score").file
    graph = onnx.load(path)
    for node in graph.graph.node:
        node.name = ""
    onnx.save_model(graph, path)
    write_manifest(with_checksums(manifest, strange), strange)
    kinds = []
    for folder in (source, strange):
        options = ExportOptions(precision="int8", photographs=photographs)
        convert_model(folder, tmp_path / "int8" / folder.name, options)
        graph = onnx.load(tmp_path / "int8" / folder.name / "score.onnx")
        kinds.append([node.op_type for node in graph.graph.node])
    assert kinds[0] == kinds[1]
    assert "QuantizeLinear" in kinds[0]


def test_weights_stored_as_float16_are_float32_first(
    checkpoint: Path, photographs: Path, tmp_path: Path
) -> None:
    """Else they would be hidden behind a Cast, and left as they are."""
    small = export(checkpoint, tmp_path / "small", weights="fp16")
    options = ExportOptions(precision="int8", photographs=photographs)
    lowered = convert_model(small, tmp_path / "lowered", options)
    assert (lowered.precision, lowered.name) == ("int8", "sharp")
    assert lowered.about["weights"] == "int8"
    graph = onnx.load(tmp_path / "lowered" / "trunk.onnx").graph
    assert not [node for node in graph.node if node.op_type == "Cast"]
    assert sum(tensor.data_type == onnx.TensorProto.INT8 for tensor in graph.initializer) > 10
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    with DeepMask.load(tmp_path / "lowered", engine="onnxruntime", device="cpu") as model:
        assert len(model(image, proposals=5)) == 5


def test_half_storage_is_undone_to_the_bit(source: Path) -> None:
    """Weights that float16 holds: stored as half and back, the graph is what it was."""
    graph = onnx.load(source / "score.onnx")
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    before = onnx.ModelProto.FromString(graph.SerializeToString())
    store_as_half(graph)
    assert graph.ByteSize() < before.ByteSize()
    store_as_single(graph)
    assert [node.name for node in graph.graph.node] == [node.name for node in before.graph.node]
    found, expected = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in one.graph.initializer}
        for one in (graph, before)
    )
    assert found.keys() == expected.keys()
    for name, values in found.items():
        assert_array_equal(values, expected[name])


def test_a_source_that_cannot_be_lowered(source: Path, photographs: Path, tmp_path: Path) -> None:
    int8 = ExportOptions(precision="int8", photographs=photographs)
    with pytest.raises(ExportUsageError, match="is exported already: give --precision fp16, int8"):
        convert_model(source, tmp_path / "out", ExportOptions())
    with pytest.raises(ExportUsageError, match="is the model itself: give another --out"):
        convert_model(source, source / ".." / source.name, int8)
    with pytest.raises(ExportUsageError, match="int8 needs --calibration DIR"):
        convert_model(source, tmp_path / "out", ExportOptions(precision="int8"))
    with pytest.raises(ModelFolderError, match=r"no model\.json there"):
        convert_model(tmp_path, tmp_path / "out", int8)
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    content = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps(content | {"precision": "fp16"}))
    with pytest.raises(ExportUsageError, match="computes in fp16 already: give the fp32 model"):
        convert_model(copy, tmp_path / "out", int8)
    (copy / "model.json").write_text(json.dumps(content))
    (copy / "trunk.onnx").write_bytes(b"another")
    with pytest.raises(ModelFolderError, match=r"trunk\.onnx"):
        convert_model(copy, tmp_path / "out", int8)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept", [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE])
def test_a_half_weight_may_be_read_twice(kept: int) -> None:
    """By two Casts: both are replaced, if both give float32; what is still read stays."""
    half = onnx.numpy_helper.from_array(np.array([1.5, -2], np.float16), "half")
    casts = [
        onnx.helper.make_node("Cast", ["half"], [f"out{index}"], to=to)
        for index, to in enumerate([onnx.TensorProto.FLOAT, kept])
    ]
    outputs = [
        onnx.helper.make_tensor_value_info(f"out{k}", to, [2]) for k, to in ((0, 1), (1, kept))
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(casts, "g", [], outputs, [half]))
    store_as_single(model)
    onnx.checker.check_model(model, full_check=True)
    both = kept == onnx.TensorProto.FLOAT
    assert len(model.graph.node) == (0 if both else 1)
    names = {tensor.name for tensor in model.graph.initializer}
    assert names == ({"out0", "out1"} if both else {"out0", "half"})


@pytest.mark.parametrize(
    ("graph", "change", "text"),
    [
        ("score", b"\x08\x07", r"score\.onnx: onnxruntime cannot load it"),
        ("score", b"\x3a\x04\x5a\x02\x12\x05", r"score\.onnx: onnxruntime cannot load it"),
        ("coarse_mask", b"\x08\x07", r"coarse_mask\.onnx: onnxruntime cannot load it"),
        ("score", "Nonsense", r"score\.onnx: onnxruntime cannot load it"),
    ],
)
def test_a_strangers_folder_is_one_line(
    graph: str, change: bytes | str, text: str, source: Path, tmp_path: Path
) -> None:
    """Its hashes are right, its graphs are not; nothing is written."""
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    content = json.loads((copy / "model.json").read_text())
    path = copy / f"{graph}.onnx"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        model = onnx.load(path)
        model.graph.node[0].op_type = change
        onnx.save_model(model, path)
    for stage in content["stages"] + content["coarse"]["stages"]:
        if stage["file"] == path.name:
            stage["sha256"] = sha256_of(path)
    (copy / "model.json").write_text(json.dumps(content))
    with pytest.raises(ExportUsageError, match=text) as caught:
        convert_model(copy, tmp_path / "out", ExportOptions(precision="fp16"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_what_the_converter_refuses_is_one_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that a stranger's graph is given to raise what they like."""

    def refuse(*_: object) -> None:
        raise ValueError("no such\nthing")

    monkeypatch.setattr(reduce, "half_form", refuse)
    with pytest.raises(ExportError, match=r"its graphs cannot be made fp16: no such thing$"):
        convert_model(source, tmp_path / "out", ExportOptions(precision="fp16"))
    assert not list(tmp_path.iterdir())


def test_int8_runs_on_openvino_by_itself(source: Path, photographs: Path, tmp_path: Path) -> None:
    """Where it is installed; features are ONNX Runtime's to a few steps of a quantised layer."""
    pytest.importorskip("deepmask.runtime.engines.openvino")
    convert_model(
        source, tmp_path / "int8", ExportOptions(precision="int8", photographs=photographs)
    )
    canvas = np.random.default_rng(0).uniform(0, 255, (1, 3, 96, 128)).astype(np.float32)
    maps = []
    for engine in ("auto", "onnxruntime"):
        with DeepMask.load(tmp_path / "int8", engine=engine, device="cpu") as model:
            assert model.choice.engine == ("openvino" if engine == "auto" else engine)
            features = model.engine.run("trunk", {"image": model.engine.upload(canvas)})["features"]
            maps.append(model.engine.fetch(features))
            assert len(model(np.zeros((60, 80, 3), np.uint8), proposals=5)) == 5
    found, expected = maps
    assert np.abs(found - expected).max() < 0.04 * expected.max()
    assert np.abs(found - expected).mean() < 0.004 * expected.max()


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    assert COMMAND is not None
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_the_command_takes_a_folder(source: Path, photographs: Path, tmp_path: Path) -> None:
    """The new one is beside it by default, and says its precision."""
    shutil.copytree(source, tmp_path / "mine")
    done = run("mine", "--precision", "int8", "--calibration", photographs, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("wrote mine-int8\n")
    manifest = load_manifest(tmp_path / "mine-int8")
    assert (manifest.precision, manifest.threshold) == ("int8", SETTLED["threshold"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["mine"], "Error: mine is exported already: give --precision fp16, int8 or int8-symm"),
        (["mine", "--threshold", "0.2"], "Error: --threshold is for a checkpoint: leave it out"),
        (["empty"], "Error: empty: no model.json there; a model is a folder written by deepmask"),
        (["/", "--precision", "fp16"], "Error: / has no name to put beside it: give --out"),
        (["mine", "--precision", "fp16", "--out", "loop"], "Error: loop is a file: give --out a f"),
        ([".", "--precision", "fp16"], "Error: .: no model.json there; a model is a folder writt"),
    ],
)
def test_wrong_use_of_a_folder_is_one_line(
    arguments: list[str], text: str, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").symlink_to(source)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").mkdir()
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(text)
    assert done.stderr.count("\n") == 1
