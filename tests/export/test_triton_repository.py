"""Model repositories for Triton: valid to its schema, served as its Python backend would."""

from __future__ import annotations

import importlib
import importlib.util
import json
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from deepmask import DeepMask
from deepmask.export.errors import ExportUsageError
from deepmask.export.triton_repository import config, require_ours, servable_name, write_repository
from deepmask.runtime.io import atomic
from deepmask.runtime.triton_backend import INPUTS, OUTPUTS, TritonPythonModel, outputs_of
from tests.runtime.boxes_model import write_boxes_model
from tests.runtime.square_model import write_square_model

EXAMPLE = Path(__file__).parents[2] / "examples" / "triton_client.py"


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "refined"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model; refined, its mask graph takes skip maps, and there are graphs of its coarse form."""
    place = tmp_path_factory.mktemp("models") / "squares"
    return write_square_model(place, refined=request.param)


@pytest.fixture
def repository(folder: Path, tmp_path: Path) -> Path:
    """A repository with one version of the model, as the installed backend sees it."""
    assert write_repository(folder, tmp_path / "served") == tmp_path / "served" / "squares" / "1"
    return tmp_path / "served"


def schema() -> ModuleType:
    """Triton's published model_config.proto, compiled, without the network client around it."""
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    path = Path(package.submodule_search_locations[0], "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_is_valid_to_tritons_schema(repository: Path) -> None:
    text_format = importlib.import_module("google.protobuf.text_format")  # it has no types

    published = schema()
    text = (repository / "squares" / "config.pbtxt").read_text()
    parsed = text_format.Parse(text, published.ModelConfig())
    assert (parsed.name, parsed.backend, parsed.max_batch_size) == ("squares", "python", 0)
    types = published.DataType
    for side, table in ((parsed.input, INPUTS), (parsed.output, outputs_of(True, False))):
        found = {one.name: (types.Name(one.data_type), tuple(one.dims)) for one in side}
        assert found == table
    assert [one.optional for one in parsed.input] == [False, True]
    with pytest.raises(text_format.ParseError):
        text_format.Parse(
            config("x", OUTPUTS).replace("dims", "dimensions"), published.ModelConfig()
        )


def test_each_export_is_a_further_version(folder: Path, repository: Path) -> None:
    """What was there is left alone, and so is what a user added to the configuration."""
    path = repository / "squares" / "config.pbtxt"
    path.write_text(path.read_text() + "instance_group [ { count: 2 } ]\n")
    (repository / "squares" / "9").mkdir()
    assert write_repository(folder, repository).name == "10"
    assert sorted(p.name for p in (repository / "squares").iterdir()) == [
        *("1", "10", "9", "config.pbtxt")
    ]
    assert "count: 2" in path.read_text()


def test_other_models_are_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "squares" / "1").mkdir(parents=True)
    (tmp_path / "squares" / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    with pytest.raises(ExportUsageError, match="squares is another kind of model"):
        write_repository(folder, tmp_path)
    require_ours(tmp_path, "circles")


def test_a_killed_export_is_no_other_model(folder: Path, tmp_path: Path) -> None:
    """Before its first version is there, and what it left goes with the next."""
    left = tmp_path / "squares" / f"1.1.{atomic._MACHINE}.deepmask-tmp"
    (left / "new" / "model").mkdir(parents=True)
    assert write_repository(folder, tmp_path) == tmp_path / "squares" / "1"
    left.mkdir()
    (tmp_path / "squares" / "1").rename(left / "new")
    assert [path.name for path in (tmp_path / "squares").glob("[!1]*")] == ["config.pbtxt"]
    assert write_repository(folder, tmp_path) == tmp_path / "squares" / "1"
    assert sorted(path.name for path in (tmp_path / "squares").iterdir()) == ["1", "config.pbtxt"]
    (tmp_path / "squares" / "1").rename(tmp_path / "away")
    (tmp_path / "squares" / "config.pbtxt").write_text("another's")
    with pytest.raises(ExportUsageError, match="squares is another kind of model"):
        write_repository(folder, tmp_path)


@pytest.mark.skipif(not atomic._HAS_LOCKS, reason="no file locks on this system")
def test_what_another_machine_left_stays_and_is_no_other_model(
    folder: Path, tmp_path: Path
) -> None:
    left = tmp_path / "squares" / "1.1.0123abcd.deepmask-tmp"
    (left / "new").mkdir(parents=True)
    assert write_repository(folder, tmp_path) == tmp_path / "squares" / "1"
    assert left.is_dir()


def test_a_configuration_that_is_no_text_is_anothers(folder: Path, tmp_path: Path) -> None:
    """Not UTF-8, or a folder; told in one line."""
    path = tmp_path / "squares" / "config.pbtxt"
    path.parent.mkdir()
    path.write_bytes(b'name: "\xe9"')
    with pytest.raises(ExportUsageError, match="squares is another kind of model"):
        write_repository(folder, tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ExportUsageError, match="squares is another kind of model"):
        write_repository(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "served"),
    [("deepmask-r18", "deepmask-r18"), ("../x y", "_x_y"), ("...", "deepmask"), ("é", "_")],
)
def test_names_stay_inside_the_repository(name: str, served: str) -> None:
    assert servable_name(name) == served


class Tensor(SimpleNamespace):
    """`triton_python_backend_utils.Tensor`, and what a client's result is made of."""

    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        super().__init__(name=name)
        self.array = array

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self.array


