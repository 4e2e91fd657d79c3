"""What fuzzing found, each as a test of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pycocotools.mask as coco_mask
import pytest
from PIL import Image

from deepmask import DeepMask, read_image
from deepmask.coco.annotations import Problem, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from deepmask.coco.reader import read_coco
from deepmask.coco.segmentation import to_rle
from deepmask.evaluate.contact_sheet import write_sheet
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.evaluate.merge import merge
from deepmask.evaluate.report import measure
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.images import ImageError
from deepmask.runtime.model.manifest import ModelFolderError, Scales
from deepmask.train.checkpoint import CheckpointError
from deepmask.train.log import Log
from tests.fuzz import labels, models

Content = dict[str, Any]
#: Two corners at opposite ends of the picture, visited by turns.
ROUND_AND_ROUND = [[0, 0, 30_000, 30_000] * 2000]


def as_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder to spoil."""
    return models.copied(tmp_path / "x", "plain")


@pytest.fixture
def content(folder: Path) -> Content:
    """Its `model.json`."""
    return dict(json.loads((folder / "model.json").read_text()))


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
    as_json(tmp_path / "l.json", {"images": [image], "annotations": [instance]})
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
    outside = str(tmp_path / "outside.png")
    entries = [
        {"id": number, "file_name": name, "width": side, "height": side}
        for number, (name, side) in enumerate(
            [("../outside.png", 9), (outside, 9), ("a.png", 20_000), ("a.png", 9)], 1
        )
    ]
    path = as_json(tmp_path / "labels.json", {"images": entries, "annotations": []})
    found = read_coco(path, tmp_path / "images")
    assert [image.id for image in found.images] == [4]
    texts = [problem.text for problem in found.problems]
    assert ["leaves the image folder" in text for text in texts] == [True, True, False]
    assert "megapixels" in texts[2]
    as_json(path, {"images": entries[2:], "annotations": []})
    assert "more than the 100 megapixels" in coco_truth(path).note()


def test_refusals_do_not_grow_with_the_file(folder: Path, content: Content) -> None:
    content["stages"][2]["outputs"] = {"a" * 100_000: {}}
    content["a" * 100_000] = 1
    for _ in range(2):
        as_json(folder / "model.json", content)
        with pytest.raises(ModelFolderError) as caught:
            DeepMask.load(folder, device="cpu")
        assert len(str(caught.value)) < 500
        content.pop("a" * 100_000, None)


def test_texts_that_steer_a_terminal(folder: Path, content: Content) -> None:
    """A model's name is printed."""
    as_json(folder / "model.json", {**content, "name": "a\x1b[2J\nError: b"})
    with pytest.raises(ModelFolderError, match="expected a text of 1 to 200 letters"):
        DeepMask.load(folder, device="cpu")


def test_no_box_of_stars(folder: Path, content: Content, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime printed one where its own words were no text, and loaded the file once more."""
    path = folder / "trunk.onnx"
    path.write_bytes(path.read_bytes().replace(b"SpaceToDepth", b"SpaceToDept\xff"))
    content["stages"][0]["sha256"] = sha256_of(path)
    as_json(folder / "model.json", content)
    with pytest.raises(EngineError, match="onnxruntime cannot load it"):
        DeepMask.load(folder, engine="onnxruntime", device="cpu")
    assert capfd.readouterr() == ("", "")


def test_scales_and_masks_beyond_reason(folder: Path, content: Content) -> None:
    """model.json alone decided on a canvas of 40 GB, and on masks of 4096 pixels a side."""
    with (
        DeepMask.load(folder, device="cpu") as model,
        pytest.raises(EngineError, match=r"have \d+ megapixels, at most 128 are searched"),
    ):
        model(models.IMAGE.repeat(30, 0).repeat(30, 1), scales=Scales(4.0, 5.0, 0.5))
    content["grids"][0]["mask_size"] = 4096
    as_json(folder / "model.json", content)
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
    as_json(tmp_path / "run.json", {**labels.RUN, **change})
    as_json(tmp_path / "records.jsonl", labels.RECORD)
    for read in (measure, lambda folder: merge([folder], tmp_path / "out")):
        with pytest.raises(EvalError, match=text):
            read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"seconds": "1"}, {"seconds": -1}, {"proposals": 10**400}, {"ranks": {}}]
)
def test_records_that_nobody_wrote(tmp_path: Path, change: dict[str, Any]) -> None:
    as_json(tmp_path / "run.json", labels.RUN)
    as_json(tmp_path / "records.jsonl", {**labels.RECORD, **change})
    with pytest.raises(EvalError, match="line 1 is not a record"):
        measure(tmp_path)


def test_parts_without_an_image(tmp_path: Path) -> None:
    as_json(tmp_path / "run.json", labels.RUN)
    (tmp_path / "records.jsonl").touch()
    with pytest.raises(EvalError, match="the parts hold no images"):
        merge([tmp_path], tmp_path / "out")


def test_tiles_that_nobody_drew(tmp_path: Path) -> None:
    """Pillow starts Ghostscript for some files, whatever their names end in."""
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
    Image.new("RGBA", (6000, 6000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 200_000
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb.png")]
    taken = int(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)
    assert taken < 36e6 * 14


def test_formats_whose_decoders_hold_copies_have_a_lower_limit(tmp_path: Path) -> None:
    """34 bytes of WebP made 1.7 GB of a hundred megapixels."""
    Image.new("RGBA", (600, 400)).save(tmp_path / "a.webp", lossless=True)
    with pytest.raises(ImageError, match=r"0\.2 megapixels, the limit is 0\.2 \("):
        read_image(tmp_path / "a.webp", max_pixels=3 * 200_000)
    assert read_image(tmp_path / "a.webp", max_pixels=3 * 240_000).shape == (400, 600, 3)


def test_an_outline_traced_twice_is_no_object(tmp_path: Path) -> None:
    """Its inside is even, and so no pixel's: it was an object without pixels."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("L", (200, 150)).save(tmp_path / "images/a.png")
    (tmp_path / "data.yaml").write_text("names: [a, b]")
    line = "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.1 0.5 0.1 0.5 0.6\n"
    (tmp_path / "labels/a.txt").write_text(line)
    found = read_labels(tmp_path / "labels", tmp_path / "images")
    assert all(full_mask(item).any() for item in found.objects)
    assert len(found.objects) + len(found.ignored) == 1
