"""Boxes of masks get the categories that their pixels have, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.model.manifest import Scales, Views
from deepmask.runtime.predict import find_masks
from deepmask.runtime.predict.label_boxes import canvas_boxes, moved_boxes, nearest_to_one, softmax
from deepmask.runtime.views.views import plan_views
from tests.runtime import fake_tensorrt
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.named_model import CATEGORIES, SHIFT, WIDER, write_named_model

ON_CPU: dict[str, Any] = {"engine": "onnxruntime", "device": "cpu", "threads": 1}
DARK, BRIGHT = 0, 1
#: x, y, side and gray value of each square.
SQUARES = [(50, 40, 32, 10), (160, 100, 32, 245), (176, 32, 32, 30), (48, 128, 64, 200)]
Loader = Callable[[Path], DeepMask]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_named_model(tmp_path_factory.mktemp("models") / "named")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "tensorrt"])
def load(request: pytest.FixtureRequest) -> Loader:
    """Load a folder on each engine."""
    if request.param == "tensorrt":
        return lambda folder: fake_tensorrt.load(folder, FakeDevice())
    pytest.importorskip(request.param)
    return lambda folder: DeepMask.load(folder, **{**ON_CPU, "engine": request.param})


def picture() -> npt.NDArray[np.uint8]:
    image = np.full((200, 260, 3), 127, np.uint8)
    for x, y, side, gray in SQUARES:
        image[y : y + side, x : x + side] = gray
    return image


def test_names_are_those_of_the_pixels(folder: Path, load: Loader) -> None:
    image = picture()
    with load(folder) as model:
        found = model(image, proposals=60)
        again = model(image, proposals=60)
        plain = model(image, proposals=60, labels=False)
    assert found.labels is not None
    assert found.classes is not None
    assert_array_equal(found.classes.scores, again.classes.scores if again.classes else None)
    assert (plain.classes, plain.labels, plain.names) == (None, None, None)
    assert plain.rles() == found.rles()  # names change nothing else
    assert_array_equal(plain.scores, found.scores)
    solid = 0
    for index in np.flatnonzero(found.labels >= 0).tolist():
        x, y, w, h = found.boxes[index].astype(int)
        tone = image[y : y + h, x : x + w].mean() - 127.5
        if abs(tone) > 20:  # else the map's cells may tip the balance
            assert found.labels[index] == (BRIGHT if tone > 0 else DARK)
            solid += 1
    assert solid >= len(SQUARES)
    assert {model.stages[-1]} == {"names"} <= set(found.seconds)
    assert "tone" in found.seconds
    assert not {"tone", "names"} & set(plain.seconds)  # what only names need is not run


def test_boxes_are_read_where_they_are(folder: Path) -> None:
    """The mean tone in a square's own box, through its logit: exact but for half a cell's rim."""
    with DeepMask.load(folder, **ON_CPU) as model:
        objects = model(picture(), proposals=100).objects()
    classes = objects.classes
    assert classes is not None
    for x, y, side, gray in SQUARES[:3]:
        near = np.abs(objects.boxes - (x, y, side, side)).max(axis=1)
        index = int(near.argmin())
        assert near[index] <= 3
        logit = 10 * abs(gray - 127.5) / 127.5
        likely = 1 / (1 + exp(-logit) + exp(-2 * logit))
        assert classes.label_scores[index] == pytest.approx(likely, abs=0.01)


@pytest.mark.parametrize("delta", [True, False])
def test_better_boxes(tmp_path: Path, delta: bool) -> None:
    folder = write_named_model(tmp_path / "model", delta=delta)
    with DeepMask.load(folder, **ON_CPU) as model:
        found = model(picture(), proposals=40)
    assert found.classes is not None
    better = found.classes.boxes
    if not delta:
        assert better is None
        return
    assert better is not None
    for (x, y, w, h), (dark, bright) in zip(found.boxes, better, strict=True):
        moved = np.array([min(x + SHIFT * w, 260), y, w, h])
        moved[2] = min(w, 260 - moved[0])
        left, right = max(0, x + w / 2 - WIDER * w / 2), min(260, x + w / 2 + WIDER * w / 2)
        if w and h:
            assert_allclose(dark, moved, atol=1e-3)
            assert_allclose(bright, (left, y, right - left, h), atol=1e-3)


def test_only_the_best_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many at a time as the engine takes; those beyond the limit have no category."""
    with DeepMask.load(folder, **ON_CPU) as model:
        whole = model(picture(), proposals=60, label_score=0)
        monkeypatch.setattr(find_masks, "MOST_BOXES", 20)
        monkeypatch.setattr(model.engine, "most_windows", 7)
        some = model(picture(), proposals=60, label_score=0)
    assert whole.classes is not None
    assert some.classes is not None
    assert_allclose(some.classes.scores[:20], whole.classes.scores[:20], atol=1e-6)
    assert (some.classes.labels[20:] == -1).all()
    assert not some.classes.scores[20:].any()