@contextmanager
def serving(repository: Path, name: str, **args: str) -> Iterator[Any]:
    """A function from named arrays to the model's response, through the repository's model.py."""
    backend = ModuleType("triton_python_backend_utils")
    backend.Tensor = Tensor  # type: ignore[attr-defined]
    backend.TritonError = str  # type: ignore[attr-defined]
    backend.InferenceResponse = (  # type: ignore[attr-defined]
        lambda tensors=(), error=None: SimpleNamespace(tensors=list(tensors), error=error)
    )
    backend.get_input_tensor_by_name = (  # type: ignore[attr-defined]
        lambda request, name: Tensor(name, request[name]) if name in request else None
    )
    version = repository / name / "1"
    model = runpy.run_path(str(version / "model.py"))["TritonPythonModel"]()
    model.initialize(
        {
            "model_repository": str(repository / name),
            "model_version": "1",
            "model_instance_kind": "CPU",
            **args,
        }
    )
    with patch.dict(sys.modules, {"triton_python_backend_utils": backend}):
        yield model.execute
    model.finalize()


@pytest.fixture
def served(repository: Path) -> Iterator[Any]:
    """The same of the repository's model."""
    with serving(repository, "squares") as execute:
        yield execute


@pytest.mark.parametrize(("kind", "device"), [("GPU", "cuda:1"), ("CPU", "cpu")])
def test_each_instance_has_its_own_gpu(
    kind: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []
    manifest = SimpleNamespace(has_masks=True, categories=None)

    def load(folder: Path, **given: object) -> SimpleNamespace:
        asked.append(given)
        return SimpleNamespace(manifest=manifest)

    monkeypatch.setattr(DeepMask, "load", load)
    config = {"parameters": {"cache": {"string_value": "/plans"}}}
    TritonPythonModel().initialize(
        {
            "model_repository": str(tmp_path),
            "model_version": "1",
            "model_instance_kind": kind,
            "model_instance_device_id": "1",
            "model_config": json.dumps(config),
        }
    )
    assert asked == [{"device": device, "cache": "/plans"}]


IMAGE = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)


def test_answers_are_the_runtimes(served: Any, folder: Path) -> None:
    [response] = served([{"image": IMAGE, "proposals": np.array([7], np.int32)}])
    found = {tensor.name: tensor.array for tensor in response.tensors}
    with DeepMask.load(folder, device="cpu") as model:
        expected = model(IMAGE, proposals=7)
    assert np.array_equal(found["scores"], expected.scores)
    assert np.array_equal(found["boxes"], expected.boxes)
    assert [json.loads(mask) for mask in found["masks"]] == expected.rles()
    assert found["boxes"].dtype == np.float32
    assert len(expected) == 7


def test_a_model_without_masks_answers_boxes_and_names(tmp_path: Path) -> None:
    """As its config.pbtxt says; where that declares fewer, of an earlier version, fewer."""
    write_repository(write_boxes_model(tmp_path / "boxes"), tmp_path / "served")
    text = (tmp_path / "served" / "boxes" / "config.pbtxt").read_text()
    assert [name for name in OUTPUTS if f'name: "{name}"' in text] == ["scores", "boxes", "names"]
    image = np.full((64, 96, 3), 127, np.uint8)
    image[20:36, 36:52] = 254
    request = [{"image": image}]
    with serving(tmp_path / "served", "boxes") as execute:
        [response] = execute(request)
    found = {tensor.name: tensor.array for tensor in response.tensors}
    assert found["names"].tolist()[0] == b"bright"
    np.testing.assert_allclose(found["boxes"][0], [36, 20, 16, 16], rtol=1e-4)
    fewer = json.dumps({"output": [{"name": "scores"}, {"name": "boxes"}]})
    with serving(tmp_path / "served", "boxes", model_config=fewer) as execute:
        [response] = execute(request)
    assert [tensor.name for tensor in response.tensors] == ["scores", "boxes"]


def test_a_bad_request_does_not_spoil_the_others(served: Any) -> None:
    bad = [
        {"image": IMAGE.astype(np.float32)},
        {"image": IMAGE[:0]},
        {"image": IMAGE, "proposals": np.array([0], np.int32)},
        {"image": IMAGE, "proposals": np.array([10_001], np.int32)},
        {"image": np.broadcast_to(IMAGE[:1, :1], (20_000, 20_000, 3))},
    ]
    responses = served([*bad, {"image": IMAGE}])
    errors = [response.error for response in responses]
    for error, text in zip(
        errors, ("uint8", "no pixels", "is 0", "is 10001", "at most 100 megapixels"), strict=False
    ):
        assert text in error
    assert errors[-1] is None
    assert len(responses[-1].tensors) == 3


def test_the_example_client(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against a client library that hands requests to the model instead of a server."""

    class Input(SimpleNamespace):
        def __init__(self, name: str, shape: list[int], kind: str) -> None:
            super().__init__(name=name, shape=shape, kind=kind)

        def set_data_from_numpy(self, array: np.ndarray[Any, Any]) -> None:
            assert list(array.shape) == self.shape
            assert array.dtype.name.upper() == self.kind
            self.array = array

    class Client:
        def __init__(self, server: str) -> None:
            assert server == "localhost:8000"

        def infer(self, model: str, inputs: list[Input]) -> Any:
            assert model == "squares"
            [response] = served([{one.name: one.array for one in inputs}])
            found = {tensor.name: tensor.array for tensor in response.tensors}
            return SimpleNamespace(as_numpy=found.get)

    library = ModuleType("tritonclient.http")
    library.InferInput, library.InferenceServerClient = Input, Client  # type: ignore[attr-defined]
    package = ModuleType("tritonclient")
    package.http = library  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tritonclient", package)
    monkeypatch.setitem(sys.modules, "tritonclient.http", library)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    out = tmp_path / "p.json"
    arguments = [str(EXAMPLE), str(tmp_path / "a.png"), "--model", "squares", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--proposals", "5"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert len(json.loads(out.read_text())) == 5
    assert "5 proposals, the best at" in capsys.readouterr().out
