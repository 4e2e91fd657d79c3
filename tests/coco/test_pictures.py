"""Pictures as labels mean them: all rooms see the same pixels, whatever the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Pillow

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture, undecided, undecided_note
from deepmask.networks.patches.crops import Cropper
from deepmask.networks.patches.sampling import Window
from deepmask.runtime.io.images import ImageError, image_size, read_image, turned_sizes

FORMATS = {
    ".png": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    ".jpg": ("RGB", "L", "CMYK"),
    ".tif": ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"),
    ".webp": ("RGB", "RGBA"),
}
KINDS = [(suffix, mode) for suffix, modes in FORMATS.items() for mode in modes]


def drawn(path: Path, mode: str, size: tuple[int, int], turn: int, seed: int) -> Path:
    """A picture of noise in a mode and format, of a size as stored, with an EXIF orientation."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4)).astype(np.uint8)
    if mode == "I;16":
        picture = Pillow.fromarray(noise[..., 0].astype(np.uint16) * 257)
    else:
        picture = Pillow.fromarray(noise[..., :3] if mode != "RGBA" else noise).convert(mode)
    options: dict[str, Any] = {}
    if turn > 1:
        options["exif"] = Pillow.Exif()
        options["exif"][0x0112] = turn
    picture.save(path, **options)
    return path


UPRIGHT: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(KINDS),
    size=st.sampled_from([(24, 16), (16, 24), (16, 16)]),
    turn=st.integers(1, 8),
    as_stored=st.sampled_from([None, False, True]),
    labels_stored=st.booleans(),
    seed=st.integers(0, 99),
)
def test_all_rooms_see_the_same_pixels(
    tmp_path: Path,
    kind: tuple[str, str],
    size: tuple[int, int],
    turn: int,
    as_stored: bool | None,
    labels_stored: bool,
    seed: int,
) -> None:
    suffix, mode = kind
    path = drawn(tmp_path / f"a{suffix}", mode, size, turn, seed)
    shown = read_image(path)
    assert image_size(path) == (size, (shown.shape[1], shown.shape[0]))
    sizes = turned_sizes(path)
    assert (sizes is None) == (turn == 1)
    asked = size if labels_stored else (shown.shape[1], shown.shape[0])
    image = Image(1, path, asked[0], asked[1], as_stored)
    stored_is_meant = as_stored
    if as_stored is None:
        stored_is_meant = labels_stored and size != (shown.shape[1], shown.shape[0])
        same = size == (shown.shape[1], shown.shape[0])
        assert bool(undecided([image])) == (turn > 1 and same)
    else:
        assert not undecided([image])
    expected = shown
    if stored_is_meant:
        plain = drawn(tmp_path / f"b{suffix}", mode, size, 1, seed)
        expected = read_image(plain)
        assert np.array_equal(UPRIGHT[turn](expected), shown)
    if expected.shape[:2] != (image.height, image.width):
        with pytest.raises(LabelError, match=r"a\.\w+ \(image 1\): annotated as"):
            read_picture(image)
        return
    pixels = read_picture(image)
    assert np.array_equal(pixels, expected)
    relative = Image(1, Path(path.name), asked[0], asked[1], as_stored)
    assert np.array_equal(read_picture(relative, tmp_path), pixels)
    window = Window(8.0, 8.0, 1.0)
    patch = Cropper(10**6).patches([(image, window)], 16)
    assert np.array_equal(patch[0].permute(1, 2, 0).numpy(), pixels[:16, :16])


def test_pictures_whose_size_fits_both_are_named(tmp_path: Path) -> None:
    images = [
        Image(n, drawn(tmp_path / f"{n}.jpg", "RGB", (16, 16), turn, 0), 16, 16)
        for n, turn in enumerate([1, 3, 6, 1, 8, 2], 1)
    ]
    found = undecided(images)
    assert [image.id for image in found] == [2, 3, 5, 6]
    assert "2.jpg" in undecided_note(found)
    assert "and 1 more" in undecided_note(found)
    assert "--labels-are" in undecided_note(found)
    relative = [Image(image.id, Path(image.path.name), 16, 16) for image in images]
    assert [image.id for image in undecided(relative, tmp_path)] == [2, 3, 5, 6]
    gone = Image(9, tmp_path / "gone.jpg", 16, 16)
    assert not undecided([gone])


def test_pixels_without_colours_or_range_are_refused(tmp_path: Path) -> None:
    Pillow.new("LAB", (5, 5)).save(tmp_path / "lab.tif")
    wide = np.full((5, 5), 1 << 20, np.int32)
    Pillow.fromarray(wide).save(tmp_path / "wide.tif")
    Pillow.fromarray(wide % 60_000).save(tmp_path / "narrow.tif")
    with pytest.raises(ImageError, match="colours in LAB are not read, save it as RGB"):
        read_image(tmp_path / "lab.tif")
    with pytest.raises(ImageError, match="32-bit pixels have no known range, use 8 or 16 bit"):
        read_image(tmp_path / "wide.tif")
    assert (read_image(tmp_path / "narrow.tif") == (1 << 20) % 60_000 >> 8).all()


def test_sizes_of_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8Exif\0\0 no picture")
    assert turned_sizes(tmp_path / "a.jpg") is None
    with pytest.raises(ImageError, match="not an image that can be read"):
        image_size(tmp_path / "a.jpg")
