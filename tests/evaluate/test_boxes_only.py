"""The installed command measures a model that gives boxes only, and tells what it cannot do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.scenes import Json, deepmask_eval, metrics_of, write
from tests.runtime.boxes_model import GRAY, write_boxes_model

RUN = ("--engine", "onnxruntime", "--device", "cpu")
#: x, y, side, tone of squares in the middle of an anchor.
SQUARES = [(36, 20, 16, 2 * GRAY), (24, 72, 32, 0), (120, 72, 32, 2 * GRAY)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of two squares, outlined and named as the model does; `boxes/`, `staged/`."""
    folder = tmp_path_factory.mktemp("boxes")
    (folder / "images").mkdir()
    images: list[Json] = []
    annotations: list[Json] = []
    for number in range(1, 4):
        picture = np.full((128, 192, 3), GRAY, np.uint8)
        for x, y, side, tone in (SQUARES[number % 3], SQUARES[(number + 1) % 3]):
            picture[y : y + side, x : x + side] = tone
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": number, "iscrowd": 0},
                    **{"category_id": 1 + (tone > 0), "bbox": [x, y, side, side]},
                    **{"area": side * side, "segmentation": [corners]},
                }
            )
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 128, "width": 192})
    categories = [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write(folder / "labels.json", content)
    write_boxes_model(folder / "boxes")
    write_boxes_model(folder / "plain", names=False)
    return folder


def test_boxes_and_names_are_measured(folder: Path) -> None:
    given = ("--annotations", folder / "labels.json", "--images", folder / "images")
    done = deepmask_eval(*given, "--model", folder / "boxes", *RUN, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(folder / "run")
    assert metrics["run"]["kinds"] == ["bbox"]
    assert metrics["bbox"]["AR@10"] == 1
    assert list(metrics["classes"]) == ["bbox"]
    found = metrics["classes"]["bbox"]
    assert found["AP"] == found["VOC_AP"] == found["VOC_AP11"] == pytest.approx(1)
    table = (folder / "run" / "table.txt").read_text()
    for words in ("RetinaNet, ResNet-50, 800 px", "RPN on FPN", "Boxes only: the proposals or"):
        assert words in table
    assert "mask A" not in table
    assert (folder / "run" / "contact-sheet.jpg").exists()


def test_a_model_without_categories_has_no_ap(folder: Path) -> None:
    given = ("--annotations", folder / "labels.json", "--images", folder / "images")
    done = deepmask_eval(*given, "--model", folder / "plain", *RUN, "--out", folder / "plain-run")
    assert done.returncode == 0, done.stderr
    metrics = metrics_of(folder / "plain-run")
    assert metrics["bbox"]["AR@10"] == 1
    assert "classes" not in metrics


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("--threshold", 0.3), "--threshold: boxes gives boxes only, no masks: leave it out"),
        (("--boxes-json", "named.json"), "--boxes-json: boxes names only boxes that it finds"),
    ],
)
def test_what_it_cannot_do_ends_in_one_line(
    folder: Path, more: tuple[object, ...], text: str
) -> None:
    write(folder / "named.json", [{"image_id": 1, "bbox": [1, 1, 9, 9], "score": 0.5}])
    more = tuple(folder / one if one == "named.json" else one for one in more)
    given = ("--annotations", folder / "labels.json", "--images", folder / "images")
    done = deepmask_eval(*given, "--model", folder / "boxes", *RUN, *more)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
