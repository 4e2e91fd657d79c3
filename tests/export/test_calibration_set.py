"""Photographs to calibrate on and to compare on, and the pictures that stand in for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmask.export.errors import ExportUsageError
from deepmask.export.precision.calibration_set import COMPARED, choose_photographs, drawn_pictures
from tests.export.conftest import write_photographs


def test_ten_of_many_photographs_are_kept_apart(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "many", 60)
    said: list[str] = []
    chosen = choose_photographs(folder, said.append)
    assert (len(chosen.calibrated), len(chosen.compared), chosen.apart) == (16, COMPARED, True)
    assert not set(chosen.calibrated) & set(chosen.compared)
    assert said == []
    numbers = sorted(int(path.stem) for path in chosen.calibrated + chosen.compared)
    assert (numbers[0], int(max(np.diff(numbers))) <= 3, numbers[-1] >= 57) == (0, True, True)


def test_too_few_photographs_serve_twice_and_bad_ones_are_told(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "few", 4)
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    said: list[str] = []
    chosen = choose_photographs(folder, said.append)
    assert chosen.calibrated == chosen.compared
    assert (len(chosen.compared), chosen.apart) == (4, False)
    assert len(said) == 1
    assert said[0].startswith(f"left out {folder / 'torn.jpg'}: ")


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportUsageError, match="no photograph there that can be read"):
        choose_photographs(tmp_path, print)
    with pytest.raises(ExportUsageError, match="absent: no such folder"):
        choose_photographs(tmp_path / "absent", print)


def test_drawn_pictures_are_ten_and_always_the_same() -> None:
    first, second = list(drawn_pictures()), list(drawn_pictures())
    assert len(first) == COMPARED
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(picture.std() > 20 and picture.dtype == np.uint8 for picture in first)