def test_empty_masks_have_no_category(folder: Path) -> None:
    """No box is asked about where no mask has a pixel."""
    blank = np.full((64, 64, 3), 127, np.uint8)
    with DeepMask.load(folder, **ON_CPU) as model:
        found = model(blank, proposals=30, threshold=0.9)
    assert not found.areas.any()
    assert found.labels is not None
    assert (found.labels == -1).all()
    assert found.to_coco(1) == []


def test_the_least_score_decides_who_has_a_name(folder: Path) -> None:
    with DeepMask.load(folder, **ON_CPU) as model:
        every, few = (model(picture(), label_score=least) for least in (0.0, 0.99))
        own = model(picture())
        with pytest.raises(ValueError, match=r"label_score is 1.5, expected a probability, 0 to 1"):
            model(picture(), label_score=1.5)
    for found, least in ((every, 0.0), (own, 0.5), (few, 0.99)):
        assert found.labels is not None
        assert found.label_scores is not None
        named = (found.label_scores >= least) & (found.label_scores > 0)
        assert_array_equal(found.labels >= 0, named)
        assert 0 < named.sum() < len(named)


def test_a_model_without_categories_names_nothing(model: DeepMask) -> None:
    found = model(picture(), proposals=5)
    assert (found.classes, found.names, found.captions) == (None, None, [])
    for asked in ({"labels": True}, {"label_score": 0.5}):
        with pytest.raises(ValueError, match=r"squares has no categories"):
            model(picture(), **asked)


def test_results_that_are_no_numbers_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DeepMask.load(folder, **ON_CPU) as model:
        run = model.engine.run

        def broken(stage: str, inputs: Any) -> Any:
            made = run(stage, inputs)
            if stage == "names":
                values = model.engine.fetch(made["class"])
                values[0, 0] = np.nan
                made["class"] = model.engine.upload(values)
            return made

        monkeypatch.setattr(Engine, "run", broken)
        monkeypatch.setattr(model.engine, "run", broken)
        with pytest.raises(EngineError, match=r"class is .* for .* boxes, or has values that are"):
            model(picture())


def test_corners_on_the_canvas() -> None:
    """The border comes first; the picture's edges are the view's edges, to the pixel."""
    views = Views(Scales(-1, 1, 0.5), 1333, False, 48, 127.5, 16)
    for view in plan_views(201, 333, views.scales.factors(), views):
        whole, part = canvas_boxes(
            np.array([[0, 0, 333, 201], [111, 67, 111, 67]], np.float64), view, 48
        )
        assert_allclose(whole, [48, 48, 48 + view.width, 48 + view.height])
        thirds = [view.width / 3, view.height / 3, 2 * view.width / 3, 2 * view.height / 3]
        assert_allclose(part - 48, thirds, rtol=1e-5)


def test_the_view_nearest_to_the_models_own_scale() -> None:
    views = Views(Scales(-1, 1, 0.5), 1333, False, 0, 127.5, 16)
    for factors, nearest in (((1.0,), 1.0), ((0.5, 1, 2), 1.0), ((0.25, 0.5), 0.5), ((2, 4), 2.0)):
        planned = plan_views(200, 300, factors, views)
        assert planned[nearest_to_one(planned)].factor == nearest


def test_moved_boxes_are_r_cnns() -> None:
    """By hand: centre and size of one box; growth has an end; the picture has edges."""
    box = np.array([[10.0, 20.0, 30.0, 40.0]])
    delta = np.array([[[1, -2, 5 * log(2), 0], [0, 0, 1e9, 0]]], np.float64)
    one, huge = moved_boxes(box, delta, (300, 400))[0]
    assert_allclose(one, [0, 12, 58, 40])
    assert_allclose(huge, [0.0, 20.0, 400.0, 40.0])
    assert moved_boxes(box, np.zeros((1, 2, 4)), (300, 400)).tolist() == [[box[0].tolist()] * 2]


def test_softmax() -> None:
    chances = softmax(np.array([[0.0, log(2), log(5)], [1e4, 0, -1e4]]))
    assert_allclose(chances, np.array([[1 / 8, 2 / 8, 5 / 8], [1, 0, 0]]))


def test_categories_are_the_models(folder: Path) -> None:
    with DeepMask.load(folder, **ON_CPU) as model:
        results = model(picture(), proposals=100).objects().to_coco(7)
    ids = {one.id: one.name for one in CATEGORIES}
    assert {result["category_id"] for result in results} >= set(ids)
    assert all(0 < result["category_score"] <= 1 for result in results)


def test_given_boxes_get_categories(folder: Path, load: Loader, model: DeepMask) -> None:
    """All of them, and the same as the model's own proposals get."""
    boxes = np.array([(x, y, side, side) for x, y, side, _ in SQUARES], np.float64)
    with load(folder) as named:
        found = named.classify(picture(), np.repeat(boxes, 40, axis=0))
        own = named(picture(), proposals=100)
        again = named.classify(picture(), own.boxes)
    assert found.labels.reshape(4, 40).T.tolist() == [[DARK, BRIGHT, DARK, BRIGHT]] * 40
    assert own.classes is not None
    assert_allclose(again.scores, own.classes.scores, atol=1e-5)
    with pytest.raises(ValueError, match=r"squares has no categories"):
        model.classify(picture(), boxes)
