"""What is written for other tools reads back to the same masks."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from rlemasklib import RLEMask

from deepmask.coco.segmentation import to_rle
from deepmask.runtime.cli.result_options import KINDS
from deepmask.runtime.io.formats import FOLDERS, format_contents, format_files, remove_rest
from deepmask.runtime.io.results import write_file
from deepmask.runtime.io.written import Written
from tests.runtime.io.blobs import draw_blob, encoded, iou

SIZE = (90, 120)
Mask = npt.NDArray[np.bool_]
#: Labelme's own reader fills the polygons of its file; one label map is written for all objects.
_LABELME = """
import sys, numpy
from labelme import LabelFile, utils
file = LabelFile(sys.argv[1])
size = utils.img_data_to_arr(file.image_data).shape
numbers = numpy.zeros(size[:2], numpy.uint16)
for shape in file.shapes:
    mask = utils.shape_to_mask(size, shape["points"], shape["shape_type"])
    numbers[mask] = shape["group_id"]
numpy.save(sys.argv[2], numbers)
"""
#: Ultralytics' reader of a data set checks the file, and its loss fills the polygons.
_ULTRALYTICS = """
import sys, numpy
from ultralytics.data.utils import polygon2mask, verify_image_label
found = verify_image_label((sys.argv[1], sys.argv[2], "", False, 1, 0, 0, False))
assert found[0], found[-1]
height, width = found[2]
numbers = numpy.zeros((height, width), numpy.uint16)
for number, segment in enumerate(found[3], 1):
    points = (segment * (width, height)).ravel()
    numbers[polygon2mask((height, width), [points]).astype(bool)] = number
