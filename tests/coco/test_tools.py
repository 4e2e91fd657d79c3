"""Labels as annotation tools write them, where they differ from what their format says."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from deepmask.coco.annotations import full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from tests.coco.changed import read_one
from tests.coco.test_formats import HEIGHT, WIDTH, areas, images, labelme, shape, yolo
from tests.coco.test_voc import VOC_OBJECT, write_voc
from tests.evaluate.scenes import write

__all__ = ["images"]

LINE = "0 0.2 0.3 0.3 0.3 0.3 0.5 0.2 0.5\n"


def png(mask: NDArray[Any]) -> str:
    file = io.BytesIO()
    Pillow.fromarray(mask).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def mask_shape(corners: Any, mask: NDArray[Any], **more: Any) -> dict[str, Any]:
    return shape(corners, "mask", mask=png(mask), **more)


def test_masks_of_labelme_are_objects(images: Path, tmp_path: Path) -> None:
    part = np.zeros((11, 21), bool)
    part[2:6, 3:9] = True
    folder = labelme(
        tmp_path / "l",
        mask_shape([[40.2, 30.7], [60, 40]], part),
        mask_shape([[-5, -3], [15, 7]], np.ones_like(part)),
        mask_shape([[190, 95], [210, 105]], part.astype(np.uint8) * 255),
        mask_shape([[100, 50], [120, 60]], part, group_id=1),
        mask_shape([[140, 50], [160, 60]], part, group_id=1),
    )
    found = read_labels(folder, images)
    first, cut, corner, both = (full_mask(item) for item in found.objects)
    assert not found.problems
    assert np.argwhere(first).min(0).tolist() == [32, 43]
    assert np.argwhere(first).max(0).tolist() == [35, 48]
    assert cut.sum() == cut[:8, :16].sum() == 8 * 16
    assert corner.sum() == corner[97:100, 193:199].sum() == 3 * 6
    assert both.sum() == 48


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mask": None}, "a mask that is no PNG between two corners"),
        ({"points": [[1, 2]]}, "a mask that is no PNG between two corners"),
        ({"points": [[0, 0], [9, 9]]}, "a mask of 21×11 between corners of (10, 10)"),
        ({"mask": "AAAA"}, "a mask that cannot be read"),
        ({"mask": png(np.zeros((11, 21, 3), np.uint8))}, "a mask of 21×11 in RGB"),
        ({"mask": png(np.zeros((11, 21), bool))}, "segmentation has no pixel"),
    ],
)
def test_bad_masks_of_labelme_are_spared(
    images: Path, tmp_path: Path, changes: Any, text: str
) -> None:
    bad = {**mask_shape([[0, 0], [20, 10]], np.ones((11, 21), bool)), **changes}
    found = read_labels(labelme(tmp_path / "l", shape(), bad), images)
    (problem,) = found.problems
    assert text in str(problem)
    assert areas(found) == [400]
    assert found.unknown_by_image() == {1: [(0, 0, WIDTH, HEIGHT)]}


def test_shapes_of_programs_that_write_labelmes_form(images: Path, tmp_path: Path) -> None:
    folder = labelme(tmp_path / "l", shape(kind="rotation"), shape(difficult=True))
    found = read_labels(folder, images)
    assert not found.problems
    assert [item.crowd for item in found.instances] == [False, True]


def test_other_json_beside_text_is_not_labelme(images: Path, tmp_path: Path) -> None:
    labels = yolo(images, LINE)
    (labels / "notes.json").write_text('{"categories": []}')
    assert len(read_labels(labels, images).objects) == 2
    folder = labelme(tmp_path / "l", shape())
    (folder / "labels.txt").write_text("__ignore__\ncat\n")
    assert areas(read_labels(folder, images)) == [400]


@pytest.mark.parametrize(
    ("shape_", "points"), [("[3, 2]", " 0.3 0.3 0.5 0.3 0.5 0.5"), ("[2, 3]", " 0.3 0.3 2 0 0 0")]
)
def test_keypoints_of_yolo_are_no_corners(images: Path, shape_: str, points: str) -> None:
    labels = yolo(images, f"0 0.25 0.4 0.1 0.2{points}\n")
    (labels / "sub" / "b.txt").unlink()
    (images.parents[1] / "data.yaml").write_text(f"kpt_shape: {shape_}  # x, y\nnames: [cat]\n")
    found = read_labels(labels, images)
    (item,) = found.objects
    assert item.segmentation is None
    assert item.box == pytest.approx((40, 30, 20, 20))


def test_labels_of_yolo_without_a_picture_are_named(images: Path) -> None:
    labels = yolo(images, LINE)
    (images / "c.heic").write_bytes(b"no format that is read")
    (labels / "c.txt").write_text(LINE)
    for name, text in (("classes", "cat\ndog\n"), ("README", "Exported on 1 2 3 4 5\n"), ("d", "")):
        (labels / f"{name}.txt").write_text(text)
    found = read_labels(labels, images)
    (problem,) = found.lost_images
    assert "c.txt: has labels, but" in str(problem)
    assert "has no picture of this name that is read" in str(problem)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG"])
def test_pictures_of_yolo_have_any_name_of_their_format(images: Path, suffix: str) -> None:
    labels = yolo(images, LINE)
    Pillow.new("RGB", (WIDTH, HEIGHT)).save(images / f"c{suffix}", "JPEG")
    (labels / "c.txt").write_text(LINE)
    found = read_labels(labels, images)
    assert not found.problems
    assert len(found.images) == 3


def test_hidden_files_are_passed_over(images: Path, tmp_path: Path) -> None:
    """Macs write ._a.jpg beside a.jpg, notebooks .ipynb_checkpoints."""
    labels = yolo(images, LINE)
    (images / ".cache").mkdir()
    for hidden in (images / "._a.png", images / ".cache/a.png", labels / "._a.txt"):
        hidden.write_bytes(b"\0\5\x16\7\xff")
    (labels / ".b.txt").write_text(LINE)
    assert not read_labels(labels, images).problems
    folder = labelme(tmp_path / "l", shape())
    (folder / "._a.json").write_bytes(b"\0\5\x16\7\xff")
    assert not read_labels(folder, images).problems


def turned(path: Path, place: str) -> None:
    """A picture that lies on its side, too large for its EXIF to be near both ends."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    more: dict[str, Any] = {"xmp": xmp} if place == "xmp" else {"exif": exif}
    if path.suffix == ".webp":
        more |= {"lossless": True}
    Pillow.fromarray(noise).save(path, **more)
    if path.suffix == ".png":
        _move_exif_to_the_end(path)


