"""Graphs with tables of any length, a layout of integers, and stages for some grids' windows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from deepmask import DeepMask
from deepmask.export import parity
from deepmask.export.onnx_graph import to_onnx
from deepmask.export.precision.calibration_set import Photographs
from deepmask.export.precision.reduce import write_reduced
from deepmask.networks.dense.graphs import DenseModel, canvas_multiple, example_inputs, manifest_of
from deepmask.networks.dense.torch_engine import TorchEngine
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.manifest import Manifest, Scales
from tests.export.chains_network import GRIDS, dense_chains, describe_chains, random_chains
from tests.export.conftest import write_photographs
from tests.runtime.fake_tensorrt import picture

ON_CPU: dict[str, Any] = {"engine": "onnxruntime", "device": "cpu"}


def write(folder: Path, dense: DenseModel) -> Manifest:
    """Write a model folder of float32 graphs."""
    manifest = manifest_of(dense, describe_chains(), name="chains", about={})
    for graph in dense.files():
        model = to_onnx(graph, example_inputs(graph, manifest), 18, canvas_multiple(manifest.views))
        onnx.save_model(model, folder / f"{graph.file}.onnx")
    manifest = with_checksums(manifest, folder)
    write_manifest(manifest, folder)
    return manifest


@pytest.fixture(scope="module")
def dense() -> DenseModel:
    return dense_chains(random_chains())


@pytest.fixture(scope="module")
def folder(dense: DenseModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chains")
    write(folder, dense)
    return folder


def test_parity_holds_at_every_location_and_for_windows_of_every_grid(
    folder: Path, dense: DenseModel
) -> None:
    manifest = load_manifest(folder)
    found, _ = parity.compare(folder, manifest, dense, dense)
    parity.require_parity(found)
    for one, sample in zip(found, parity.samples(manifest), strict=True):
        counts = np.bincount(sample.windows[:, 0])
        assert counts.min() >= 4 + parity.INNER_PER_GRID
        assert (len(counts), one.masks_compared) == (len(GRIDS), len(sample.windows))
        assert one.ranks is not None
        assert one.masks is not None
        assert one.worst == max(one.scores, one.masks, one.ranks)
    lines = parity.as_table(found, []).splitlines()
    assert lines[1].split() == ["picture", "locations", "features", "scores", "masks", "ranks"]
    assert all(len(line.split()) == 6 for line in lines[2:])


def test_parity_tells_windows_and_grids_apart(folder: Path, dense: DenseModel) -> None:
    """A mask or rank that is another window's, or one stage's for another's windows, is seen."""
    manifest = load_manifest(folder)
    reference = dense.main.reference

    def turned(tensor: str, canvas: torch.Tensor, places: torch.Tensor) -> dict[str, torch.Tensor]:
        found = reference(canvas, places)
        return {**found, tensor: found[tensor].roll(1, 0)}

    for tensor in ("mask", "rank"):
        main = replace(dense.main, reference=partial(turned, tensor))
        found, _ = parity.compare(folder, manifest, dense, replace(dense, main=main))
        assert max(one.worst for one in found) > 0.01
    graphs = {graph.name: graph for graph in dense.main.graphs}
    crossed = [graphs["score"]] + [
        replace(graphs[one], grids=graphs[other].grids)
        for one, other in (("mask-a", "mask-b"), ("mask-b", "mask-a"))
    ]
    wrong = replace(dense, main=replace(dense.main, graphs=tuple(crossed)))
    found, _ = parity.compare(folder, manifest, wrong, wrong)
    assert max(one.worst for one in found) > 0.01


def test_a_reference_without_ranks_proves_nothing(folder: Path, dense: DenseModel) -> None:
    def unranked(canvas: torch.Tensor, places: torch.Tensor) -> dict[str, torch.Tensor]:
        found = dense.main.reference(canvas, places)
        del found["rank"]
        return found

    network = replace(dense, main=replace(dense.main, reference=unranked))
    with pytest.raises(ValueError, match="the reference lacks a rank of the graphs"):
        parity.compare(folder, load_manifest(folder), dense, network)


