"""Training and evaluation see the same objects in the same file."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.reader import read_coco
from deepmask.coco.segmentation import to_rle
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import GroundTruth, coco_truth, objects_of
from tests.evaluate.scenes import labelled_set, write
from tests.fuzz.labels import LABELS, SHAPES
from tests.fuzz.mutations import damaged_json


def assert_same_objects(learned: LabelledSet, truth: GroundTruth) -> None:
    """Each image has the same objects with the same masks; the same entries are left out."""
    assert [image.id for image in learned.images] == list(truth.pictures)
    for image in learned.images:
        here = [item for item in learned.objects if item.image.id == image.id]
        measured = [item for item in truth.annotations.get(image.id, ()) if not item.crowd]
        assert [(item.id, item.category, item.area, item.box) for item in here] == [
            (item.id, item.category, item.area, item.box) for item in measured
        ]
        if "segm" in truth.kinds:
            objects = objects_of(learned.by_image()[image.id], with_masks=True)
            assert objects.rles == truth.objects(image.id).rles
            assert objects.rles == [
                to_rle(item.segmentation, image.height, image.width)
                for item in sorted(here, key=lambda item: item.category)
            ]
    assert sum(truth.ignored.values()) == len(learned.ignored)


def with_pictures(folder: Path, content: dict[str, list[dict[str, object]]]) -> Path:
    folder.mkdir()
    for entry in content["images"]:
        (folder / str(entry["file_name"])).touch()
    return folder


@pytest.mark.parametrize("seed", range(3))
def test_sound_sets(tmp_path: Path, seed: int) -> None:
    content = labelled_set(seed, images=6, objects=8)
    path = write(tmp_path / "l.json", content)
    learned = read_coco(path, with_pictures(tmp_path / "images", content))
    assert not learned.problems
    assert_same_objects(learned, coco_truth(path))


def test_drawn_scenes(drawn: tuple[Path, Path]) -> None:
    assert_same_objects(read_coco(*drawn), coco_truth(drawn[0]))


def test_damaged_sets(tmp_path: Path) -> None:
    """Either evaluation refuses the file, or both agree on what is in it."""
    folder, path = with_pictures(tmp_path / "images", LABELS), tmp_path / "l.json"
    agreed = 0
    for seed in range(600):
        path.write_bytes(damaged_json(json.loads(json.dumps(LABELS)), Random(seed), SHAPES))
        try:
            truth = coco_truth(path)
        except EvalError:
            continue
        if all((folder / image.path).is_file() for image in truth.pictures.values()):
            assert_same_objects(read_coco(path, folder), truth)
            agreed += 1
    assert agreed > 150


@pytest.mark.data
def test_real_annotations_are_sound_and_the_same(data_dir: Path) -> None:
    path = data_dir / "coco" / "annotations" / "instances_val.json"
    found = read_coco(path, data_dir / "coco" / "val")
    assert not found.problems
    assert len(found.images) == 150
    assert sum(not item.crowd for item in found.instances) == 1229
    assert_same_objects(found, coco_truth(path))
