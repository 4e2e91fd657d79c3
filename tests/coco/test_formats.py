"""Formats that are recognised by the file or folder, and COCO JSON that is written of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from deepmask.coco.annotations import LabelledSet, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from deepmask.coco.writer import write_coco
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth
from tests.evaluate.scenes import write

WIDTH, HEIGHT = 200, 100
SQUARE = [[40, 30], [60, 30], [60, 50], [40, 50]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two pictures, one of them in a folder of its own."""
    folder = tmp_path / "set" / "images" / "train"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.jpg"):
        Pillow.new("RGB", (WIDTH, HEIGHT), "green").save(folder / name)
    return folder


def shape(points: Any = SQUARE, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": "cat", "points": points, "shape_type": kind, **more}


def labelme(folder: Path, *shapes: Any, name: str = "a", **changes: Any) -> Path:
    content = {"imagePath": "a.png", "imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": shapes}
    folder.mkdir(exist_ok=True)
    write(folder / f"{name}.json", {**content, **changes})
    return folder


def areas(found: LabelledSet) -> list[int]:
    return [int(full_mask(item).sum()) for item in found.objects]


def test_labelme_shapes_are_objects(images: Path, tmp_path: Path) -> None:
    parts = [shape(group_id=3), shape([[0, 0], [10, 0], [10, 10], [0, 10]], group_id=3)]
    folder = labelme(
        tmp_path / "l",
        shape([[10, 10], [30, 20]], "rectangle"),
        shape([[100, 50], [100, 60]], "circle", label="dog"),
        *parts,
        shape(label="__ignore__"),
        shape(label="_background_"),
    )
    found = read_labels(folder, images)
    assert not found.problems
    rectangle, circle, both = areas(found)
    assert (rectangle, both) == (200, 500)
    assert circle == pytest.approx(np.pi * 100, rel=0.05)
    assert [item.crowd for item in found.instances] == [False, False, False, True]
    assert found.categories == {1: "cat", 2: "dog", 3: "__ignore__"}
    assert [item.category for item in found.objects] == [1, 2, 1]


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (5, "a.json, shape 2: is no shape: 5"),
        (shape([[1, 2]], "point"), "a.json, shape 2: 'point' of 1 points has no area"),
        (shape([[1, 2], [3, 4]], "line"), "'line' of 2 points has no area"),
        (shape([[1, 2], None]), "its points are [[1, 2], None], not a list of x, y"),
        (shape([[1, None], [2, 3], [4, 5]]), "not a list of x, y"),
        (shape([[1, 2], [3, 4]]), "segmentation has a polygon that is not a list of three"),
    ],
)
def test_labelme_shapes_without_an_area_are_spared(
    images: Path, tmp_path: Path, bad: Any, text: str
) -> None:
    found = read_labels(labelme(tmp_path / "l", shape(), bad), images)
    (problem,) = found.problems
    assert text in str(problem)
    assert areas(found) == [400]
    assert found.unknown_by_image() == {1: [(0, 0, WIDTH, HEIGHT)]}


@pytest.mark.parametrize("path", ["..\\images\\train\\a.png", "/data/a.png", "C:\\x\\a.png"])
def test_labelme_pictures_beside_the_labels(images: Path, tmp_path: Path, path: str) -> None:
    found = read_labels(labelme(tmp_path / "l", shape(), imagePath=path), images)
    assert [image.path for image in found.images] == [images / "a.png"]


def test_one_bad_file_of_labelme_costs_one_picture(images: Path, tmp_path: Path) -> None:
    folder = labelme(tmp_path / "l", shape())
    for name, text in (("b", "{"), ("c", "[" * 100_000), ("d", "[]"), ("e", '{"shapes": 5}')):
        (folder / f"{name}.json").write_text(text)
    found = read_labels(folder, images)
    assert len(found.images) == 1
    texts = [str(problem) for problem in found.lost_images]
    assert ["is not valid JSON" in texts[0], "nested too deeply" in texts[1]] == [True, True]
    assert all('it has no list "shapes"' in text for text in texts[2:])


def yolo(images: Path, text: str) -> Path:
    labels = images.parents[1] / "labels" / "train"
    (labels / "sub").mkdir(parents=True, exist_ok=True)
    (labels / "a.txt").write_text(text)
    (labels / "sub" / "b.txt").write_text("1 0.2 0.3 0.3 0.3 0.3 0.5\n")
    (images.parents[1] / "data.yaml").write_text(
        "train: images/train\nnames:\n  0: cat\n  1: dog\n"
    )
    return labels


