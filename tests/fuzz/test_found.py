"""What fuzzing found, each as a test of its own."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pycocotools.mask as coco_mask
import pytest
import torch

from deepmask import DeepMask, read_image
from deepmask.coco.annotations import Problem
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.coco.segmentation import to_rle
from deepmask.evaluate.contact_sheet import write_sheet
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.evaluate.merge import merge
from deepmask.evaluate.report import measure
from deepmask.networks.patches.config import sharpened
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.images import ImageError
from deepmask.runtime.model.manifest import ModelFolderError, Scales
from deepmask.train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from deepmask.train.initialise import read_weights
from deepmask.train.log import Log
from tests.fuzz import checkpoints, labels, models

#: Two corners at opposite ends of the picture, visited by turns.
ROUND_AND_ROUND = [[0, 0, 30_000, 30_000] * 2000]


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("polygons", "text"),
    [(ROUND_AND_ROUND, "has an outline of"), ([[0, 0, 1, 0, 1, 1]] * 2001, "has 2001 polygons")],
)
def test_outlines_that_never_end(tmp_path: Path, polygons: list[Any], text: str) -> None:
    """pycocotools took 16 GB for a polygon of some kilobytes."""
    with pytest.raises(ValueError, match=text):
        to_rle(polygons, 30_000, 30_000)
    (tmp_path / "a.png").touch()
    instance = {"id": 1, "image_id": 1, "bbox": [0, 0, 9, 9], "segmentation": polygons}
    image = {"id": 1, "file_name": "a.png", "width": 30, "height": 30}
    (tmp_path / "l.json").write_text(json.dumps({"images": [image], "annotations": [instance]}))
    [problem] = read_coco(tmp_path / "l.json", tmp_path).problems
    assert text in str(problem)


def test_runs_that_two_libraries_read_differently() -> None:
    """rlemasklib took the comma for a digit, and pycocotools never came back from comparing."""
    counts = "o]?n0h3000000000000000000000000000000000000000000000000000000000m^9"
    assert to_rle({"size": [150, 200], "counts": counts}, 150, 200)["counts"] == counts.encode()
    found = to_rle({"size": [150, 200], "counts": counts + ","}, 150, 200)
    assert coco_mask.area(found) == coco_mask.decode(found).sum()
    whole = coco_mask.frPyObjects({"size": [150, 200], "counts": [0, 30_000]}, 150, 200)
    assert 0 <= float(coco_mask.iou([found], [whole], [0])[0, 0]) <= 1


def test_labels_that_leave_their_folder_or_are_too_large(tmp_path: Path) -> None:
    """Training opened any file that the labels named."""
    (tmp_path / "images").mkdir()
    for name in ("outside.png", "images/a.png"):
        (tmp_path / name).touch()
    entries = [
        {"id": 1, "file_name": "../outside.png", "width": 9, "height": 9},
        {"id": 2, "file_name": str(tmp_path / "outside.png"), "width": 9, "height": 9},
        {"id": 3, "file_name": "a.png", "width": 20_000, "height": 20_000},
        {"id": 4, "file_name": "a.png", "width": 9, "height": 9},
    ]
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"images": entries, "annotations": []}))
    found = read_coco(path, tmp_path / "images")
    assert [image.id for image in found.images] == [4]
    texts = [problem.text for problem in found.problems]
    assert ["leaves the image folder" in text for text in texts] == [True, True, False]
    assert "megapixels" in texts[2]
    path.write_text(json.dumps({"images": entries[2:], "annotations": []}))
    with pytest.raises(EvalError, match="more than the 100 megapixels"):
        coco_truth(path)


def test_archives_that_unpack_to_more_than_they_are(tmp_path: Path) -> None:
    """PyTorch unpacks compressed entries without a limit."""
    file = io.BytesIO()
    torch.save({"zeros": torch.zeros(1 << 20)}, file)
    source = zipfile.ZipFile(file)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="compressed archive"):
        load_checkpoint(tmp_path / "bomb.pt")
    with pytest.raises(InitialiseError, match="compressed archive"):
        read_weights(str(tmp_path / "bomb.pt"), "")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 1 << 40}, "channels is no int that a network can have"),
        ({"rank": -1}, "rank is no int"),
        ({"rank": True}, "rank is no int"),
        ({"patch": torch.tensor(160)}, "patch is no int"),
        ({"trunk": ["resnet18"] * 99}, "trunk is no str"),
        ({"trunk": "x" * 101}, "trunk is no str"),
        ({1: 2}, "its model is missing or no table"),
    ],
)
def test_configurations_beyond_reason(tmp_path: Path, change: dict[Any, Any], text: str) -> None:
    """Sizes of another type ended in tracebacks, and lists of lists in a text without end."""
    content = copy.copy(checkpoints.content())
    content["model"] = {**content["model"], **change}
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(saved(tmp_path / "a.pt", content))


def test_rows_of_sizes_beyond_reason(tmp_path: Path) -> None:
    sharp = sharpened(checkpoints.SMALL, (8, 6, 4, 4, 4), (8, 6, 6, 4), 32).to_dict()
    for wrong in ([4] * 5, (1 << 20,) * 5, (4,) * 1001, 4):
        content = {**checkpoints.content(), "family": "sharpmask"}
        content["model"] = {**sharp, "refine_widths": wrong}
        with pytest.raises(CheckpointError, match="refine_widths is no tuple that a network"):
            load_checkpoint(saved(tmp_path / "a.pt", content))


def test_sizes_that_the_file_does_not_hold() -> None:
    """A network of terabytes was made before a file of kilobytes was asked for its weights."""
    model = PRESETS["deepmask-r18"].config.to_dict() | {"rank": 1 << 16, "channels": 1 << 16}
    config = checkpoints.DeepMaskConfig.from_dict(model)
    with pytest.raises(CheckpointError, match=r"do not fit its configuration: '.*' is missing"):
        Checkpoint(config, {}, {}).build()
    with torch.device("meta"):
        names = checkpoints.DeepMaskNetwork(config).state_dict()
    weights = {
        name: torch.zeros((), dtype=value.dtype).expand(value.shape)
        for name, value in names.items()
    }
    with pytest.raises(CheckpointError, match="fewer values than its shape says"):
        Checkpoint(config, weights, {}).build()


def test_refusals_do_not_grow_with_the_file(tmp_path: Path) -> None:
    """A list of two lists of two lists …, forty times, was printed."""
    content = {"format": checkpoints.hostile()[0]}
    with pytest.raises(CheckpointError, match="format is 'list'"):
        load_checkpoint(saved(tmp_path / "a.pt", content))
    folder = models._folder(tmp_path / "a.pt", refined=False)
    content = json.loads((folder / "model.json").read_text())
    content["stages"][2]["outputs"] = {"a" * 100_000: {}}
    content["a" * 100_000] = 1
    for _ in range(2):
        (folder / "model.json").write_text(json.dumps(content))
        with pytest.raises(ModelFolderError) as caught:
            DeepMask.load(folder, device="cpu")
        assert len(str(caught.value)) < 500
        content.pop("a" * 100_000, None)


def test_texts_that_steer_a_terminal(tmp_path: Path) -> None:
    """A model's name is printed."""
    folder = models._folder(tmp_path / "x", refined=False)
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "name": "a\x1b[2J\nError: b"}))
    with pytest.raises(ModelFolderError, match="expected a text of 1 to 200 letters"):
        DeepMask.load(folder, device="cpu")


