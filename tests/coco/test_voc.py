"""VOC folders, and what is said about broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepmask.coco.errors import LabelError
from deepmask.coco.voc import read_voc

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
    found = read_voc(write_voc(tmp_path))
    (image,) = found.images
    assert (image.id, image.path) == (12, Path("000012.jpg"))
    (item,) = found.annotations
    assert list(item.box) == [10, 20, 10, 20]
    assert item.area == 200
    assert item.segmentation is None
    assert found.name == tmp_path.name


def test_broken_voc_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="needs a VOC 2007 folder"):
        read_voc(tmp_path)
    write_voc(tmp_path, objects=VOC_OBJECT.format(difficult=0, box=(9, 9, 1, 1)))
    with pytest.raises(LabelError, match="ends before it begins"):
        read_voc(tmp_path)
    write_voc(tmp_path, objects=VOC_OBJECT.format(difficult=0, box=("nan", 9, 10, 10)))
    with pytest.raises(LabelError, match="bndbox/xmin is 'nan', not a pixel"):
        read_voc(tmp_path)
    (tmp_path / "ImageSets/Main/test.txt").write_text("../../secret\n")
    with pytest.raises(LabelError, match="is not an image name"):
        read_voc(tmp_path)
    (tmp_path / "ImageSets/Main/test.txt").write_text("000099\n")
    with pytest.raises(LabelError, match=r"000099\.xml: cannot be read"):
        read_voc(tmp_path)


def test_xml_entities_are_refused(tmp_path: Path) -> None:
    """A billion laughs in a kilobyte."""
    write_voc(tmp_path)
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10))
    text = f"<!DOCTYPE annotation [{levels}]><annotation>&l9;</annotation>"
    path = tmp_path / "Annotations/000012.xml"
    path.write_text(text)
    with pytest.raises(LabelError, match="declares entities or a document type"):
        read_voc(tmp_path)
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(LabelError, match="is not valid XML"):
        read_voc(tmp_path)