def test_yolo_corners_are_fractions(images: Path) -> None:
    labels = yolo(
        images, "0 0.2 0.3 0.3 0.3 0.3 0.5 0.2 0.5\n\n1 0.5 0.5 0.6 0.5 0.6 0.7 0.5 0.7\n"
    )
    for path in (labels, images.parents[1] / "data.yaml"):
        found = read_labels(path, images)
        assert not found.problems
        assert areas(found)[:2] == [400, 400]
        assert [item.category for item in found.objects] == [0, 1, 1]
        assert found.categories == {0: "cat", 1: "dog"}
        assert [str(image.path.relative_to(images)) for image in found.images] == [
            "a.png",
            "sub/b.jpg",
        ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("names: [cat, 'dog']", {0: "cat", 1: "dog"}),
        ("nc: 2\nnames:\n- cat\n- dog # one\nval: x", {0: "cat", 1: "dog"}),
        ('names:\n  3: cat\n  7: "a b"\n', {3: "cat", 7: "a b"}),
        ("nc: 1\n", {}),
    ],
)
def test_names_of_yolo(images: Path, names: str, expected: dict[int, str]) -> None:
    labels = yolo(images, "0 0.2 0.3 0.3 0.3 0.3 0.5\n")
    (images.parents[1] / "data.yaml").write_text(names)
    assert read_labels(labels, images).categories == expected


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 0.2 0.3 0.3 x", "a.txt, line 2: a line that is no category and numbers: '0 0.2 0.3"),
        ("0", "a line that is no category and numbers"),
        ("0 40 30 60 30 60 50", "corners that are no fractions of the picture: '0 40 30"),
        ("0 0.1 0.2 0.3 0.4 0.5", "segmentation has a polygon that is not a list"),
        ("cat 0.2 0.3 0.3 0.3 0.3 0.5", "category_id is 'cat', not an id"),
        ("0 0.5 0.5 0.2 0.2", "has a box but no outline, which other objects have"),
    ],
)
def test_bad_lines_of_yolo_are_spared(images: Path, line: str, text: str) -> None:
    labels = yolo(images, f"0 0.2 0.3 0.3 0.3 0.3 0.5 0.2 0.5\n{line}\n")
    found = read_labels(labels, images)
    (problem,) = found.problems
    assert text in str(problem)
    assert len(found.objects) == 2
    assert len(found.unknown_by_image()[1]) == 1


def test_boxes_of_yolo_are_centres_and_sizes(images: Path) -> None:
    labels = yolo(images, "0 0.25 0.4 0.1 0.2\n")
    (labels / "sub" / "b.txt").unlink()
    found = read_labels(labels, images)
    (item,) = found.objects
    assert item.box == pytest.approx((40, 30, 20, 20))
    assert len(found.images) == 2  # one without a file has no object


def test_yolo_needs_pictures_and_files(images: Path, tmp_path: Path) -> None:
    labels = yolo(images, "0 0.2 0.3 0.3 0.3 0.3 0.5\n")
    with pytest.raises(LabelError, match="YOLO's labels are fractions: give the folder of images"):
        read_labels(labels)
    with pytest.raises(EvalError, match="give the folder of images"):
        coco_truth(labels)
    with pytest.raises(LabelError, match="no images"):
        read_labels(labels, tmp_path / "set" / "labels")
    (images / "a.png").write_bytes(b"no picture")
    found = read_labels(labels, images)
    assert "not an image that can be read" in str(found.lost_images[0])
    for file in labels.rglob("*.txt"):
        file.rename(file.with_stem("other"))
    with pytest.raises(LabelError, match="has no text file named as a picture"):
        read_labels(labels, images)


def test_sizes_of_yolo_are_as_shown_unless_told(images: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (WIDTH, HEIGHT)).save(images / "a.png", exif=exif)
    labels = yolo(images, "0 0.2 0.3 0.3 0.3 0.3 0.5\n")
    for as_stored, size in ((None, (HEIGHT, WIDTH)), (False, (HEIGHT, WIDTH))):
        image = read_labels(labels, images, as_stored).images[0]
        assert (image.width, image.height) == size
    image = read_labels(labels, images, True).images[0]
    assert (image.width, image.height) == (WIDTH, HEIGHT)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="holds no labels that are known: give COCO"):
        read_labels(tmp_path)


def test_what_was_read_is_written_as_coco(images: Path, tmp_path: Path) -> None:
    bad, ignore = shape([[1, 2]], "point"), shape(label="__ignore__")
    first = read_labels(labelme(tmp_path / "l", shape(), ignore, bad), images)
    write_coco(tmp_path / "out.json", first, images)
    again = read_labels(tmp_path / "out.json", images)
    assert not again.problems
    assert again.images == first.images
    assert areas(again) == areas(first)
    assert again.categories[1] == "cat"
    assert [item.crowd for item in again.instances] == [False, True, True]
    assert again.unknown_by_image() == first.unknown_by_image()
    assert coco_truth(tmp_path / "out.json").kinds == ("segm", "bbox")
    entry = json.loads((tmp_path / "out.json").read_text())["images"][0]
    assert entry["file_name"] == "a.png"


def test_runs_and_boxes_are_written_as_they_are(tmp_path: Path) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 20, "height": 10}
    runs = {"size": [10, 20], "counts": [52, 4, 6, 4, 134]}
    entry = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [5, 2, 2, 4], "area": 8}
    for segmentation in (runs, None):
        labels = {"images": [image], "annotations": [{**entry, "segmentation": segmentation}]}
        first = read_labels(write(tmp_path / "l.json", labels))
        write_coco(tmp_path / "out.json", first)
        again = read_labels(tmp_path / "out.json")
        assert again.instances == first.instances
        assert (again.objects[0].segmentation is None) == (segmentation is None)
