"""Images of a set, and sets that are left without any."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from tests.coco.changed import IMAGE, OBJECT, Drawn, Json, read
from tests.evaluate.scenes import write


def test_bad_image_entries_are_named(content: Json, drawn: Drawn, tmp_path: Path) -> None:
    images = content["images"]
    images[0]["id"] = math.inf
    images[1]["width"] = 10**9
    images[2]["id"] = images[3]["id"]
    images[4]["file_name"] = "x" * 1000
    images[5]["file_name"] = "\ud800"
    images += [{**images[3], "id": 99}, {**images[3], "id": 100, "file_name": 5}, "image"]
    found = read(content, drawn, tmp_path)
    assert [image.id for image in found.images] == [99]
    expected = (
        ("image", "an image without a whole number as its id: {"),
        ("image", "width and height must be whole numbers from 1 to 30000 pixels, not 10000000"),
        ("file", "no file"),
        ("file", "no file"),
        ("image", "file_name 5 is no name, or leaves"),
        ("image", "an image without a whole number as its id: 'image'"),
        ("image", "used before, for another picture"),
        ("image", "used before, for another picture"),
    )
    assert found.lost_images == found.problems[: len(expected)]
    for problem, (kind, text) in zip(found.problems, expected, strict=False):
        assert problem.kind == kind
        assert text in problem.text
        assert problem.text.isprintable()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"id": "one"}, "an image without a whole number as its id"),
        ({"width": 10**9}, "image 1: a/1.png: width and height must be"),
        ({"height": 0}, "image 1: a/1.png: width and height must be"),
        ({"height": None}, "from 1 to 30000 pixels, not 30 and null"),
        ({"width": 20_000, "height": 20_000}, "more than the 100 megapixels"),
        (
            {"file_name": "../x.png"},
            "image 1: file_name '../x.png' is no name, or leaves the image folder",
        ),
        ({"file_name": "..\\x.png"}, "leaves the image folder"),
        ({"file_name": "/x.png"}, "leaves the image folder"),
        ({"file_name": ""}, "image 1: file_name '' is no name"),
    ],
)
def test_a_set_without_a_usable_image_says_why(tmp_path: Path, changes: Json, text: str) -> None:
    path = write(tmp_path / "x.json", {"images": [{**IMAGE, **changes}], "annotations": []})
    with pytest.raises(LabelError) as caught:
        read_coco(path)
    assert str(caught.value).startswith(f"{path}: no usable image: ")
    assert text in str(caught.value)


def test_missing_pictures_are_problems_of_their_image(
    content: Json, drawn: Drawn, tmp_path: Path
) -> None:
    content["images"][2]["file_name"] = "gone.png"
    found = read(content, drawn, tmp_path)
    assert len(found.images) == 5
    assert "gone.png" in found.problems[0].text
    assert len(found.problems) == 4  # the image and its three annotations
    assert {image.path.parent for image in found.images} == {drawn[1]}
    everything = read_coco(tmp_path / "changed.json")
    assert not everything.problems
    assert everything.images[2].path == Path("gone.png")


def test_a_set_without_a_usable_image_gives_the_first_reasons(tmp_path: Path) -> None:
    images = [{**IMAGE, "id": n, "file_name": f"/data/{n}.png"} for n in range(1, 6)]
    path = write(tmp_path / "x.json", {"images": images, "annotations": []})
    with pytest.raises(LabelError) as caught:
        read_coco(path)
    assert "no usable image of 5: image 1: file_name '/data/1.png'" in str(caught.value)
    assert "image 3: file_name '/data/3.png'" in str(caught.value)
    assert str(caught.value).endswith("; and 2 more")


def test_a_backslash_parts_folders_everywhere(drawn: Drawn, tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    name = content["images"][0]["file_name"]
    (tmp_path / "images" / "sub").mkdir(parents=True)
    (tmp_path / "images" / "sub" / name).write_bytes((drawn[1] / name).read_bytes())
    images = [{**content["images"][0], "file_name": f"sub\\{name}"}]
    path = write(tmp_path / "l.json", {**content, "images": images})
    (image,) = read_coco(path, tmp_path / "images").images
    assert image.path == tmp_path / "images" / "sub" / name
    assert read_coco(path).images[0].path == Path("sub") / name


def test_two_entries_of_one_picture_spare_each_others_objects(tmp_path: Path) -> None:
    labels = {"images": [IMAGE, {**IMAGE, "id": 2}], "annotations": [OBJECT]}
    found = read_coco(write(tmp_path / "one.json", labels))
    assert found.unknown_by_image() == {1: [], 2: [(1, 2, 3, 4)]}