def test_a_broken_graph_is_no_box_of_stars(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime printed one where its own words were no text, and loaded the file once more."""
    folder = models._folder(tmp_path / "x", refined=False)
    path, content = folder / "trunk.onnx", json.loads((folder / "model.json").read_text())
    path.write_bytes(path.read_bytes().replace(b"SpaceToDepth", b"SpaceToDept\xff"))
    content["stages"][0]["sha256"] = sha256_of(path)
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(EngineError, match="onnxruntime cannot load it"):
        DeepMask.load(folder, engine="onnxruntime", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_scales_and_masks_beyond_reason(tmp_path: Path) -> None:
    """model.json alone decided on a canvas of 40 GB, and on masks of 4096 pixels a side."""
    folder = models._folder(tmp_path / "x", refined=False)
    with (
        DeepMask.load(folder, device="cpu") as model,
        pytest.raises(EngineError, match=r"have \d+ megapixels, at most 128 are searched"),
    ):
        model(models.IMAGE.repeat(30, 0).repeat(30, 1), scales=Scales(4.0, 5.0, 0.5))
    content = json.loads((folder / "model.json").read_text())
    content["grids"][0]["mask_size"] = 4096
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelFolderError, match="mask_size is 4096, expected a whole number 2 to"):
        DeepMask.load(folder, device="cpu")


@pytest.mark.parametrize("broken", ["x" * 200_000, "0.5,\0,"])
def test_logs_that_the_parser_gives_up_on(tmp_path: Path, broken: str) -> None:
    rows = [",".join(labels.COLUMNS), labels.ROW, f"5,{broken}", labels.ROW]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    assert Log(tmp_path / "log.csv", 9, labels.COLUMNS).highest(labels.COLUMNS[-1]) == 0.5
    assert (tmp_path / "log.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": 5}, "name is 5, expected a text"),
        ({"name": "a\x1b[2J"}, "name is 'a"),
        ({"dataset": ["coco"]}, r"dataset is \['coco'\], expected coco or voc"),
        ({"kinds": []}, "kinds are "),
        ({"source": {}}, "is not as deepmask-eval writes it: 'proposals'"),
        ({"shard": [3, 2]}, "shard is 3, expected a whole number 1 to 2"),
        ({"images": "2"}, "images is '2', expected a whole number"),
    ],
)
def test_evaluations_that_nobody_wrote(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    """Reports, comparisons and merges ended in tracebacks."""
    (tmp_path / "run.json").write_text(json.dumps({**labels.RUN, **change}))
    (tmp_path / "records.jsonl").write_text(json.dumps(labels.RECORD) + "\n")
    for read in (measure, lambda folder: merge([folder], tmp_path / "out")):
        with pytest.raises(EvalError, match=text):
            read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"seconds": "1"}, {"seconds": -1}, {"proposals": 10**400}, {"ranks": {}}]
)
def test_records_that_nobody_wrote(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "run.json").write_text(json.dumps(labels.RUN))
    (tmp_path / "records.jsonl").write_text(json.dumps({**labels.RECORD, **change}) + "\n")
    with pytest.raises(EvalError, match="line 1 is not a record"):
        measure(tmp_path)


def test_parts_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(labels.RUN))
    (tmp_path / "records.jsonl").touch()
    with pytest.raises(EvalError, match="the parts hold no images"):
        merge([tmp_path], tmp_path / "out")


def test_tiles_that_nobody_drew(tmp_path: Path) -> None:
    """Pillow starts Ghostscript for some files, whatever their names end in."""
    from PIL import Image

    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "1.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 400 300\n%%EndComments\nshowpage\n"
    )
    (tmp_path / "tiles" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("1", (30_000, 300)).save(tmp_path / "tiles" / "3.png")
    Image.new("1", (400, 5000)).save(tmp_path / "tiles" / "4.png")
    assert write_sheet(tmp_path, "title") is None
    Image.new("RGB", (400, 300)).save(tmp_path / "tiles" / "5.png")
    assert write_sheet(tmp_path, "title") == tmp_path / "contact-sheet.jpg"


def test_names_that_steer_a_terminal(tmp_path: Path) -> None:
    """Names of files in a folder, or in labels, were printed as they are."""
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a\x1b[2J\nError: b\udcff.png")
    assert str(caught.value).endswith(r"a\x1b[2J\nError: b\udcff.png: no such file")
    for kind in (CheckpointError, LabelError, EngineError, EvalError, ModelFolderError):
        assert str(kind("é\x1b[2J\n")) == r"é\x1b[2J\n"
    assert str(Problem("id", 5, 1, "\x1b\n")) == r"annotation 5, image 1: \x1b\n"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"step": -1}, "its step is no number of steps"),
        ({"optimiser": torch.zeros(3)}, "training state is not whole: IndexError"),
        ({"recipe": {"lr": checkpoints.hostile()[0]}}, "lr was a list, is "),
        ({"optimiser": {"state": {0: {"momentum_buffer": torch.zeros(3)}}}}, "does not fit its"),
        ({"optimiser": {"state": {0: {"momentum_buffer": torch.zeros(())}}}}, "does not fit its"),
        ({"optimiser": {"state": {0: {"momentum_buffer": "x"}}}}, "is no tensor"),
        (
            {"optimiser": {"state": {0: {"momentum_buffer": checkpoints.hostile()[0]}}}},
            "is no tensor",
        ),
    ],
)
def test_runs_that_nobody_began(change: dict[str, Any], text: str) -> None:
    """A list of lists without end was printed; the rest ended in tracebacks at the first step."""
    one = checkpoints.trainer()
    training = {**checkpoints.halfway(), **change}
    with pytest.raises(CheckpointError, match=text):
        one.resume(Checkpoint(checkpoints.SMALL, one.model.state_dict(), training))


BOMB = """
import sys
from pathlib import Path
from deepmask.runtime.io.images import read_image

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

before = peak()
assert read_image(sys.argv[1]).shape == (6000, 6000, 3)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory as Linux tells it")
def test_conversion_of_large_pictures_takes_little_more_than_their_pixels(tmp_path: Path) -> None:
    """36 megapixels in a file of 140 kB: transparent ones took 24 bytes for each pixel."""
    from PIL import Image

    Image.new("RGBA", (6000, 6000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.png")]
    taken = int(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    assert taken < 36e6 * 14


def test_formats_whose_decoders_hold_copies_have_a_lower_limit(tmp_path: Path) -> None:
    """34 bytes of WebP made 1.7 GB of a hundred megapixels."""
    from PIL import Image

    Image.new("RGBA", (600, 400)).save(tmp_path / "a.webp", lossless=True)
    with pytest.raises(ImageError, match=r"0\.2 megapixels, the limit is 0\.2 \("):
        read_image(tmp_path / "a.webp", max_pixels=3 * 200_000)
    assert read_image(tmp_path / "a.webp", max_pixels=3 * 240_000).shape == (400, 600, 3)
