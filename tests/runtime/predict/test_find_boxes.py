"""A model without masks: anchors are moved, overlapping boxes left out, and boxes get names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.manifest import Category, Grid, Scales
from deepmask.runtime.predict.classes import Classes
from deepmask.runtime.predict.find_boxes import best_category, detections, select_of_levels
from deepmask.runtime.predict.select import ScoreMap
from tests.runtime.boxes_model import BEST, GRAY, LEAST, SHIFT, write_boxes_model
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import load

Picture = npt.NDArray[np.uint8]
Object = tuple[int, int, int, int, int]
SURE = 1 / (1 + np.exp(-BEST))
#: x, y, width, height and tone of objects that lie in the middle of an anchor.
SQUARE: Object = (36, 20, 16, 16, 2 * GRAY)
BAR: Object = (88, 48, 64, 16, 0)
LARGE: Object = (24, 72, 32, 32, 0)


def paint(*objects: Object) -> Picture:
    image = np.full((128, 192, 3), GRAY, np.uint8)
    for x, y, width, height, tone in objects:
        image[y : y + height, x : x + width] = tone
    return image


def box_of(thing: Object) -> list[float]:
    """Return the box that is found of it: of a bar, one that is shifted."""
    x, y, width, height, _ = thing
    return [x + (SHIFT if width > height else 0), y, width, height]


@contextmanager
def loaded(folder: Path, engine: str) -> Iterator[DeepMask]:
    if engine == "tensorrt":
        with load(folder, FakeDevice()) as model:
            yield model
    else:
        pytest.importorskip(engine)
        with DeepMask.load(folder, engine=engine, device="cpu", threads=1) as model:
            yield model


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "tensorrt"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def named(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeepMask]:
    """Scores tell the category, as a RetinaNet's."""
    folder = write_boxes_model(tmp_path_factory.mktemp("models") / "boxes")
    with loaded(folder, engine) as model:
        yield model


@pytest.fixture(scope="module")
def staged(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeepMask]:
    """A stage for boxes tells the category, as a Faster R-CNN's."""
    folder = write_boxes_model(tmp_path_factory.mktemp("models") / "staged", stages=True)
    with loaded(folder, engine) as model:
        yield model


def test_boxes_are_moved_anchors_with_the_name_of_their_score(named: DeepMask) -> None:
    found = named(paint(SQUARE, BAR, LARGE), proposals=3)
    assert not found.has_masks
    assert found.names == ["bright", "dark", "dark"]
    assert_allclose(found.boxes, [box_of(SQUARE), box_of(LARGE), box_of(BAR)], rtol=1e-5)
    assert_allclose(found.scores, [SURE] * 3, rtol=1e-6)
    assert_array_equal(found.scores, found.label_scores)
    assert set(found.seconds) == set(named.stages) - {"decode", "encode"}


def test_results_are_exact_boxes_without_masks(named: DeepMask) -> None:
    found = named(paint(SQUARE), proposals=1)
    [result] = found.to_coco(7)
    assert set(result) == {"image_id", "category_id", "bbox", "score", "category_score"}
    assert (result["image_id"], result["category_id"]) == (7, 7)
    assert result["bbox"] == found.boxes[0].tolist()
    assert found.areas.tolist() == [16 * 16]
    for ask in (found.rles, lambda: found.masks(0), lambda: found.objects(flat=True)):
        with pytest.raises(ValueError, match="the model gives boxes only: there are no masks"):
            ask()
    with pytest.raises(ValueError, match="boxes gives boxes only, no masks of windows"):
        named.windows(paint(SQUARE))


def test_a_box_beside_a_better_one_is_left_out(named: DeepMask) -> None:
    """Of one category; an overlap of 1 keeps all, and a call for fewer has the best of more."""
    image = paint(SQUARE, LARGE)
    found, every = (named(image, label_score=0.02, overlap=limit) for limit in (0.5, 1.0))
    assert 2 < len(found) < len(every)
    assert (named(image).scores >= LEAST).all()
    for label in (0, 1):
        boxes = found.labelled([label])
        alone = boxes.ious(boxes)
        np.fill_diagonal(alone, 0)
        assert (alone <= 0.5).all()
    assert_array_equal(named(image, label_score=0.02, proposals=2).boxes, found.boxes[:2])


def test_the_least_score_and_the_category_choose(named: DeepMask) -> None:
    image = paint(SQUARE, BAR)
    sure = named(image, label_score=0.9)
    assert (sure.scores >= 0.9).all()
    assert len(sure) < len(named(image)) < len(named(image, label_score=0.01))
    [bright] = named(image, label_score=0.9).labelled([1]).boxes
    assert_allclose(bright, box_of(SQUARE), rtol=1e-5)


def test_without_names_a_window_has_its_best_score(named: DeepMask) -> None:
    found = named(paint(SQUARE, BAR, LARGE), labels=False)
    assert found.classes is None
    assert_allclose(found.boxes[:3], [box_of(SQUARE), box_of(LARGE), box_of(BAR)], rtol=1e-5)
    assert found.scores[-1] < LEAST


