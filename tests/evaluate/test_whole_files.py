"""Files of an evaluation appear whole, and what killed runs left of them goes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from deepmask.evaluate.contact_sheet import write_sheet, write_tile
from deepmask.evaluate.figures import _write
from deepmask.evaluate.ground_truth import Objects
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.records import write_text
from deepmask.runtime.io import atomic


def tile(folder: Path) -> None:
    boxes = np.array([[2.0, 2, 8, 8]])
    objects = Objects(np.array([1]), np.array([64.0]), boxes, None)
    image = np.zeros((20, 30, 3), np.uint8)
    write_tile(folder, 1, image, objects, Candidates(np.array([0.5]), boxes, None), "bbox")


def sheet(folder: Path) -> None:
    tile(folder)
    assert write_sheet(folder, "title") == folder / "contact-sheet.jpg"


WRITERS: dict[str, Callable[[Path], object]] = {
    "table.txt": lambda folder: write_text(folder / "table.txt", "AR é\n"),
    "recall.png": lambda folder: _write(Figure(), folder / "recall.png"),
    "recall.svg": lambda folder: _write(Figure(), folder / "recall.svg"),
    "tiles/000000000001.png": tile,
    "contact-sheet.jpg": sheet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_appears_whole_and_nothing_beside_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    mine = [path.with_name(path.name + ".tmp"), path.with_suffix(".tmp")]
    left = path.with_name(f"{path.name}.1.{atomic._MACHINE}{atomic.SUFFIX}")
    for other in (*mine, left):
        other.write_bytes(b"half")
    WRITERS[name](tmp_path)
    content = path.read_bytes()
    if path.suffix in (".png", ".jpg"):
        Image.open(io.BytesIO(content)).verify()
    else:
        assert content.decode().rstrip().endswith({".txt": "AR é", ".svg": "</svg>"}[path.suffix])
    assert all(other.read_bytes() == b"half" for other in mine)
    assert left.exists() is not atomic._HAS_LOCKS
    assert not [one for one in tmp_path.rglob(f"*{atomic.SUFFIX}") if one != left]
