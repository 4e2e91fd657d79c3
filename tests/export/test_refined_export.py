"""A refined model's folder: both forms, in every precision, as the runtime runs them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from deepmask import DeepMask
from deepmask.export.options import ExportOptions
from deepmask.export.parity import relative_error
from deepmask.export.precision.calibration_set import Photographs
from deepmask.export.precision.reduce import write_reduced
from deepmask.networks.deepmask import DeepMaskNetwork as Network
from deepmask.networks.dense.torch_engine import runnable
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.find_masks import Windows
from tests.export.conftest import TINY_SHARP, export_quickly, random_model, write_checkpoint


@pytest.fixture(scope="module")
def sharp_network() -> Network:
    return random_model(replace(TINY_SHARP, padding="reflect"))


@pytest.fixture(scope="module")
def sharp_export(sharp_network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with reflection in every convolution."""
    folder = tmp_path_factory.mktemp("sharp")
    checkpoint = write_checkpoint(sharp_network, folder / "sharp.pt")
    options = ExportOptions(scales=Scales(-1, 0, 0.5))
    export_quickly(checkpoint, folder / "model", options, pictures=2)
    return folder / "model"


def test_the_folder_has_both_forms(sharp_export: Path) -> None:
    manifest = load_manifest(sharp_export)
    assert sorted(path.name for path in sharp_export.iterdir()) == [
        RECORD,
        "coarse_mask.onnx",
        "coarse_trunk.onnx",
        "mask.onnx",
        "model.json",
        "score.onnx",
        "trunk.onnx",
    ]
    assert list(manifest.stage("trunk").outputs) == ["features", "skips"]
    assert list(manifest.stage("mask").inputs) == ["code", "skips", "locations"]
    assert manifest.mask_size == 64
    coarse = manifest.coarse_form()
    assert (coarse.mask_size, list(coarse.stage("trunk").outputs)) == (14, ["features"])
    for one in manifest.about["parity"]["pictures"]:
        assert all(0 < one[key] < 1e-4 for key in ("features", "scores", "masks"))
    pads = {
        bytes(attribute.s)
        for node in onnx.load(sharp_export / "trunk.onnx").graph.node
        if node.op_type == "Pad"
        for attribute in node.attribute
        if attribute.name == "mode"
    }
    assert pads == {b"reflect"}


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (9, 12, 3), np.uint8).repeat(14, 0).repeat(14, 1)


def test_the_runtime_gives_the_networks_masks_sharp_and_coarse(
    sharp_export: Path, sharp_network: Network, image: npt.NDArray[np.uint8]
) -> None:
    with DeepMask.load(sharp_export, engine="onnxruntime", device="cpu", threads=1) as model:
        sharp = model.windows(image, proposals=10_000)
    with DeepMask.load(sharp_export, device="cpu", threads=1, coarse=True) as model:
        coarse = model.windows(image, proposals=10_000)
    with runnable(sharp_network, torch.device("cpu")) as reference:
        expected = reference.windows(image, proposals=10_000, scales=Scales(-1, 0, 0.5))
    assert sharp.logits.shape == (len(sharp.selection), 64, 64)
    assert coarse.logits.shape == (len(sharp.selection), 14, 14)
    for name in ("view", "grid", "row", "col", "logit"):  # to the bit: the features are the same
        assert_array_equal(getattr(sharp.selection, name), getattr(coarse.selection, name))
    assert_array_equal(sharp.boxes, coarse.boxes)

    def in_place(found: Windows) -> npt.NDArray[np.float32]:
        order = np.lexsort((found.selection.col, found.selection.row, found.selection.view))
        return found.logits[order]

    assert relative_error(in_place(sharp), in_place(expected)) < 1e-4


PEAK = """
import sys
from pathlib import Path
import numpy as np
from deepmask import DeepMask
from deepmask.runtime.model.manifest import Scales
with DeepMask.load(sys.argv[1], engine="onnxruntime", device="cpu", threads=1) as model:
    model.engine.window_bytes = int(sys.argv[2])
    found = model(np.zeros((400, 400, 3), np.uint8), proposals=2000, scales=Scales(1, 1, 1))
print(len(found), int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's peak memory")
def test_memory_is_bounded_by_the_batch_not_by_the_masks(sharp_export: Path) -> None:
    """2000 masks at once, and in batches of what 4 MB hold: the difference is the batch's."""
    peaks = []
    for limit in (1 << 40, 4 << 20):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(sharp_export), str(limit)],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = done.stdout.split()
        assert count == "2000"
        peaks.append(float(peak))
    whole, batched = peaks
    # Of a window's values, `windows_at_once` counts about 140 KB: 270 MB of 2000 windows. What the
    # engine holds of them at its worst moment is less, and its arena's chunks make it uneven.
    assert whole - batched > 100


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-symmetric"])
def test_a_lower_precision_keeps_both_forms(
    sharp_export: Path, tmp_path: Path, precision: str, image: npt.NDArray[np.uint8]
) -> None:
    """The coarse trunk is cut out of the converted one: the same scores, to the bit."""
    photographs = Photographs((tmp_path / "a.png",), (tmp_path / "a.png",), apart=False)
    Image.fromarray(image[:70, :90]).save(tmp_path / "a.png")
    folder = tmp_path / precision
    folder.mkdir()
    write_reduced(sharp_export, folder, precision, photographs, lambda line: None)
    manifest = load_manifest(folder)
    assert (manifest.precision, manifest.mask_size) == (precision, 64)
    found = []
    for is_coarse in (False, True):
        with DeepMask.load(folder, device="cpu", threads=1, coarse=is_coarse) as model:
            ranked = model(image, proposals=100, overlap=1.0)  # masks do not change this order
            found.append((model.windows(image, proposals=100), ranked.scores))
    (sharp, scores), (blunt, same) = found
    assert_array_equal(sharp.selection.logit, blunt.selection.logit)
    assert_array_equal(scores, same)
    assert [one.logits.shape[1] for one in (sharp, blunt)] == [64, 14]
    with DeepMask.load(sharp_export, device="cpu", threads=1) as model:
        exact = model(image, proposals=100, overlap=1.0)
    assert np.abs(scores - exact.scores).max() < 0.02
    error = manifest.about["against_fp32"]["masks"]
    assert 0 < error["rms"] < (0.02 if precision == "fp16" else 0.2) * error["reference_rms"]
