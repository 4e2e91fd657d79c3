"""Ground truth from COCO and VOC files, and what is said about broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepmask.coco.annotations import read_coco
from deepmask.coco.voc import read_voc
from deepmask.evaluate.errors import EvalError
from tests.evaluate.scenes import encode, labelled_set, rectangle, write

IMAGE = {"id": 1, "file_name": "a/1.png", "width": 30, "height": 20}
OBJECT = {
    "id": 5,
    "image_id": 1,
    "category_id": 1,
    "bbox": [1, 2, 3, 4],
    "area": 12,
    "iscrowd": 0,
    "segmentation": [[1, 2, 4, 2, 4, 6, 1, 6]],
}


def labels(**changes: Any) -> dict[str, Any]:
    return {"images": [IMAGE], "annotations": [{**OBJECT, **changes}]}


def test_crowds_are_left_out_and_masks_come_in_all_three_forms(tmp_path: Path) -> None:
    mask = rectangle(20, 30, (1, 2, 3, 4))
    runs = {"size": [20, 30], "counts": [22, 4, 16, 4, 16, 4, 534]}
    content = labels()
    for number, segmentation in ((6, encode(mask)), (7, runs)):
        content["annotations"].append({**OBJECT, "id": number, "segmentation": segmentation})
    content["annotations"].append({**OBJECT, "id": 8, "iscrowd": 1, "segmentation": "damaged"})
    truth = read_coco(write(tmp_path / "l.json", content))
    objects = truth.objects(1)
    assert truth.kinds == ("segm", "bbox")
    assert objects.ids.tolist() == [5, 6, 7]
    assert objects.rles is not None
    assert len({rle["counts"] for rle in objects.rles}) == 1
    assert np.array_equal(objects.boxes[0], [1, 2, 3, 4])


def test_labels_without_masks_measure_boxes(tmp_path: Path) -> None:
    content = labels()
    del content["annotations"][0]["segmentation"]
    truth = read_coco(write(tmp_path / "l.json", content))
    assert truth.kinds == ("bbox",)
    assert truth.objects(1).rles is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not a COCO annotation file"),
        ({"images": [IMAGE]}, 'has no "annotations" list'),
        ({"images": [], "annotations": []}, '"images" list is empty'),
        ({"images": [IMAGE, IMAGE], "annotations": []}, "two images have the id 1"),
        ({"images": [{**IMAGE, "id": "1"}], "annotations": []}, "no whole number as its id"),
        ({"images": [{**IMAGE, "width": 10**9}], "annotations": []}, "width and height must be"),
        ({"images": [{**IMAGE, "height": 0}], "annotations": []}, "width and height must be"),
        ({"images": [{**IMAGE, "file_name": "../x.png"}], "annotations": []}, "leaves the image"),
        ({"images": [{**IMAGE, "file_name": "/x.png"}], "annotations": []}, "leaves the image"),
        (labels(image_id=2), "annotation 5 names image 2"),
        (labels(id=None), "an annotation has no whole number as its id"),
        (labels(bbox=[1, 2, 3]), "annotation 5: bbox must be four finite numbers"),
        (labels(bbox=[1, 2, 3, -4]), "annotation 5: bbox must be"),
        (labels(area=-1), "annotation 5: area is -1"),
        (labels(area=10**400), "annotation 5: area is"),
        (labels(category_id="cat"), "annotation 5: category_id is 'cat'"),
    ],
)
def test_broken_labels_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(EvalError) as caught:
        read_coco(write(tmp_path / "broken.json", content))
    assert message in str(caught.value)
    assert "broken.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_broken_mask_is_named_when_its_image_comes(tmp_path: Path) -> None:
    truth = read_coco(write(tmp_path / "l.json", labels(segmentation=[[1, 2, 3]])))
    with pytest.raises(EvalError, match="annotation 5: its segmentation has a polygon"):
        truth.objects(1)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"images": ' + "9" * 5000 + "}"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(EvalError, match=r"x\.json: is (not valid JSON|nested too deeply)"):
        read_coco(tmp_path / "x.json")


def test_memory_stays_near_the_size_of_the_file(tmp_path: Path) -> None:
    """Polygons are packed while they are parsed: plain lists of floats took five times as much."""
    import tracemalloc

    polygon = [round(value / 7, 2) for value in range(2000)]
    content = {
        "images": [{**IMAGE, "width": 300, "height": 300}],
        "annotations": [{**OBJECT, "id": n, "segmentation": [polygon]} for n in range(300)],
    }
    path = write(tmp_path / "l.json", content)
    tracemalloc.start()
    truth = read_coco(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(truth.annotations[1]) == 300
    assert peak < 4 * path.stat().st_size


VOC_OBJECT = """<object><name>cat</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
</part></object>"""


def write_voc(folder: Path, name: str = "000012", objects: str | None = None) -> Path:
    """A VOC folder of one image with one object and one difficult object."""
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if objects is None:
        objects = VOC_OBJECT.format(difficult=0, box=(11, 21, 20, 40))
        objects += VOC_OBJECT.format(difficult=1, box=(1, 1, 9, 9))
    (folder / "ImageSets/Main/test.txt").write_text(name + "\n")
    (folder / "Annotations" / f"{name}.xml").write_text(
        f"<annotation><size><width>100</width><height>80</height></size>{objects}</annotation>"
    )
    return folder


def test_voc_boxes_are_counted_from_one_and_difficult_ones_left_out(tmp_path: Path) -> None:
    truth = read_voc(write_voc(tmp_path))
    assert truth.kinds == ("bbox",)
    assert truth.pictures[12].file_name == "000012.jpg"
    objects = truth.objects(12)
    assert objects.boxes.tolist() == [[10, 20, 10, 20]]
    assert objects.areas.tolist() == [200]


def test_broken_voc_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="needs a VOC 2007 folder"):
        read_voc(tmp_path)
    write_voc(tmp_path, objects=VOC_OBJECT.format(difficult=0, box=(9, 9, 1, 1)))
    with pytest.raises(EvalError, match="ends before it begins"):
        read_voc(tmp_path)
    write_voc(tmp_path, objects=VOC_OBJECT.format(difficult=0, box=("nan", 9, 10, 10)))
    with pytest.raises(EvalError, match="bndbox/xmin is 'nan', not a pixel"):
        read_voc(tmp_path)
    (tmp_path / "ImageSets/Main/test.txt").write_text("../../secret\n")
    with pytest.raises(EvalError, match="is not an image name"):
        read_voc(tmp_path)
    (tmp_path / "ImageSets/Main/test.txt").write_text("000099\n")
    with pytest.raises(EvalError, match=r"000099\.xml: cannot be read"):
        read_voc(tmp_path)


def test_xml_entities_are_refused(tmp_path: Path) -> None:
    """A billion laughs in a kilobyte."""
    write_voc(tmp_path)
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    text = f"<!DOCTYPE annotation [{levels}]><annotation>&l9;</annotation>"
    path = tmp_path / "Annotations/000012.xml"
    path.write_text(text)
    with pytest.raises(EvalError, match="declares entities or a document type"):
        read_voc(tmp_path)
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(EvalError, match="is not valid XML"):
        read_voc(tmp_path)


def test_the_order_of_objects_is_cocoevals(tmp_path: Path) -> None:
    content = labelled_set(1, images=1, objects=9)
    truth = read_coco(write(tmp_path / "l.json", content))
    kept = [a for a in content["annotations"] if not a["iscrowd"]]
    expected = [a["id"] for a in sorted(kept, key=lambda a: a["category_id"])]
    assert truth.objects(1).ids.tolist() == expected
    assert json.loads((tmp_path / "l.json").read_text()) == content