numpy.save(sys.argv[3], numbers)
"""


@pytest.fixture
def masks() -> list[Mask]:
    """Three objects that do not touch, from large to small."""
    whole = np.zeros(SIZE, np.bool_)
    found = []
    for seed, part in ((0, np.s_[:, :60]), (1, np.s_[:, 62:]), (4, np.s_[60:, 61:])):
        mask = np.zeros(SIZE, np.bool_)
        mask[part] = draw_blob(seed)[part] & ~whole[part]
        whole |= mask
        found.append(mask)
    assert all(mask.sum() > 200 for mask in found)
    return found


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photographs" / "a.png"
    path.parent.mkdir()
    Image.fromarray(image()).save(path)
    return path


def image() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)


def write(kind: str, picture: Path, masks: list[Mask], folder: Path | None = None) -> list[Path]:
    """Write the files of a format, and return them."""
    files = format_files(kind, picture, folder, picture.stem, top=20)
    scores = np.linspace(0.9, 0.5, len(masks), dtype=np.float32)
    rles: list[RLEMask] = list(map(encoded, masks))
    contents = list(format_contents(kind, files, picture, image(), rles, scores))
    for file, content in contents:
        write_file(file, content)
    return [file for file, _ in contents]


def read_back(polygons: list[list[float]]) -> Mask:
    return np.asarray(coco_mask.decode(to_rle(polygons, *SIZE)), np.bool_)


def test_every_format_of_the_command_is_known() -> None:
    assert (*KINDS,) == ("coco", *FOLDERS)


def test_labelme(picture: Path, masks: list[Mask]) -> None:
    [file] = write("labelme", picture, masks)
    assert file == picture.with_suffix(".json")
    content = json.loads(file.read_text())
    assert (content["imagePath"], content["imageData"]) == ("a.png", None)
    assert (content["imageHeight"], content["imageWidth"]) == SIZE
    shapes = content["shapes"]
    assert [shapes[0]["label"], shapes[0]["description"]] == ["object", "score 0.900"]
    for number, mask in enumerate(masks, 1):
        own = [np.ravel(one["points"]).tolist() for one in shapes if one["group_id"] == number]
        assert iou(read_back(own), mask) >= 0.97


def test_labelme_in_a_folder_of_its_own(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    [file] = write("labelme", picture, masks, tmp_path / "labels" / "deep")
    relative = json.loads(file.read_text())["imagePath"]
    assert relative == "../../photographs/a.png"
    assert (file.parent / relative).resolve() == picture.resolve()


@pytest.mark.parametrize("kind", ["labelme", "yolo-seg", "png", "cutout"])
def test_what_was_corrected_by_hand_is_not_taken_for_ours(
    picture: Path, masks: list[Mask], tmp_path: Path, kind: str
) -> None:
    """Also where the tool that did it keeps every other word."""
    for file in write(kind, picture, masks, tmp_path / "new"):
        assert Written().has(file)
        content = file.read_bytes()
        file.write_bytes(content.replace(b"object", b"cat") + b"\n")
        assert not Written().has(file)


def test_cut_outs_of_an_earlier_run_go_but_for_those_that_were_changed(
    picture: Path, masks: list[Mask], tmp_path: Path
) -> None:
    folder = tmp_path / "cutouts"
    write("cutout", picture, masks * 3, folder)  # nine
    (folder / "a-4.png").unlink()
    (folder / "a-7.png").write_bytes(b"painted over")
    (folder / "a-2-9.png").write_bytes(b"of a-2.jpg")
    (folder / "a-10.png").write_bytes(b"somebody's")
    shutil.copy(folder / "a-1.png", folder / "a-11.png")  # and kept under another name
    files = format_files("cutout", picture, folder, "a", top=5)
    remove_rest(files, 2, Written())
    left = {path.name for path in folder.glob("*.png")}
    assert left == {f"a-{n}.png" for n in (1, 2, 7, 10, 11)} | {"a-2-9.png"}


def test_yolo(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    [file] = write("yolo-seg", picture, masks, tmp_path / "labels")
    lines = [line.split() for line in file.read_text().splitlines()]
    assert file.name == "a.txt"
    assert len(lines) == len(masks)
    for (number, *values), mask in zip(lines, masks, strict=True):
        points = np.array(values, float).reshape(-1, 2)
        assert number == "0"
        assert ((points >= 0) & (points <= 1)).all()
        assert iou(read_back([(points * (120, 90)).ravel().tolist()]), mask) >= 0.97


def test_label_map(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    [file] = write("png", picture, masks, tmp_path / "masks")
    with Image.open(file) as opened:
        assert opened.mode == "I;16"
        numbers = np.asarray(opened)
    assert numbers.dtype == np.uint16
    for number, mask in enumerate(masks, 1):
        assert ((numbers == number) == mask).all()


def test_label_map_of_many_and_of_what_lies_in_another() -> None:
    """More than 255 numbers, and the smaller of two on top, whichever ranks first."""
    rles = [encoded(np.arange(90 * 120).reshape(SIZE) // 30 == number) for number in range(300)]
    rles.insert(0, encoded(np.ones(SIZE, np.bool_)))
    scores = np.ones(len(rles), np.float32)
    [(_, content)] = format_contents("png", [Path("a.png")], Path("a"), image(), rles, scores)
    with Image.open(io.BytesIO(content)) as opened:
        numbers = np.asarray(opened)
    assert (np.unique(numbers) == np.arange(1, 302)).all()
    assert (numbers == 301).sum() == 30


def test_cut_outs(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    files = write("cutout", picture, masks, tmp_path / "cutouts")
    assert [file.name for file in files] == ["a-1.png", "a-2.png", "a-3.png"]
    for file, mask in zip(files, masks, strict=True):
        rows, columns = np.nonzero(mask)
        box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        with Image.open(file) as opened:
            assert opened.mode == "RGBA"
            pixels = np.asarray(opened)
        assert (pixels[:, :, 3] == 255 * mask[box]).all()
        assert (pixels[:, :, :3][mask[box]] == image()[box][mask[box]]).all()
        assert not pixels[:, :, :3][~mask[box]].any()


def test_no_objects(picture: Path, tmp_path: Path) -> None:
    """A picture without objects has files that say so; it has no cut-outs."""
    [labels] = write("yolo-seg", picture, [], tmp_path / "labels")
    assert labels.read_bytes() == b""
    [corrected] = write("labelme", picture, [])
    assert json.loads(corrected.read_text())["shapes"] == []
    [numbers] = write("png", picture, [], tmp_path / "masks")
    with Image.open(numbers) as opened:
        assert not np.asarray(opened).any()
    assert write("cutout", picture, [], tmp_path / "cutouts") == []


def test_default_places(picture: Path) -> None:
    assert format_files("yolo-seg", picture, None, "b/a", 2) == [Path("labels/b/a.txt")]
    assert format_files("png", picture, None, "b/a", 2) == [Path("masks/b/a.png")]
    assert format_files("cutout", picture, None, "a", 2) == [
        *(Path("cutouts/a-1.png"), Path("cutouts/a-2.png"))
    ]
    assert format_files("labelme", picture, None, "b/a", 2) == [picture.with_suffix(".json")]


def numbers_by(script: str, library: str, *arguments: Path, folder: Path) -> npt.NDArray[np.uint16]:
    """Run another project's reader in a process of its own; skip where it is not installed."""
    settings = {"QT_QPA_PLATFORM": "offscreen", "YOLO_CONFIG_DIR": str(folder)}
    command = [sys.executable, "-c", script, *map(str, arguments), str(folder / "numbers.npy")]
    done = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120
    )
    if "ModuleNotFoundError" in done.stderr or "PackageNotFoundError" in done.stderr:
        pytest.skip(f"{library} is not installed: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    numbers: npt.NDArray[np.uint16] = np.load(folder / "numbers.npy")
    return numbers


def test_labelme_reads_its_files(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    [file] = write("labelme", picture, masks)
    numbers = numbers_by(_LABELME, "labelme", file, folder=tmp_path)
    for number, mask in enumerate(masks, 1):
        assert iou(numbers == number, mask) > 0.95


def test_ultralytics_reads_its_files(picture: Path, masks: list[Mask], tmp_path: Path) -> None:
    [file] = write("yolo-seg", picture, masks, tmp_path / "labels")
    numbers = numbers_by(_ULTRALYTICS, "ultralytics", picture, file, folder=tmp_path)
    for number, mask in enumerate(masks, 1):
        assert iou(numbers == number, mask) > 0.95
