"""ONNX Runtime and OpenVINO: the same numbers, the same words, and when `auto` takes which."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from numpy.testing import assert_allclose

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import Choice, choose
from deepmask.runtime.io.checksum import sha256_of

Patch = pytest.MonkeyPatch

engine_module = pytest.importorskip("deepmask.runtime.engines.openvino")


@pytest.fixture
def twin(model_folder: Path) -> Iterator[DeepMask]:
    with DeepMask.load(model_folder, engine="openvino", threads=1) as opened:
        yield opened


def picture(height: int = 90, width: int = 120) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def test_results_are_those_of_onnxruntime(model: DeepMask, twin: DeepMask) -> None:
    """At many sizes, again and again: kernels that were kept give what they gave when new."""
    expected, found = model(picture(), proposals=50), twin(picture(), proposals=50)
    assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert_allclose(found.boxes, expected.boxes, atol=1)
    sizes = [(90, 120), (40, 60), (200, 120), (64, 64), (33, 150)]
    first = [twin.windows(picture(*size), proposals=20).logits for size in sizes]
    for size, kept in zip(sizes, first, strict=True):
        again = twin.windows(picture(*size), proposals=20).logits
        assert np.array_equal(again, kept)
        assert_allclose(again, model.windows(picture(*size), proposals=20).logits, atol=1e-4)


def test_bfloat16_is_near_float32() -> None:
    """Products keep 8 binary digits: the shipped model's scores differ by two percent."""
    if problem := engine_module.missing_bfloat16():
        pytest.skip(f"{problem}: OpenVINO would compute in float32")
    canvas = np.random.default_rng(0).uniform(0, 255, (1, 3, 256, 384)).astype(np.float32)
    with (
        DeepMask.load(engine="onnxruntime", device="cpu") as full,
        DeepMask.load(engine="openvino-bf16") as half,
    ):
        assert half.engine.description.endswith(", bfloat16")
        expected, found = (score_map(one, canvas) for one in (full, half))
    assert not np.array_equal(found, expected)
    assert_allclose(found, expected, rtol=0.02, atol=0.1)


def score_map(model: DeepMask, canvas: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    engine = model.engine
    return engine.fetch(engine.run("score", {"image": engine.upload(canvas)})["score16"])


def test_a_cpu_without_bfloat16_is_told_so(monkeypatch: Patch) -> None:
    monkeypatch.setattr(engine_module, "missing_bfloat16", lambda: "this CPU has no bfloat16")
    told = "--engine openvino-bf16: this CPU has no bfloat16; or use --engine onnxruntime"
    with pytest.raises(EngineError, match=f"^{told}$"):
        choose("openvino-bf16")
    assert choose("openvino") == Choice("openvino", "cpu")


def test_auto_takes_it_for_int8_on_the_cpu() -> None:
    """ONNX Runtime is what is left if it refuses the graphs; float32 stays with ONNX Runtime."""
    for precision in ("int8", "int8-symmetric"):
        choice = choose("auto", "cpu", precision)
        assert choice == Choice("openvino", "cpu", fallback=Choice("onnxruntime", "cpu"))
    for precision in ("fp32", "fp16"):
        assert choose("auto", "cpu", precision) == Choice("onnxruntime", "cpu")


def test_it_is_never_taken_for_cuda() -> None:
    with pytest.raises(EngineError, match=r"^--engine openvino runs on CPUs only; use --device cp"):
        choose("openvino", "cuda")


def hide(monkeypatch: Patch, hidden: str) -> None:
    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == hidden else ModuleSpec(name, None)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)


def test_without_it_auto_says_what_would_be_faster(monkeypatch: Patch) -> None:
    hide(monkeypatch, "openvino")
    absent = "openvino is not installed: pip install 'deepmask-trt[openvino]'"
    assert choose("auto", "cpu", "int8") == Choice("onnxruntime", "cpu", absent)
    assert choose("auto", "cpu").reason == ""
    with pytest.raises(EngineError) as caught:
        choose("openvino")
    assert str(caught.value) == f"--engine openvino: {absent}; or use --engine onnxruntime"


def test_alone_it_serves_every_precision(monkeypatch: Patch) -> None:
    hide(monkeypatch, "onnxruntime")
    assert choose("auto", "cpu") == Choice("openvino", "cpu")


def test_nothing_is_told_to_its_makers(model_folder: Path, tmp_path: Path) -> None:
    """openvino's telemetry would keep an id in the home folder; here there is none to send for.

    Neither through the engine nor in the doctor's probe; the package stays usable afterwards.
    """
    load = f"DeepMask.load({str(model_folder)!r}, engine='openvino').close()"
    for code in (
        f"from deepmask import DeepMask; {load}; import openvino_telemetry",
        "from deepmask.runtime.doctor.system_info import library; "
        "assert library(*['openvino'] * 2).version",
    ):
        # CI would keep it quiet by itself.
        env = {key: value for key, value in os.environ.items() if key != "CI"}
        subprocess.run([sys.executable, "-c", code], check=True, env=env | {"HOME": str(tmp_path)})
        assert not list(tmp_path.iterdir())


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
def test_unfitting_graphs(engine: str, no_graph: str, model_folder: Path, tmp_path: Path) -> None:
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