def test_chains_may_name_what_they_make_apart(tmp_path: Path, folder: Path) -> None:
    """References give all windows under either name; each is compared for its own."""
    apart = dense_chains(random_chains(), own_names=True)
    manifest = write(tmp_path, apart)
    found, _ = parity.compare(tmp_path, manifest, apart, apart)
    parity.require_parity(found)
    assert found[0].masks_compared == len(parity.samples(manifest)[0].windows)
    with DeepMask.load(folder, **ON_CPU) as one, DeepMask.load(tmp_path, **ON_CPU) as other:
        image = picture(0)
        assert one(image).to_coco(1) == other(image).to_coco(1)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_runtime_proposes_what_pytorch_does(
    folder: Path, dense: DenseModel, engine: str
) -> None:
    pytest.importorskip(engine)
    torch_engine = TorchEngine(dense.main, torch.device("cpu"))
    with (
        DeepMask.load(folder, engine=engine, device="cpu") as written,
        DeepMask(load_manifest(folder), torch_engine, Choice("torch", "cpu")) as network,
    ):
        for seed, size in enumerate([(61, 83), (1, 1), (90, 40)]):
            image = picture(seed, *size)
            one, other = (m.windows(image, scales=Scales(0, 1, 1)) for m in (written, network))
            assert len(one.logits) == len(other.logits)
            np.testing.assert_allclose(one.selection.logit, other.selection.logit, atol=1e-3)
            scores = written(image, overlap=1.0).scores
            assert 0 <= scores.min() <= scores.max() <= 0.9
            assert (np.diff(scores) <= 0).all()


def fused_kinds(path: Path, tmp_path: Path) -> list[str]:
    """Operators as ONNX Runtime fuses them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]


@pytest.fixture(scope="module", params=["fp16", "int8", "int8-symmetric"])
def reduced(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    precision: str = request.param
    out = tmp_path_factory.mktemp("reduced") / precision
    out.mkdir()
    files = tuple(sorted(write_photographs(out.parent / "photographs", 3).iterdir()))
    said: list[str] = []
    write_reduced(folder, out, precision, Photographs(files, files, False), said.append)
    assert any(line.strip().startswith("rank logits") for line in said[-1].splitlines())
    return out


def test_lower_precisions_rank_nearly_alike(reduced: Path) -> None:
    """Also where first logits are beyond float16's probabilities."""
    figures = load_manifest(reduced).about["against_fp32"]
    for name in ("scores", "masks", "ranks"):
        assert 0 < figures[name]["rms"] < 0.05 * figures[name]["reference_rms"], name
    assert figures["found"] > 0.8


def test_the_tail_of_the_score_stays_in_float32(reduced: Path) -> None:
    for name in ("score", "mask-a", "mask-b"):
        model = onnx.load(reduced / f"{name}.onnx")
        inferred = onnx.shape_inference.infer_shapes(model).graph
        kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.value_info}
        logs = [node for node in model.graph.node if node.op_type in ("Log", "Exp", "Softplus")]
        assert logs
        assert {kinds[node.input[0]] for node in logs} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("reduced", ["int8", "int8-symmetric"], indirect=True)
def test_depthwise_layers_have_a_scale_for_each_channel(reduced: Path) -> None:
    graph = onnx.load(reduced / "score.onnx").graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    [depthwise] = [
        node
        for node in graph.node
        if node.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in node.attribute)
    ]
    stored, scale, _ = (values[name] for name in made_by[depthwise.input[1]].input)
    assert stored.dtype == np.int8
    assert scale.shape == (8,)
    assert len(set(scale.tolist())) == 8


@pytest.mark.parametrize("reduced", ["int8"], indirect=True)
def test_integer_layers_run_as_such(reduced: Path, tmp_path: Path) -> None:
    """ReLU6 costs nothing, windows are gathered as integers; only the last score is in float32."""
    kinds = fused_kinds(reduced / "score.onnx", tmp_path)
    assert kinds.count("QLinearConv") == 5
    assert kinds.count("Conv") + kinds.count("FusedConv") == 2
    assert kinds.count("Clip") == 2  # in joining logits
    assert not {"Relu", "MaxPool"} & set(kinds)
    for name in ("mask-a", "mask-b"):
        kinds = fused_kinds(reduced / f"{name}.onnx", tmp_path)
        assert kinds.count("QGemm") == 1
