"""Image files of every kind, and those that are none."""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from deepmask.runtime.io.images import ImageError, read_image

RAMP = np.add.outer(np.arange(12) * 8, np.arange(20) * 4).astype(np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    image = read_image(save(tmp_path / "a.png", array))
    assert_array_equal(image, array)
    assert image.flags.writeable


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    array = np.where(RAMP[:, :, None] > 80, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    suffix = ".tif" if mode == "CMYK" else ".png"
    image = read_image(save(tmp_path / f"a{suffix}", array, mode))
    assert image.shape == (12, 20, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - array).max() <= 1


def test_cmyk_jpeg(tmp_path: Path) -> None:
    """A four-colour JPEG has the picture's colours, not their negative."""
    array = np.zeros((32, 32, 3), np.uint8)
    array[:] = (250, 30, 20)
    image = read_image(save(tmp_path / "a.jpg", array, "CMYK"))
    assert np.abs(image.astype(int) - array).max() < 30


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_gray_keeps_its_range(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", RAMP.astype(np.uint16) * 257))
    assert_array_equal(image, RAMP[:, :, None].repeat(3, axis=2))


def test_transparent_gray_of_16_bits_is_white(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 257
    image = read_image(save(tmp_path / "a.png", values, transparency=int(values[3, 5])))
    assert_array_equal(image[..., 0], np.where(RAMP[3, 5] == RAMP, 255, RAMP))


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int32])
def test_eight_bits_in_more_are_not_black(tmp_path: Path, dtype: Any) -> None:
    """The picture would be black throughout, which nobody would see in training."""
    path = save(tmp_path / "a.tif", RAMP.astype(dtype))
    with pytest.raises(ImageError, match="16-bit pixels of at most 164 of 65535 are all black"):
        read_image(path)
    black = read_image(save(tmp_path / "b.tif", np.zeros((4, 5), dtype)))
    assert not black.any()


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    """Alpha channel and transparent palette colour alike."""
    array = np.zeros((4, 4, 4), np.uint8)
    array[:2] = (10, 20, 30, 255)
    image = read_image(save(tmp_path / "a.png", array))
    assert (image[:2] == (10, 20, 30)).all()
    assert (image[2:] == 255).all()
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 9, 9, 40, 50, 60])
    palette.save(tmp_path / "b.png", transparency=0)
    assert read_image(tmp_path / "b.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (6, 10, 3)).astype(np.uint8)
    turned = upright if orientation < 5 else upright.transpose(1, 0, 2)
    rows, cols = (-1 if orientation in flipped else 1 for flipped in ((3, 4, 6, 7), (2, 3, 7, 8)))
    stored = turned[::rows, ::cols]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    assert_array_equal(read_image(path), upright)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.gif") == (255, 0, 0)).all()


def jpeg() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        ("folder", "not a file"),
        ("float", "floating-point pixels"),
        (b"", "the file is empty"),
        (jpeg()[:3000], "damaged or truncated"),
        (jpeg()[:30], "damaged or truncated"),
        (b"this is not a picture\n" * 20, "not an image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image that can be read"),
        (b"%PDF-1.4\n" + b"0" * 100, "not an image that can be read"),
        ("x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, content: Any, text: str) -> None:
    path = tmp_path / (f"{content}.tif" if isinstance(content, str) else "a.jpg")
    if content == "folder":
        path.mkdir()
    elif content == "float":
        save(path, np.ones((3, 3), np.float32))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert text in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_pixel_limit_comes_before_decoding(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    content = bytearray(path.read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(bytes(content))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"30000 x 30000 is 900.0 megapixels, the limit"):
            read_image(path)
    with pytest.raises(ImageError, match=r"0.0 megapixels, the limit is 1e-05"):
        read_image(save(tmp_path / "b.png", np.zeros((8, 8), np.uint8)), max_pixels=10)
