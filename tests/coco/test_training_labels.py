"""Annotation files: what is usable is read, what is not is named."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deepmask.coco.training_labels import DataError, full_mask, read_annotations
from deepmask.train.check_data import check_pictures


@pytest.fixture
def content(drawn) -> dict:
    return json.loads(drawn[0].read_text())


def read(content: dict, drawn, tmp_path: Path):
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return read_annotations(path, drawn[1])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bbox": [1, 2, 3]}, "not four numbers"),
        ({"bbox": [1, 2, 0, 5]}, "is empty"),
        ({"bbox": [5000, 2, 3, 5]}, "lies outside"),
        ({"bbox": None}, "NoneType"),
        ({"image_id": 99}, "its image is not in the file"),
        ({"segmentation": []}, "neither a list of polygons nor an RLE"),
        ({"segmentation": [[1, 2, 3]]}, "three or more"),
        ({"segmentation": [[1, 2, 3, 4, "x", 6]]}, "no number or beyond"),
        ({"segmentation": [[1, 2, 3, 4, 1e9, 6]]}, "no number or beyond"),
        ({"segmentation": [[1, 2, 3, 4, math.nan, 6]]}, "no number or beyond"),
        ({"bbox": [1, 2, 10**400, 5]}, "too large"),
        ({"id": math.inf}, "infinity"),
        ({"segmentation": {"size": [1, 1], "counts": [1]}}, "has size [1, 1], the image has"),
        ({"segmentation": 5}, "neither a list of polygons nor an RLE"),
        ({"id": 2}, "used before"),
        ({"iscrowd": 1}, None),
        ({"category_id": 12345}, None),
    ],
)
def test_each_bad_annotation_is_named(content, drawn, tmp_path, change, text):
    content["annotations"][4].update(change)
    found = read(content, drawn, tmp_path)
    if text is None:
        assert not found.problems
        assert len(found.instances) == 18
        return
    (problem,) = found.problems
    assert text in problem.text
    assert f"annotation {content['annotations'][4]['id']}," in str(problem)
    assert len(found.instances) == 17


def test_rle_of_both_kinds_gives_the_same_mask(content, drawn, tmp_path):
    image = content["images"][0]
    mask = np.zeros((image["height"], image["width"]), np.uint8, order="F")
    mask[20:60, 30:50] = 1
    packed = coco_mask.encode(mask)
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2, append=2))).tolist()
    plain = {"size": packed["size"], "counts": runs}
    for segmentation in ({**packed, "counts": packed["counts"].decode()}, plain):
        changed = copy.deepcopy(content)
        changed["annotations"][0]["segmentation"] = segmentation
        changed["annotations"][0]["image_id"] = image["id"]
        found = read(changed, drawn, tmp_path)
        assert np.array_equal(full_mask(found.instances[0]), mask)


@pytest.mark.parametrize("counts", [[5, -1], [3], "é", "PP2", "", None])
def test_bad_rle_counts_are_named(content, drawn, tmp_path, counts):
    image = content["images"][0]
    content["annotations"][0]["segmentation"] = {
        "size": [image["height"], image["width"]],
        "counts": counts,
    }
    (problem,) = read(content, drawn, tmp_path).problems
    assert problem.text.startswith(
        ("segmentation has counts", "segmentation has runs", "segmentation is")
    )


def test_bad_image_entries_are_named(content, drawn, tmp_path):
    images = content["images"]
    images[0]["id"] = math.inf
    images[1]["width"] = 10**9
    images[2]["id"] = images[3]["id"]
    images[4]["file_name"] = "x" * 1000
    images[5]["file_name"] = "\ud800"
    images.append({**images[3], "id": 99})
    found = read(content, drawn, tmp_path)
    assert [image.id for image in found.images] == [images[3]["id"], 99]
    texts = [problem.text for problem in found.problems[:5]]
    for text, part in zip(
        texts, ("without id", "sides must be", "used before", "no file", "no file"), strict=True
    ):
        assert part in text
    assert all(text.isprintable() for text in texts)


def test_missing_pictures_are_problems_of_their_image(content, drawn, tmp_path):
    content["images"][2]["file_name"] = "gone.png"
    found = read(content, drawn, tmp_path)
    assert len(found.images) == 5
    assert "gone.png" in found.problems[0].text
    assert len(found.problems) == 4  # the image and its three annotations


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a readable JSON file"),
        ("[1, 2]", "not a COCO instances file"),
        ('{"images": []}', "not a COCO instances file"),
        ('{"images": [], "annotations": []}', "no usable image"),
        ("[" * 100_000, "not a readable JSON file"),
        ("9" * 10_000, "not a readable JSON file"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path / "a.json", tmp_path)
    with pytest.raises(DataError, match="no such annotation file"):
        read_annotations(tmp_path / "none.json", tmp_path)


def test_check_pictures_finds_wrong_sizes_and_empty_masks(content, drawn, tmp_path):
    content["images"][0]["width"] += 1
    content["annotations"][-1]["segmentation"] = [[1, 1, 1, 1, 1, 1]]
    problems = list(check_pictures(read(content, drawn, tmp_path)))
    assert [problem.image for problem in problems] == [1, 6]
    assert "annotated as" in problems[0].text
    assert problems[1].annotation == content["annotations"][-1]["id"]


@pytest.mark.data
def test_real_annotations_are_sound(data_dir):
    folder = data_dir / "coco"
    found = read_annotations(folder / "annotations" / "instances_val.json", folder / "val")
    assert not found.problems
    assert len(found.images) == 150
    assert sum(not item.crowd for item in found.instances) == 1229