def test_views_are_searched_together(named: DeepMask) -> None:
    """At half the scale an object of twice the size is what an anchor is made for."""
    twice = np.kron(paint(LARGE)[:, :96], np.ones((2, 2, 1), np.uint8)).astype(np.uint8)
    found = named(twice, proposals=1, scales=Scales(-1, 0, 1))
    assert_allclose(found.boxes, [[2 * side for side in box_of(LARGE)]], rtol=1e-5)


def test_a_stage_names_boxes_and_moves_them_again(staged: DeepMask) -> None:
    """A dark box goes a quarter of its width to the right, a bright one is twice as wide."""
    dark = (100, 60, 16, 16, 0)
    found = staged(paint(SQUARE, dark), label_score=0.9999)
    assert found.names == ["dark", "bright"]
    assert_allclose(found.boxes, [[100 + 4, 60, 16, 16], [36 - 8, 20, 32, 16]], rtol=1e-4)
    assert (found.scores >= 0.9999).all()
    many = staged(paint(SQUARE, dark))
    assert len(many) > 2
    assert (np.diff(many.scores) <= 0).all()


def test_without_names_a_stage_for_boxes_is_not_run(staged: DeepMask) -> None:
    found = staged(paint(SQUARE), labels=False, proposals=1)
    assert_allclose(found.boxes, [box_of(SQUARE)], rtol=1e-5)
    assert "names" not in found.seconds


def test_given_boxes_are_named_by_a_stage_alone(named: DeepMask, staged: DeepMask) -> None:
    image, box = paint(SQUARE), np.array([[36.0, 20.0, 16.0, 16.0]])
    assert staged.classify(image, box).names == ["bright"]
    with pytest.raises(ValueError, match="boxes has no stages that tell what is in given boxes"):
        named.classify(image, box)


def test_a_picture_of_one_pixel(named: DeepMask, staged: DeepMask) -> None:
    for model in (named, staged):
        found = model(np.zeros((1, 1, 3), np.uint8))
        assert found.image_size == (1, 1)
        assert len(found.objects()) <= len(found)


def test_offsets_that_are_not_finite_are_refused(
    named: DeepMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = type(named.engine).run

    def broken(self: Any, stage: str, inputs: Any) -> Any:
        made = run(self, stage, inputs)
        move = np.full_like(self.fetch(made["near_move"]), np.nan)
        return {**made, "near_move": self.upload(move)}

    monkeypatch.setattr(type(named.engine), "run", broken)
    with pytest.raises(EngineError, match="the scores are not finite"):
        named(paint(SQUARE))


def test_offsets_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = write_boxes_model(tmp_path / "boxes")
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as model:
        run = model.engine.run
        model.engine.run = lambda stage, inputs: {  # type: ignore[method-assign]
            **(made := run(stage, inputs)),
            "near_move": made["near_score"],
        }
        with pytest.raises(EngineError, match=r"near_move is .*, expected channel 0 to 3 of"):
            model(paint(SQUARE))


def test_a_model_without_categories(tmp_path: Path) -> None:
    folder = write_boxes_model(tmp_path / "boxes", names=False)
    assert read_manifest(folder).scores_a_window == 1
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as model:
        found = model(paint(SQUARE, LARGE), proposals=2)
        assert found.names is None
        assert_allclose(found.boxes, [box_of(SQUARE), box_of(LARGE)], rtol=1e-5)
        assert set(found.to_coco(1)[0]) == {"image_id", "category_id", "bbox", "score"}


def test_each_level_has_so_many_candidates() -> None:
    grids = [
        Grid(name, score, 0, 8, 8, None, 0.5) for name, score in zip("abc", "xxy", strict=True)
    ]
    logits = np.arange(12, dtype=np.float32).reshape(3, 1, 2, 2)
    maps = [ScoreMap(0, k, logits[k]) for k in range(3)]
    assert select_of_levels(maps, grids, 3, 0.0).logit.tolist() == [11, 10, 9, 7, 6, 5]
    sure = select_of_levels(maps, grids, 3, 1 / (1 + np.exp(-6.5)))
    assert sure.logit.tolist() == [11, 10, 9, 7]
    assert not len(select_of_levels(maps, grids, 3, 1.0))


def test_the_best_category_of_each_window() -> None:
    logits = np.array([[[1, 5]], [[3, 2]]], np.float32)
    assert best_category(ScoreMap(0, 0, logits)).logits.tolist() == [[[3, 5]]]


def test_a_box_may_be_several_things() -> None:
    """Each with its own box; of one thing in one place there is one."""
    categories = (Category(1, "cup"), Category(2, "mug"))
    scores = np.array([[0.6, 0.3], [0.5, 0.01]], np.float32)
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10]], np.float64)
    found = detections(Classes(categories, scores, None, 0.05), boxes, 10)
    assert (found.labels.tolist(), found.boxes[:, 0].tolist()) == ([0, 1], [0, 0])
    assert_allclose(found.scores, [0.6, 0.3])
    right = boxes + np.array([20, 0, 0, 0])
    better = np.stack([boxes, right], axis=1).astype(np.float32)
    better[1, 0, 0] = 50
    found = detections(Classes(categories, scores, better, 0.05), boxes, 2)
    assert (found.labels.tolist(), found.boxes[:, 0].tolist()) == ([0, 0], [0, 50])
