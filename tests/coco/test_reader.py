"""COCO files: what can be understood is kept, what is wrong is named."""

from __future__ import annotations

import copy
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from deepmask.coco.annotations import full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.runtime.io.checksum import sha256_of
from tests.coco.changed import IMAGE, OBJECT, Drawn, Json, read
from tests.evaluate.scenes import encode, write


def test_masks_come_in_all_three_forms(content: Json, drawn: Drawn, tmp_path: Path) -> None:
    image = content["images"][0]
    mask = np.zeros((image["height"], image["width"]), np.uint8, order="F")
    mask[20:60, 30:50] = 1
    packed = encode(mask.astype(bool))
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel("F"), prepend=2, append=2))).tolist()
    plain = {"size": packed["size"], "counts": runs}
    for segmentation in (packed, plain, [[30, 20, 50, 20, 50, 60, 30, 60]]):
        changed = copy.deepcopy(content)
        changed["annotations"][0] |= {"segmentation": segmentation, "image_id": image["id"]}
        changed["annotations"][0] |= {"bbox": [30, 20, 20, 40], "area": 800}
        found = read(changed, drawn, tmp_path)
        assert np.array_equal(full_mask(found.instances[0]), mask)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[1, 2]", "not a COCO instances file"),
        ('{"images": []}', "not a COCO instances file"),
        ('{"annotations": []}', "not a COCO instances file"),
        ('{"images": [], "annotations": []}', 'no usable image: its "images" list is empty'),
        ("[" * 100_000, "is nested too deeply"),
        ('{"images": ' + "9" * 5000 + "}", "is not valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LabelError) as caught:
        read_coco(tmp_path / "a.json", tmp_path)
    assert message in str(caught.value)
    assert "a.json: " in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such annotation file"):
        read_coco(tmp_path / "none.json", tmp_path)
    with pytest.raises(LabelError, match="cannot be read"):
        read_coco(tmp_path)


def test_a_byte_order_mark_is_passed_over(drawn: Drawn, tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + drawn[0].read_bytes())
    assert read_coco(tmp_path / "bom.json", drawn[1]).images == read_coco(*drawn).images


def test_the_set_knows_its_name_and_digest(drawn: Drawn) -> None:
    found = read_coco(*drawn)
    assert found.name == "instances.json"
    assert found.digest == sha256_of(drawn[0])


def test_memory_stays_near_the_size_of_the_file(tmp_path: Path) -> None:
    """Polygons are packed while they are parsed: plain lists of floats took five times as much."""
    turns = np.linspace(0, 2 * np.pi, 1000)
    corners = 140 + 120 * np.stack([np.cos(turns), np.sin(turns)], 1)
    polygon = corners.ravel().round(2).tolist()
    place = {"bbox": [20, 20, 240, 240], "area": 45239, "segmentation": [polygon]}
    content = {
        "images": [{**IMAGE, "width": 300, "height": 300}],
        "annotations": [
            {**OBJECT, **place, "id": n, "segmentation": [polygon]} for n in range(300)
        ],
    }
    path = write(tmp_path / "l.json", content)
    tracemalloc.start()
    found = read_coco(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.instances) == 300
    assert peak < 4 * path.stat().st_size
