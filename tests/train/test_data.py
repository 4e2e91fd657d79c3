"""The files of a run: which sets they are, and what is told of those that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepmask.coco.reader import read_coco
from deepmask.train.data import DataFiles, check_data, check_pictures, read_sets
from deepmask.train.errors import TrainUsageError
from tests.evaluate.scenes import write

Drawn = tuple[Path, Path]


def test_images_of_partly_labelled_sets_are_the_training_images_unless_given() -> None:
    one, two, images, others = map(Path, ("one.json", "two.json", "images", "others"))
    files = DataFiles(one, images, [two])
    assert files.training() == [(one, images), (two, images)]
    assert files.validation() == []
    files = DataFiles(one, images, [two], others, val_annotations=two, val_images=others)
    assert files.training() == [(one, images), (two, others)]
    assert files.validation() == [(two, others)]


@pytest.mark.parametrize("half", ["val_annotations", "val_images"])
def test_validation_needs_annotations_and_images(half: str) -> None:
    with pytest.raises(TrainUsageError, match="belong together") as caught:
        DataFiles(Path("a"), Path("b"), **{half: Path("c")})  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_bad_entries_are_left_out_with_a_warning_and_counted(drawn: Drawn, tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["annotations"][3]["bbox"] = [0, 0, 0, 0]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(content))
    warned: list[str] = []
    (found,) = read_sets([(bad, drawn[1])], warned.append)
    assert len(found.instances) == len(content["annotations"]) - 1
    assert len(warned) == 1
    assert "1 bad entries left out, the first: annotation 4" in warned[0]
    told: list[str] = []
    assert check_data(DataFiles(bad, drawn[1]), told.append) == 1
    assert len(told) == 2
    assert check_data(DataFiles(*drawn), told.append) == 0


def test_wrong_sizes_and_empty_masks_are_found(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["images"][0]["width"] += 1
    content["annotations"][-1]["segmentation"] = [[1, 1, 1, 1, 1, 1]]
    problems = list(check_pictures(read_coco(write(tmp_path / "a.json", content), drawn[1])))
    assert [problem.image for problem in problems] == [1, 6]
    assert [problem.kind for problem in problems] == ["file", "outline"]
    assert "annotated as" in problems[0].text
    assert problems[1].annotation == content["annotations"][-1]["id"]
