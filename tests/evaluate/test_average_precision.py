"""AP is pycocotools' own; VOC's is that of a plain form, and of a case worked out by hand."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from deepmask.evaluate.average_precision import read_curve, trust
from tests.evaluate.scenes import Json, encode, labelled_set, measure, proposals, rectangle

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")


def coco_aps(folder: Path, kind: str) -> tuple[dict[str, float], dict[str, float]]:
    """pycocotools' AP, and that of each category by its name."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "labels.json"))
        judge = COCOeval(truth, truth.loadRes(str(folder / "results.json")), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    table = judge.eval["precision"][:, :, :, 0, 2]  # thresholds, recalls, categories
    own = {}
    for index, category in enumerate(judge.params.catIds):
        if (table[:, :, index] > -1).any():
            own[truth.cats[category]["name"]] = float(table[:, :, index].mean())
    return dict(zip(NAMES, judge.stats[:6].tolist(), strict=True)), own


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_pycocotools(tmp_path: Path, seed: int) -> None:
    """With crowds, equal scores, and more detections of a category than count."""
    labels = labelled_set(seed, images=8)
    results = proposals(seed, labels, noise=60 if seed else 250)
    found = measure(tmp_path, labels, results)["classes"]
    for kind in ("segm", "bbox"):
        expected, own = coco_aps(tmp_path, kind)
        assert {n: found[kind][n] for n in NAMES} == pytest.approx(expected, abs=1e-9)
        measured = {one["name"]: one["AP"] for one in found[kind]["categories"]}
        assert measured == pytest.approx(own, abs=1e-9)
        assert 0 < expected["AP"] < expected["AP50"] < 1, "the case tells nothing"
        for name in NAMES[:2]:
            low, high = found[kind]["intervals"][name]
            assert low < expected[name] < high


@pytest.mark.data
def test_equals_pycocotools_on_real_labels(tmp_path: Path, data_dir: Path) -> None:
    content = json.loads((data_dir / "coco/annotations/instances_val.json").read_text())
    content["images"] = content["images"][:25]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    results = proposals(3, content, each=3, noise=5)
    for result in results[::3]:
        own = [a for a in content["annotations"] if a["image_id"] == result["image_id"]]
        result["category_id"] = own[0]["category_id"] if own else 1
    found = measure(tmp_path, content, results)["classes"]
    for kind in ("segm", "bbox"):
        expected, _ = coco_aps(tmp_path, kind)
        assert {n: found[kind][n] for n in NAMES} == pytest.approx(expected, abs=1e-9)
        assert expected["AP"] > 0


def plain_voc(scores: Sequence[float], right: Sequence[int], objects: int) -> tuple[float, float]:
    """VOC's AP of ordered detections, in loops: at 11 recalls, and by area."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    curve, hits, seen = [], 0, 0
    for index in order:
        if right[index] < 0:
            continue
        seen, hits = seen + 1, hits + right[index]
        curve.append((hits / objects, hits / seen))
    eleven = [max((p for r, p in curve if r >= k / 10), default=0.0) for k in range(11)]
    area, before = 0.0, 0.0
    for recall, _ in curve:
        if recall > before:
            area += (recall - before) * max(p for r, p in curve if r >= recall)
            before = recall
    return sum(eleven) / 11, area


@pytest.mark.parametrize("seed", range(4))
def test_voc_curves_are_those_of_a_plain_form(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, objects = 60, 25
    scores, voc = np.sort(random.random(count))[::-1], random.choice([1, 0, 0, -1], count)
    while (voc == 1).sum() > objects:
        voc[random.integers(count)] = 0
    curve = np.ones((1, count)), voc == 1, voc == 0, np.array([float(objects)])
    found = [read_curve(*curve, where)[0] for where in (np.arange(11) / 10, None)]
    assert_allclose(found, plain_voc(scores.tolist(), voc.tolist(), objects), atol=1e-12)


def test_weights_stand_for_copies() -> None:
    """An image that counts twice is as two that are alike; one that counts 0 is not there."""
    right = np.array([True, False, True, False, True, True])
    weights = np.array([[2, 1, 0, 1, 3, 1]])
    repeats = np.repeat(np.arange(6), weights[0])
    once = np.ones((1, len(repeats)))
    for where in (np.linspace(0, 1, 101), None):
        weighted = read_curve(weights.astype(float), right, ~right, np.array([9.0]), where)
        copied = read_curve(once, right[repeats], ~right[repeats], np.array([9.0]), where)
        assert_allclose(weighted, copied, atol=1e-12)
    nothing = read_curve(weights.astype(float), right, ~right, np.array([0.0]), None)
    assert np.isnan(nothing).all()


def by_hand(tmp_path: Path) -> Json:
    """Two cats and a difficult one; five boxes: a cat, it again, nothing, the difficult one, a dog.

    The dog's box is right of no dog, as there is none among the labels.
    """
    size, cats = (40, 100), [(0, 0, 10, 10), (20, 0, 10, 10), (40, 0, 10, 10)]
    labels = {
        "images": [{"id": 1, "file_name": "1.png", "width": size[1], "height": size[0]}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                **{"id": k + 1, "image_id": 1, "category_id": 1, "bbox": list(box), "area": 100},
                **{"iscrowd": int(k == 2), "segmentation": encode(rectangle(*size, box))},
            }
            for k, box in enumerate(cats)
        ],
    }
    places = [cats[0], (1, 0, 10, 10), (70, 20, 10, 10), cats[2], cats[1], cats[1]]
    results = [
        {
            **{"image_id": 1, "category_id": 2 if k == 5 else 1, "bbox": list(box)},
            **{
                "segmentation": encode(rectangle(*size, box)),
                "score": 0.1,
                "category_score": score,
            },
        }
        for k, (box, score) in enumerate(zip(places, (0.9, 0.8, 0.7, 0.6, 0.5, 0.95), strict=True))
    ]
    return measure(tmp_path, labels, results)


def test_voc_worked_out_by_hand(tmp_path: Path) -> None:
    """Right, wrong (a repeat), wrong, spared, right: precision 1 at recall 1/2, 2/4 at 1."""
    metrics = by_hand(tmp_path)
    for found in metrics["classes"].values():
        assert found["VOC_AP"] == pytest.approx(0.5 * 1 + 0.5 * 0.5)
        assert found["VOC_AP11"] == pytest.approx((6 * 1 + 5 * 0.5) / 11)
        assert [(one["name"], one["objects"]) for one in found["categories"]] == [("cat", 2)]
    rows = {row["score"]: row for row in metrics["names"]["rows"]}
    shown = [(rows[s]["named"], rows[s]["right"], rows[s]["wrong"]) for s in (0.5, 0.85, 0.95)]
    assert shown == [(6, 4, 1), (2, 1, 1), (1, 0, 1)]  # each name for itself, a crowd is right
    assert (rows[0.95]["precision"], rows[0.5]["of_objects"]) == (0, 0.8)
    assert metrics["names"]["trusted_from"] is None  # too few to tell


@pytest.mark.parametrize(
    ("names", "least"),
    [
        ([(0.3, 1)] * 9 + [(0.4, 2)] * 30, 0.35),
        ([(0.3, 1)] * 9 + [(0.4, 2)] * 36, 0.05),
        ([(0.9, 0)] * 5 + [(0.8, 2)] * 40, 0.05),
        ([(0.9, 0)] * 25 + [(0.8, 2)] * 400, None),
        ([], None),
    ],
)
def test_names_are_trusted_from_a_score_on(
    names: list[tuple[float, int]], least: float | None
) -> None:
    """Where the precision is high enough at every higher score that has enough names."""
    assert trust(names)["trusted_from"] == least