def _move_exif_to_the_end(path: Path) -> None:
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])


@pytest.mark.parametrize("name", ["c.webp", "c.png", "c.jpg", "xmp.jpg"])
def test_sizes_of_yolo_are_those_that_are_read(images: Path, name: str) -> None:
    labels = yolo(images, LINE)
    turned(images / name, Path(name).stem)
    (labels / name).with_suffix(".txt").write_text(LINE)
    found = read_labels(labels, images)
    assert not found.problems
    sizes = {image.path.name: (image.width, image.height) for image in found.images}
    assert sizes[name] == (300, 400)


def test_voc_pictures_of_other_formats_and_masks_in_colours(tmp_path: Path) -> None:
    """As CVAT writes them: RGB in the colours of VOC's palette, and the picture as it was given."""
    boxes = (11, 21, 20, 40), (6, 21, 10, 40)
    objects = "".join(VOC_OBJECT.format(difficult=0, box=box) for box in boxes)
    write_voc(tmp_path, objects=objects)
    for folder in ("ImageSets/Segmentation", "SegmentationObject"):
        (tmp_path / folder).mkdir()
    names = tmp_path / "ImageSets/Segmentation/default.txt"
    names.write_text("000012\n")
    Pillow.new("RGB", (100, 80)).save(tmp_path / "JPEGImages/000012.png")
    pixels = np.zeros((80, 100, 3), np.uint8)
    pixels[20:40, 10:20], pixels[20:40, 5:10], pixels[0, 0] = (128, 0, 0), (0, 128, 0), 224
    pixels[0, 0, 2] = 192
    path = tmp_path / "SegmentationObject/000012.png"
    Pillow.fromarray(pixels).save(path)
    found = read_labels(names, tmp_path / "JPEGImages")
    assert [image.path.name for image in found.images] == ["000012.png"]
    assert areas(found) == [200, 100]
    pixels[0, 0] = 7
    Pillow.fromarray(pixels).save(path)
    with pytest.raises(LabelError, match="of kind RGB, of colours that are not VOC's"):
        read_labels(names)


@pytest.mark.parametrize("place", ["a.jpg", "train2017/a.jpg"])
def test_pictures_of_lvis_are_named_by_coco(tmp_path: Path, place: str) -> None:
    url = "http://images.cocodataset.org/train2017/a.jpg"
    entry = {"id": 1, "coco_url": url, "width": 30, "height": 20}
    path = write(tmp_path / "lvis.json", {"images": [entry], "annotations": []})
    assert [str(image.path) for image in read_labels(path).images] == ["a.jpg"]
    (tmp_path / place).parent.mkdir(exist_ok=True)
    Pillow.new("RGB", (30, 20)).save(tmp_path / place)
    assert [image.path for image in read_labels(path, tmp_path).images] == [tmp_path / place]
    write(path, {"images": [{**entry, "coco_url": "a/../.."}], "annotations": []})
    with pytest.raises(LabelError, match="leaves the image folder"):
        read_labels(path, tmp_path)


READ: list[Any] = [
    [["1", "2", "4", "2", "4", "6", "1", "6"]],
    [[{"x": 1, "y": 2}, {"x": 4, "y": 2}, {"x": "4", "y": 6}, {"x": 1, "y": 6}]],
    [{"x": 1, "y": 2}, {"x": 4, "y": 2}, {"x": 4, "y": 6}, {"x": 1, "y": 6}],
    {"size": [20.0, 30.0], "counts": [22.0, 4.0, 16.0, 4.0, 16.0, 4.0, 534.0]},
    [{"size": [20, 30], "counts": [22, 4, 16, 4, 16, 4, 534]}],
]


@pytest.mark.parametrize("segmentation", READ)
def test_unambiguous_outlines_are_read(tmp_path: Path, segmentation: Any) -> None:
    found = read_one(tmp_path, segmentation=segmentation)
    assert not found.problems
    assert areas(found) == [12]


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [20, 30], "counts": [22.5, 577.5]},
        [["1", "2", "4", "2", "4", "six"]],
        [[{"x": 1}, {"x": 4}, {"x": 4}]],
        [[[[[1, 2]]]]],
        [{"size": [20, 30], "counts": [600]}] * 2,
    ],
)
def test_other_outlines_are_spared(tmp_path: Path, segmentation: Any) -> None:
    found = read_one(tmp_path, segmentation=segmentation)
    assert not found.objects
    assert found.unknown_by_image() == {1: [(1, 2, 3, 4)]}


@pytest.mark.parametrize(("value", "crowd"), [(1, True), ("true", True), (0, False), (None, False)])
def test_objects_marked_ignore_are_crowds(tmp_path: Path, value: Any, crowd: bool) -> None:
    found = read_one(tmp_path, ignore=value)
    assert not found.problems
    assert [item.crowd for item in found.instances] == [crowd]
