"""Our average recall is pycocotools' own, and a case worked out by hand."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluate.scenes import encode, labelled_set, measure, proposals, rectangle

AREAS = {"all": "", "small": "_small", "medium": "_medium", "large": "_large"}


def coco_recalls(folder: Path, kind: str) -> dict[str, float]:
    """pycocotools' class-agnostic recall with its proposal settings, named as we name it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "labels.json"))
        judge = COCOeval(truth, truth.loadRes(str(folder / "results.json")), kind)
        judge.params.useCats = 0
        judge.params.maxDets = [10, 100, 1000]
        judge.evaluate()
        judge.accumulate()
    recall = judge.eval["recall"]  # (thresholds, 1, areas, max detections)
    found = {
        f"AR@{count}{suffix}": float(recall[:, 0, area, column].mean())
        for area, suffix in enumerate(AREAS.values())
        for column, count in enumerate(judge.params.maxDets)
    }
    for threshold, iou in ((0, 0.5), (4, 0.7)):
        for column, count in enumerate(judge.params.maxDets):
            found[f"recall@{count}_iou{iou}"] = float(recall[threshold, 0, 0, column])
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("noise", [3, 150])
def test_equals_pycocotools(tmp_path: Path, seed: int, noise: int) -> None:
    labels = labelled_set(seed, images=12)
    results = proposals(seed, labels, noise=noise)
    metrics = measure(tmp_path, labels, results)
    for kind in ("segm", "bbox"):
        expected = coco_recalls(tmp_path, kind)
        measured = {name: metrics[kind][name] for name in expected}
        assert measured == pytest.approx(expected, abs=1e-9)
        assert 0 < expected["AR@10"] < expected["AR@1000"] < 1, "the case tells nothing"


def test_more_than_a_thousand_proposals_are_cut_as_pycocotools_cuts_them(tmp_path: Path) -> None:
    labels = labelled_set(5, images=2, objects=9)
    results = proposals(5, labels, each=60, noise=900)
    assert len(results) > 2000
    metrics = measure(tmp_path, labels, results)
    assert metrics["proposals_per_image"] == 1000
    expected = coco_recalls(tmp_path, "segm")
    assert {n: metrics["segm"][n] for n in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.data
def test_equals_pycocotools_on_real_labels(tmp_path: Path, data_dir: Path) -> None:
    content = json.loads((data_dir / "coco/annotations/instances_val.json").read_text())
    content["images"] = content["images"][:25]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    results = proposals(3, content, each=6, noise=20)
    metrics = measure(tmp_path, content, results)
    for kind in ("segm", "bbox"):
        expected = coco_recalls(tmp_path, kind)
        assert {n: metrics[kind][n] for n in expected} == pytest.approx(expected, abs=1e-9)


def test_a_case_worked_out_by_hand(tmp_path: Path) -> None:
    """Two objects of 10x10 and one crowd; see the comments for the figures.

    Proposal 1 covers nothing. Proposals 2 … 10 lie in the crowd and must cost nothing but their
    rank. Proposal 11 is object A less 4 of its 10 columns: IoU 0.6. Proposal 12 is A itself, and
    object B is never found.
    """
    height, width = 40, 60
    a, b, crowd = (0, 0, 10, 10), (20, 0, 10, 10), (0, 20, 60, 20)
    labels = {
        "images": [{"id": 7, "file_name": "7.png", "width": width, "height": height}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {
                "id": number,
                "image_id": 7,
                "category_id": 1,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": int(box is crowd),
                "segmentation": encode(rectangle(height, width, box)),
            }
            for number, box in enumerate((a, b, crowd), 1)
        ],
    }
    boxes = [(50, 0, 5, 5), *[(5 * k, 25, 5, 5) for k in range(9)], (0, 0, 6, 10), a]
    results = [
        {
            "image_id": 7,
            "category_id": 1,
            "score": 1 - rank / 100,
            "bbox": list(box),
            "segmentation": encode(rectangle(height, width, box)),
        }
        for rank, box in enumerate(boxes)
    ]
    metrics = measure(tmp_path, labels, results)
    for kind in ("segm", "bbox"):
        found = metrics[kind]
        assert found["objects"] == {"all": 2, "small": 2, "medium": 0, "large": 0}
        assert found["AR@10"] == 0
        assert found["AR@100"] == pytest.approx(0.5)  # A at every IoU, of two objects
        assert found["AR@1000"] == found["AR@1000_small"] == pytest.approx(0.5)
        assert found["AR@100_medium"] is None
        # At rank 11, A counts up to IoU 0.6: at 3 of 10 thresholds, for one object of two. The
        # AUC grid has nothing at 11 or 12: 1 1 2 2 3 3 4 5 6 8 10 | 13 16 … 1000 (20 counts).
        assert found["curves"]["proposals"][7:9] == [10, 13]
        assert found["AUC"] == pytest.approx(0.5 * 20 / 31)
        assert found["recall@100_iou0.5"] == pytest.approx(0.5)
        low, high = found["intervals"]["AR@100"]
        assert low == high == pytest.approx(0.5)  # one image: every resample is that image
    (tmp_path / "eleven").mkdir()
    eleven = measure(tmp_path / "eleven", labels, results, limit=11)
    assert eleven["segm"]["AR@10"] == 0
    assert eleven["segm"]["AR@100"] == pytest.approx(0.5 * 3 / 10)
    assert eleven["segm"]["recall@100_iou0.7"] == 0


def test_the_auc_is_the_area_under_the_papers_curve() -> None:
    """Joined on the logarithmic axis, the paper's AR at 10, 100, 1000 give its AUC."""
    from deepmask.evaluate.metrics import AUC_COUNTS
    from deepmask.evaluate.published import COCO as ROWS

    deepmask = next(row for row in ROWS if row.method == "DeepMask")
    at = [value for value in deepmask.values[4:7] if value is not None]
    start = max(0.0, at[0] - (at[1] - at[0]))  # AR@1, which the paper does not print
    curve = np.interp(np.log10(AUC_COUNTS), [0, 1, 2, 3], [start, *at])
    assert float(curve.mean()) == pytest.approx(deepmask.values[10], abs=0.01)
