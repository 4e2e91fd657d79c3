"""Ground truth: which entries of a labelled set are measured, and which stop the evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth, voc_truth
from deepmask.runtime.io.checksum import sha256_of
from tests.coco.changed import IMAGE, OBJECT
from tests.coco.test_voc import write_voc
from tests.evaluate.scenes import encode, labelled_set, rectangle, write


def labels(**changes: Any) -> dict[str, Any]:
    return {"images": [IMAGE], "annotations": [{**OBJECT, **changes}]}


def test_crowds_are_left_out_and_masks_come_in_all_three_forms(tmp_path: Path) -> None:
    mask = rectangle(20, 30, (1, 2, 3, 4))
    runs = {"size": [20, 30], "counts": [22, 4, 16, 4, 16, 4, 534]}
    content = labels()
    for number, segmentation in ((6, encode(mask)), (7, runs)):
        content["annotations"].append({**OBJECT, "id": number, "segmentation": segmentation})
    content["annotations"].append({**OBJECT, "id": 8, "iscrowd": 1, "segmentation": "damaged"})
    content["annotations"].append({**OBJECT, "id": 9, "iscrowd": 1, "bbox": "damaged"})
    path = write(tmp_path / "l.json", content)
    truth = coco_truth(path)
    objects = truth.objects(1)
    assert (truth.name, truth.dataset, truth.digest) == ("l.json", "coco", sha256_of(path))
    assert truth.kinds == ("segm", "bbox")
    assert objects.ids.tolist() == [5, 6, 7]
    assert objects.rles is not None
    assert len({rle["counts"] for rle in objects.rles}) == 1
    assert np.array_equal(objects.boxes[0], [1, 2, 3, 4])


def test_labels_without_masks_measure_boxes(tmp_path: Path) -> None:
    content = labels()
    del content["annotations"][0]["segmentation"]
    truth = coco_truth(write(tmp_path / "l.json", content))
    assert truth.kinds == ("bbox",)
    assert truth.objects(1).rles is None


def test_objects_of_some_categories_can_be_measured_alone(tmp_path: Path) -> None:
    content = labels()
    content["annotations"].append({**OBJECT, "id": 6, "category_id": 77})
    content["categories"] = [{"id": OBJECT["category_id"], "name": "cat"}, {"id": 77, "name": "x"}]
    path = write(tmp_path / "l.json", content)
    for wanted, ids in (("", [5, 6]), ("cat", [5]), ("not voc", [6]), ("77", [6])):
        truth = coco_truth(path, categories=wanted)
        assert sorted(truth.objects(1).ids.tolist()) == ids
    with pytest.raises(EvalError, match="category 'unicorn' is in none of the annotation files"):
        coco_truth(path, categories="unicorn")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not a COCO instances file"),
        ({"images": [], "annotations": []}, '"images" list is empty'),
        ({"images": [{**IMAGE, "width": 10**9}], "annotations": []}, "width and height must be"),
        ({"images": [{**IMAGE, "file_name": "../x.png"}], "annotations": []}, "leaves the image"),
        (labels(image_id=2), "annotation 5, image 2: its image 2 is not in the file"),
        (labels(bbox=[1, 2, 3], segmentation=[]), "annotation 5, image 1: bbox must be four"),
        (labels(category_id="cat"), "annotation 5, image 1: category_id is 'cat'"),
        (labels(segmentation=[[1, 2, 3]]), "annotation 5, image 1: segmentation has a polygon"),
        (labels(iscrowd=1), "no object to measure: 1 crowd,"),
        (
            labels(segmentation=[[8, 4, 20, 4, 20, 16, 8, 16]], bbox=[8, 4, 20, 16]),
            "bbox looks like corners x1, y1, x2, y2",
        ),
    ],
)
def test_what_cannot_be_measured_at_all_is_named(
    tmp_path: Path, content: Any, message: str
) -> None:
    with pytest.raises(EvalError) as caught:
        coco_truth(write(tmp_path / "broken.json", content))
    assert message in str(caught.value)
    assert "broken.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("change", "reason", "text"),
    [
        ({"image_id": 2}, "image", "its image 2 is not in the file"),
        ({"segmentation": [[1, 2, 3]]}, "outline", "segmentation has a polygon that is not"),
        ({"segmentation": []}, "outline", "has a box but no outline"),
        ({"segmentation": [], "bbox": [0, 0, 0, 0]}, "empty", "bbox [0, 0, 0, 0] is empty"),
        ({"category_id": "cat"}, "category", "category_id is 'cat'"),
    ],
)
def test_what_is_left_out_is_counted_and_costs_no_other(
    tmp_path: Path, change: Any, reason: str, text: str
) -> None:
    content = labels()
    content["annotations"].append({**OBJECT, "id": 6, **change})
    truth = coco_truth(write(tmp_path / "l.json", content))
    assert truth.kinds == ("segm", "bbox")
    assert truth.objects(1).ids.tolist() == [5]
    assert truth.ignored == {reason: 1}
    assert truth.note().startswith(f"note: l.json: left out: 1 annotation (1 {reason}): ")
    assert text in truth.note()
    assert not coco_truth(write(tmp_path / "l.json", labels())).note()


def test_a_repeated_id_costs_nothing(tmp_path: Path) -> None:
    content = labels()
    content["annotations"] += [OBJECT, OBJECT]
    truth = coco_truth(write(tmp_path / "l.json", content))
    assert len(truth.objects(1).ids) == 3
    assert not truth.note()


def test_voc_measures_boxes(tmp_path: Path) -> None:
    truth = voc_truth(write_voc(tmp_path))
    assert truth.kinds == ("bbox",)
    assert truth.dataset == "voc"
    assert truth.pictures[12].path == Path("000012.jpg")
    objects = truth.objects(12)
    assert objects.boxes.tolist() == [[10, 20, 10, 20]]
    assert objects.areas.tolist() == [200]
    assert voc_truth(write_voc(tmp_path, objects="")).kinds == ("bbox",)


def test_the_order_of_objects_is_cocoevals(tmp_path: Path) -> None:
    content = labelled_set(1, images=1, objects=9)
    truth = coco_truth(write(tmp_path / "l.json", content))
    kept = [a for a in content["annotations"] if not a["iscrowd"]]
    expected = [a["id"] for a in sorted(kept, key=lambda a: a["category_id"])]
    assert truth.objects(1).ids.tolist() == expected


def test_a_folder_that_is_no_voc_set_is_evaluations_error(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="needs a VOC 2007 folder"):
        voc_truth(tmp_path)
