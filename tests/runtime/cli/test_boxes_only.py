"""The command with a model that gives boxes only: what is written of them, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.runtime.boxes_model import GRAY, write_boxes_model
from tests.runtime.cli.test_objects import pixels, table
from tests.runtime.cli.test_run import CPU, results_of, run

#: Two squares, and what they are called: x, y, width, height.
BOXES = {"bright": [36, 20, 16, 16], "dark": [24, 72, 32, 32]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model/`, and `a.png` with a bright square and a dark one."""
    folder = tmp_path_factory.mktemp("boxes")
    write_boxes_model(folder / "model")
    picture = np.full((128, 192, 3), GRAY, np.uint8)
    for name, (x, y, width, height) in BOXES.items():
        picture[y : y + height, x : x + width] = 2 * GRAY if name == "bright" else 0
    Image.fromarray(picture).save(folder / "a.png")
    return folder


def test_boxes_and_names_are_written_everywhere(folder: Path) -> None:
    words = ("--overlay", "o.png", "--html", "p.html", "--out", "r.json")
    done = run("a.png", *CPU, *words, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    results = results_of(folder / "r.json")
    assert len(results) == 2
    for result, name in zip(results, BOXES, strict=True):
        assert set(result) == {"image_id", "category_id", "bbox", "score", "category_score"}
        np.testing.assert_allclose(result["bbox"], BOXES[name], rtol=1e-4)
    rows = table(done.stdout)
    assert [row[7] for row in rows] == list(BOXES)
    assert [int(row[6]) for row in rows] == pytest.approx([256, 1024], abs=1)
    picture, drawn = pixels(folder / "a.png"), pixels(folder / "o.png")
    changed = (picture != drawn).any(axis=2)
    assert changed[100:104, 24:56].any()  # the lower side of the dark one
    assert not changed[85:95, 35:45].any()  # and nothing inside
    page = (folder / "p.html").read_text()
    shown = json.loads(page.split('a.png">')[1].split("</script>")[0])["objects"]
    assert [one["name"] for one in shown] == list(BOXES)
    assert [one["path"].count("L") for one in shown] == [3, 3]


def test_labelme_has_rectangles(folder: Path) -> None:
    options = ("--format", "labelme", "--out", "out", "--categories", "dark", "--top", "5")
    assert run("a.png", *CPU, *options, cwd=folder).returncode == 0
    [shape] = json.loads((folder / "out" / "a.json").read_text())["shapes"]
    assert (shape["shape_type"], shape["label"]) == ("rectangle", "dark")
    np.testing.assert_allclose(shape["points"], [[24, 72], [56, 104]], rtol=1e-4)


@pytest.mark.parametrize(
    "option",
    [
        *(("--format", kind) for kind in ("png", "cutout", "yolo-seg")),
        ("--flat",),
        ("--threshold", "0.3"),
    ],
)
def test_what_needs_masks_ends_in_one_line(folder: Path, option: tuple[str, ...]) -> None:
    done = run("a.png", *CPU, *option, "--out", "none", cwd=folder)
    assert done.returncode == 2
    flag = " ".join(option) if option[0] == "--format" else option[0]
    assert f"{flag}: boxes gives boxes only, no masks: leave it out, or give the" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "none").exists()


def test_proposals_are_all_that_is_sure_enough(folder: Path) -> None:
    def count(*options: str) -> int:
        done = run("a.png", *CPU, "--out", "n.json", "--force", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        return len(results_of(folder / "n.json"))

    assert count("--proposals", "100", "--label-score", "0.02") > count("--proposals", "100")
    assert count("--proposals", "100", "--label-score", "0.99") == 0
    assert count("--min-score", "0.99") == 0
    assert count("--top", "1") == 1
    assert count("--no-labels") >= 2
