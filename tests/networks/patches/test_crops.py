"""Patches and masks show the same place, in place and scale, flipped or not."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmask.coco.annotations import Annotation, Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.networks.patches.crops import ByteCache, Cropper
from deepmask.networks.patches.sampling import Window

WIDTH, HEIGHT = 300, 200


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, Annotation]:
    """A white square on black, x 120…180, y 70…130, and its polygon."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[70:130, 120:180] = 255
    path = tmp_path_factory.mktemp("square") / "square.png"
    cv2.imwrite(str(path), picture)
    image = Image(1, path, WIDTH, HEIGHT)
    polygon = [[120, 70, 180, 70, 180, 130, 120, 130]]
    box = (120.0, 70.0, 60.0, 60.0)
    return image, Annotation(1, image, 1, False, 3600.0, box, polygon)


@settings(max_examples=60, deadline=None)
@given(st.floats(100, 200), st.floats(60, 140), st.floats(0.15, 3.0), st.booleans())
def test_square_lands_where_the_window_says(
    square: tuple[Image, Annotation], x: float, y: float, scale: float, flip: bool
) -> None:
    image, instance = square
    window = Window(x, y, scale, flip)
    size = 160
    patch = Cropper(10**8).patch(image, window, size)[:, :, 0] > 160  # brighter than the border
    mask = Cropper(10**8).mask(instance, window, size, size) > 0
    sign = -1 if flip else 1
    left, right = sorted(size / 2 + sign * scale * (edge - x) for edge in (120, 180))
    top, bottom = (size / 2 + scale * (edge - y) for edge in (70, 130))
    centre = np.arange(size) + 0.5

    def inside(off: float) -> npt.NDArray[np.bool_]:
        rows = (centre > top + off) & (centre < bottom - off)
        return np.outer(rows, (centre > left + off) & (centre < right - off))

    slack = 1.0 + scale / 2  # interpolation at the square's own pixel edges
    for found in (patch, mask):
        assert not (inside(slack) & ~found).any()
        assert not (found & ~inside(-slack)).any()
    area, most = int(inside(0).sum()), 4 * slack * max(bottom - top, right - left) + 16
    assert area == 0 or abs(int(mask.sum()) - area) <= most


def test_beyond_the_picture_is_gray(square: tuple[Image, Annotation]) -> None:
    image, _ = square
    patch = Cropper(10**8).patch(image, Window(-100, -100, 1.0), 64)
    assert np.abs(patch.astype(float) - 127.5).max() <= 0.5


def test_mask_may_be_drawn_smaller_than_the_patch(square: tuple[Image, Annotation]) -> None:
    _, instance = square
    window = Window(150, 100, 1.0)
    large = Cropper(10**8).mask(instance, window, 112, 112)
    small = Cropper(10**8).mask(instance, window, 112, 56)
    assert np.array_equal(small, cv2.resize(large, (56, 56), interpolation=cv2.INTER_AREA))


def test_two_files_may_number_their_objects_alike(square: tuple[Image, Annotation]) -> None:
    """Masks of the same picture and id, from a labelled and a partly labelled file."""
    image, first = square
    second = Annotation(1, image, 1, False, 100.0, (0.0, 0.0, 10.0, 10.0), [[0, 0, 10, 0, 10, 10]])
    cropper, window = Cropper(10**8), Window(150, 100, 1.0)
    assert cropper.mask(first, window, 64, 64).any()
    assert not cropper.mask(second, window, 64, 64).any()


def test_colours_are_rgb(tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, :, 2] = 200  # OpenCV writes BGR: a red picture
    cv2.imwrite(str(tmp_path / "red.png"), picture)
    patch = Cropper(10**8).patch(Image(1, tmp_path / "red.png", 40, 40), Window(20, 20, 1.0), 32)
    assert patch[16, 16].tolist() == [200, 0, 0]


def exif_rotated(path: Path) -> None:
    """A 60×40 JPEG whose EXIF says: turn by 90° for showing."""
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.new("RGB", (60, 40), (10, 200, 30)).save(path, exif=exif)


@pytest.mark.parametrize("size", [(60, 40), (40, 60)])
def test_annotated_size_decides_the_orientation(tmp_path: Path, size: tuple[int, int]) -> None:
    exif_rotated(tmp_path / "turned.jpg")
    picture = read_picture(Image(1, tmp_path / "turned.jpg", *size))
    assert picture.shape == (size[1], size[0], 3)


def test_wrong_size_and_broken_files_name_the_image(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text(json.dumps({}))
    with pytest.raises(LabelError, match=r"bad\.jpg: not an image .*\(image 7\)"):
        read_picture(Image(7, tmp_path / "bad.jpg", 10, 10))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(LabelError, match="annotated as 10×10, found 6×5 pixels"):
        read_picture(Image(8, tmp_path / "small.png", 10, 10))


def test_cache_makes_once_and_forgets_the_oldest() -> None:
    made: list[str] = []
    cache: ByteCache[str] = ByteCache(10, len)

    def make(key: str) -> str:
        made.append(key)
        return key * 5

    def get(key: str) -> str:
        return cache.get(key, lambda: make(key))

    for key in ("a", "b", "a", "c", "a", "b"):
        assert get(key) == key * 5
    assert made == ["a", "b", "c", "b"]
