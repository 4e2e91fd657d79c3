"""The files of a run: which sets they are, and what is told of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepmask.coco.reader import read_coco
from deepmask.train.check import Checked, check, check_pictures, measurable, plain, table
from deepmask.train.data import DataFiles, Source, read_sets
from deepmask.train.errors import TrainUsageError
from tests.evaluate.scenes import write

Drawn = tuple[Path, Path]


def test_images_of_partly_labelled_sets_are_the_training_images_unless_given() -> None:
    one, two, images, others = map(Path, ("one.json", "two.json", "images", "others"))
    files = DataFiles(one, images, [two])
    assert files.training() == [Source(one, images), Source(two, images)]
    assert files.validation() == []
    files = DataFiles(one, images, [two], others, val_annotations=two, val_images=others)
    assert files.training() == [Source(one, images), Source(two, others)]
    assert files.validation() == [Source(two, others)]


@pytest.mark.parametrize("half", ["val_annotations", "val_images"])
def test_validation_needs_annotations_and_images(half: str) -> None:
    with pytest.raises(TrainUsageError, match="belong together") as caught:
        DataFiles(Path("a"), Path("b"), **{half: Path("c")})  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_bad_entries_are_left_out_with_a_warning(drawn: Drawn, tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["annotations"][3] |= {"bbox": [0, 0, 0, 0], "segmentation": []}
    content["annotations"][4]["bbox"] = [0, 0, 0, 0]
    bad = write(tmp_path / "bad.json", content)
    warned: list[str] = []
    (found,) = read_sets([Source(bad, drawn[1])], warned.append)
    assert len(found.instances) == len(content["annotations"]) - 1
    left, mended = warned
    assert "1 bad entries left out, the first: annotation 4" in left
    assert "1 bad entries mended, the first: annotation 5" in mended


def checked(content: Any, drawn: Drawn, tmp_path: Path) -> Checked:
    return check(Source(write(tmp_path / "a.json", content), drawn[1]), measurable)


def test_every_count_adds_up(drawn: Drawn, tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    images, items = content["images"], content["annotations"]
    images[0]["width"] += 1  # found when it is decoded
    images[1]["file_name"] = "gone.png"
    images.append({**images[2]})
    items[-1] |= {"segmentation": [[1, 1, 1, 1, 1, 1]], "bbox": [0, 0, 3, 3]}
    items[-2]["iscrowd"] = 1
    items[-3]["id"] = items[-4]["id"]
    items[-5]["area"] = 0
    items += [5, {"id": 99}]
    one = checked(content, drawn, tmp_path)
    assert one.counts() == {
        "images": {"read": 7, "usable": 4, "ignored": {"file": 2, "repeated": 1}},
        "annotations": {
            "read": len(items),
            "usable": len(items) - 2 - 6 - 2,
            "crowds": 1,
            "ignored": {"outline": 1, "image": 4, "file": 3, "id": 1},
        },
    }
    assert not one.passes
    lines = [line.split() for line in table(one).splitlines()]
    assert [str(tmp_path / "a.json"), "images", "annotations"] == lines[0]
    assert ["read", "7", "20"] in lines
    assert ["ignored", "3", "9"] in lines
    assert ["area", "1"] in lines
    told = plain([one])
    assert told["passes"] is False
    assert told["sets"][0]["counts"] == one.counts()
    assert len(told["sets"][0]["problems"]) == len(one.problems)
    json.dumps(told)


def test_a_set_without_faults_passes(drawn: Drawn, tmp_path: Path) -> None:
    one = checked(json.loads(drawn[0].read_text()), drawn, tmp_path)
    assert one.passes
    assert "ignored" in table(one)
    assert "NOTHING" not in table(one)


def test_a_set_without_an_object_does_not_pass(drawn: Drawn, tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    for item in content["annotations"]:
        item["iscrowd"] = 1
    one = checked(content, drawn, tmp_path)
    assert not one.problems
    assert not one.passes
    assert "NOTHING TO USE: no object" in table(one)


def test_wrong_sizes_are_found(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["images"][0]["width"] += 1
    found = read_coco(write(tmp_path / "a.json", content), drawn[1])
    (problem,) = check_pictures(found)
    assert (problem.image, problem.kind) == (1, "file")
    assert "annotated as" in problem.text
