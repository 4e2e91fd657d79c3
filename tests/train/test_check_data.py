"""What only looking at the pictures shows."""

from __future__ import annotations

import json
from pathlib import Path

from deepmask.coco.reader import read_coco
from deepmask.train.check_data import check_pictures
from tests.evaluate.scenes import write


def test_wrong_sizes_and_empty_masks_are_found(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["images"][0]["width"] += 1
    content["annotations"][-1]["segmentation"] = [[1, 1, 1, 1, 1, 1]]
    problems = list(check_pictures(read_coco(write(tmp_path / "a.json", content), drawn[1])))
    assert [problem.image for problem in problems] == [1, 6]
    assert [problem.kind for problem in problems] == ["file", "outline"]
    assert "annotated as" in problems[0].text
    assert problems[1].annotation == content["annotations"][-1]["id"]
