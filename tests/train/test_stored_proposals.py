"""Boxes proposed before: read by picture, and refused where they are of others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.reader import read_coco
from deepmask.evaluate.errors import EvalError
from deepmask.train.data import DataFiles
from deepmask.train.errors import TrainUsageError
from deepmask.train.run import Request, check_request
from deepmask.train.stored_proposals import read_proposals


@pytest.fixture(scope="module")
def found(drawn: tuple[Path, Path]) -> LabelledSet:
    return read_coco(*drawn)


def stored(folder: Path, results: list[dict[str, Any]]) -> Path:
    path = folder / "proposals.json"
    path.write_text(json.dumps(results))
    return path


def result(image_id: int, x: float, score: float) -> dict[str, Any]:
    return {"image_id": image_id, "bbox": [x, 1, 2, 3], "score": score, "category_id": 1}


def test_the_best_come_first_and_pictures_without_any_are_told(
    found: LabelledSet, tmp_path: Path
) -> None:
    one, other = (image.id for image in found.images[:2])
    warned: list[str] = []
    path = stored(tmp_path, [result(one, 5, 0.1), result(one, 7, 0.9)])
    boxes = read_proposals(path, [found], warned.append)
    assert boxes(one).tolist() == [[7, 1, 2, 3], [5, 1, 2, 3]]
    assert boxes(other).shape == (0, 4)
    bare = len(found.images) - 1
    assert warned == [
        f"{path}: {bare} pictures of {bare + 1} without a proposal: what is learned there is the "
        "boxes of objects alone"
    ]
    everywhere = stored(tmp_path, [result(image.id, 1, 0.5) for image in found.images])
    read_proposals(everywhere, [found, found], warned.append)
    assert len(warned) == 1


def test_results_of_other_pictures_are_refused(found: LabelledSet, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="names image 987654, which the annotations do not have"):
        read_proposals(stored(tmp_path, [result(987654, 1, 0.5)]), [found], print)


def test_an_id_that_means_two_pictures_is_refused(found: LabelledSet, tmp_path: Path) -> None:
    image = found.images[0]
    other = replace(found, images=(replace(image, path=Path("other.png")),))
    path = stored(tmp_path, [result(image.id, 1, 0.5)])
    with pytest.raises(TrainUsageError, match=f"image {image.id} is .* in one set and other.png"):
        read_proposals(path, [found, other], print)


def test_other_families_do_not_read_them(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    data = DataFiles(*drawn, proposals=tmp_path / "proposals.json")
    with pytest.raises(TrainUsageError, match="--proposals has no effect on fpn-lite: leave it"):
        check_request(Request("fpn-lite", data, tmp_path / "run", init="random"))
