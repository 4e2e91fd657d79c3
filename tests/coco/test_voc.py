"""VOC folders, and what is said about broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from deepmask.coco.annotations import LabelledSet, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
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
    (item,) = found.objects
    assert list(item.box) == [10, 20, 10, 20]
    assert item.area == 200
    assert item.segmentation is None
    assert found.name == tmp_path.name


def test_broken_voc_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="needs a VOC 2007 folder"):
        read_voc(tmp_path)
    for box, text in (
        ((9, 9, 1, 1), "Annotations/000012.xml, object 1: a bndbox ends before it begins"),
        (("nan", 9, 10, 10), "bndbox/xmin is 'nan', not a pixel"),
    ):
        found = read_voc(write_voc(tmp_path, objects=VOC_OBJECT.format(difficult=0, box=box)))
        (problem,) = found.problems
        assert text in str(problem)
        assert found.unknown_by_image() == {12: [(0, 0, 100, 80)]}
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


def two_images(folder: Path, first: str, second: str, text: str | None = None) -> LabelledSet:
    write_voc(folder, second)
    if text is not None:
        (folder / "Annotations" / f"{second}.xml").write_text(text)
    write_voc(folder, first)
    (folder / "ImageSets/Main/test.txt").write_text(f"{first}\n{second}\n")
    return read_voc(folder)


def test_one_bad_file_costs_one_image(tmp_path: Path) -> None:
    nothing = "<annotation><size><width>0</width><height>0</height></size></annotation>"
    found = two_images(tmp_path, "000012", "000013", nothing)
    assert [image.id for image in found.images] == [12]
    (problem,) = found.lost_images
    assert "000013.xml: size/width is '0', not a number of pixels" in str(problem)
    (tmp_path / "Annotations/000013.xml").write_text("<annotation")
    assert "is not valid XML" in str(read_voc(tmp_path).lost_images[0])
    (tmp_path / "Annotations/000013.xml").unlink()
    assert "cannot be read" in str(read_voc(tmp_path).lost_images[0])


def test_names_with_blanks_and_marks_of_a_category(tmp_path: Path) -> None:
    found = two_images(tmp_path, "my photo 1", "other")
    assert [str(image.path) for image in found.images] == ["my photo 1.jpg", "other.jpg"]
    (tmp_path / "ImageSets/Main/test.txt").write_text("my photo 1  1\nother -1\n", "utf-8-sig")
    assert [image.id for image in read_voc(tmp_path).images] == [1, 2]


def test_byte_order_marks_are_passed_over(tmp_path: Path) -> None:
    write_voc(tmp_path)
    path = tmp_path / "Annotations/000012.xml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_voc(tmp_path).objects) == 1


@pytest.mark.parametrize("word", ["Unspecified", "2", "maybe"])
def test_only_clear_words_make_an_object_difficult(tmp_path: Path, word: str) -> None:
    objects = VOC_OBJECT.format(difficult=word, box=(11, 21, 20, 40))
    found = read_voc(write_voc(tmp_path, objects=objects))
    assert len(found.objects) == 1
    (problem,) = found.problems
    assert problem.effect == "note"
    assert f"object 1: difficult is '{word}', neither 0 nor 1: taken for 0" in str(problem)
    for clear, count in (("1", 0), ("true", 0), ("0", 1), ("false", 1), ("", 1)):
        objects = VOC_OBJECT.format(difficult=clear, box=(11, 21, 20, 40))
        found = read_voc(write_voc(tmp_path, objects=objects))
        assert len(found.objects) == count
        assert not found.problems


def as_palette(values: NDArray[np.uint8]) -> Pillow.Image:
    image = Pillow.fromarray(values)
    image.putpalette([value for value in range(256) for _ in range(3)])
    return image


def test_objects_of_a_segmentation_list_have_masks(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Segmentation").mkdir()
    (tmp_path / "SegmentationObject").mkdir()
    names = tmp_path / "ImageSets/Segmentation/train.txt"
    names.write_text("000012\n")
    pixels = np.zeros((80, 100), np.uint8)
    pixels[20:40, 10:20], pixels[0:9, 0:9], pixels[50:60, 50:60] = 1, 2, 255
    as_palette(pixels).save(tmp_path / "SegmentationObject/000012.png")
    found = read_labels(names)
    (item,) = found.objects
    assert np.array_equal(full_mask(item), pixels == 1)
    assert [one.crowd for one in found.instances] == [False, True]
    as_palette(pixels[:50]).save(tmp_path / "SegmentationObject/000012.png")
    with pytest.raises(LabelError, match="not a palette image of 100×80 like its picture"):
        read_labels(names)
