"""Results files: read in pieces, in any order, and refused with one clear line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmask.coco.annotations import Image
from deepmask.evaluate import proposals_json as results_module
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.proposals_json import ResultsFile
from tests.evaluate.scenes import encode, rectangle

PICTURES = {i: Image(i, Path(f"{i}.png"), 20, 10) for i in (1, 2, 3)}


def result(image_id: int = 1, **changes: Any) -> dict[str, Any]:
    return {"image_id": image_id, "score": 0.5, "bbox": [1, 1, 4, 4], **changes}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    images=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=12),
    chunk=st.integers(1, 64),
    indent=st.sampled_from([None, 0, 2]),
    note=st.sampled_from(["", 'a "} ],[{\\ ü 漢 \n']),
)
def test_any_layout_and_order_is_read_as_json_reads_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: list[int],
    chunk: int,
    indent: int | None,
    note: str,
) -> None:
    """Whatever the layout, and wherever a block of the file ends."""
    listed = [result(i, score=0.9 - n / 100, note=note) for n, i in enumerate(images)]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(listed, indent=indent, ensure_ascii=chunk % 2 == 0), "utf-8")
    monkeypatch.setattr(results_module, "_CHUNK", chunk)
    file = ResultsFile(path, PICTURES)
    assert file.images() == set(images)
    assert not file.has_masks
    for image_id in PICTURES:
        expected = [entry["score"] for entry in listed if entry["image_id"] == image_id]
        assert file.candidates(image_id).scores.tolist() == expected


def test_equal_scores_keep_the_order_of_category_then_file(tmp_path: Path) -> None:
    listed = [
        result(category_id=category, bbox=[x, 0, 1, 1], score=score)
        for x, (category, score) in enumerate([(2, 0.5), (1, 0.5), (1, 0.5), (2, 0.7)])
    ]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(listed))
    found = ResultsFile(path, PICTURES).candidates(1)
    assert found.boxes[:, 0].tolist() == [3, 1, 2, 0]


def test_a_box_left_out_is_the_tight_box_of_the_mask(tmp_path: Path) -> None:
    mask = rectangle(10, 20, (3, 2, 5, 4))
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"image_id": 1, "score": 1, "segmentation": encode(mask)}]))
    found = ResultsFile(path, PICTURES).candidates(1)
    assert np.array_equal(found.boxes, [[3, 2, 5, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold one list"),
        ('{"annotations": []}', "must hold one list"),
        ("[]", "holds no results"),
        ("[", "ends in the middle"),
        ('[{"image_id": 1, "score": 1, "bbox": [1,1,1,1]}', "ends in the middle"),
        ('[{"image_id": 1, "score": 1, "bbox": [1,1,1', "not valid JSON, in the result at byte 1"),
        ('[{"image_id": 1} {"image_id": 1}]', "not valid JSON at byte 17"),
        ("[7]", "a result is expected at byte 1"),
        ('[{"image_id": 99, "score": 1}]', "names image 99, which the annotations do not have"),
        ('[{"image_id": "one", "score": 1}]', "names image 'one', which"),
        ('[{"image_id": [1], "score": 1}]', "names image [1], which"),
        ('[{"score": 1}]', "names image null"),
        ('[{"image_id": NaN}]', "NaN is not a number"),
        ('[{"image_id": ' + "[" * 100_000 + "]" * 100_000 + "}]", "nested too deeply"),
        ('[{"image_id": ' + "9" * 5000 + "}]", "not valid JSON"),
        ('[{"image_id":1,"score":1},{"image_id":1,"segmentation":{}}]', "some have none"),
        ("\x00\x01\xff", "must hold one list"),
    ],
)
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(EvalError) as caught:
        ResultsFile(path, PICTURES)
    assert message in str(caught.value)
    assert "bad.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "high"}, "result 0: score must be a finite number, not 'high'"),
        ({"score": 10**400}, "result 0: score must be a finite number"),
        ({"bbox": [1, 1, 2]}, "result 0: bbox must be finite numbers"),
        ({"bbox": [1, 1, -2, 2]}, "result 0: bbox must be"),
        ({"bbox": [1, 1, 1e300, 2]}, "result 0: bbox must be"),
        ({"bbox": [1, 1, 10**400, 2]}, "result 0: bbox must be"),
        ({"category_id": 10**30}, "category_id must be a number"),
        ({"segmentation": {"size": [20, 10], "counts": "X6"}}, "has size [20, 10], the image has"),
        ({"segmentation": {"size": [10, 20], "counts": "zz"}}, "is not a COCO RLE of that size"),
        ({"segmentation": "mask"}, "neither a list of polygons nor an RLE"),
        ({"segmentation": [[0, 0, 1]]}, "three or more x, y pairs"),
    ],
)
def test_a_wrong_result_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps([result(**changes)]))
    file = ResultsFile(path, PICTURES)
    with pytest.raises(EvalError, match="image 1: result 0") as caught:
        file.candidates(1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_marks_nulls_and_ids_as_text_are_read(tmp_path: Path) -> None:
    picture = Image(1, Path("a.png"), 30, 20)
    result = {"image_id": "1", "category_id": None, "score": 1, "bbox": [1, 2, 3, 4]}
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{**result, "segmentation": None}]), encoding="utf-8-sig")
    file = ResultsFile(path, {1: picture})
    assert not file.has_masks
    assert file.candidates(1).boxes.tolist() == [[1, 2, 3, 4]]
    for key in ("score", "bbox"):
        path.write_text(json.dumps([{**result, key: None}]))
        with pytest.raises(EvalError, match=f"result 0: {key} must be .*, not null"):
            ResultsFile(path, {1: picture}).candidates(1)
