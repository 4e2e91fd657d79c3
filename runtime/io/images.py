"""Decode image files of many formats to RGB; say in one line what is wrong with a bad one."""

from __future__ import annotations

from collections.abc import Callable
from os import SEEK_END
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from deepmask.runtime.errors import OneLineError, one_line

#: Formats that are read. Pillow knows more; some of those start other programs.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
#: Names of files that a folder given as input is searched for.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp"),
    *(".gif", ".ppm", ".pgm", ".avif", ".jp2"),
)
#: Maximum number of pixels of an image; checked before any is decoded.
MAX_PIXELS = 100_000_000

#: Decoders of these hold several copies of a picture: their limit is so many times lower.
_MORE_MEMORY = {"WEBP": 3, "AVIF": 2, "JPEG2000": 2}
_STRIP_PIXELS = 4_000_000
#: Kinds of pixels that are read; Pillow has no colours for others, or no range.
_MODES = (
    *("1", "L", "P", "RGB", "RGBX", "RGBA", "RGBa", "LA", "La", "PA", "CMYK", "YCbCr", "HSV"),
    *("I", "I;16", "I;16L", "I;16B", "I;16N"),
)

Image.init()
_READABLE = [name for name in FORMATS if name in Image.OPEN]  # Pillow may lack one's library
_pillow_limit = Lock()

_EXIF_ORIENTATION = 0x0112
#: EXIF stands at the front of a file, or at the end of a PNG or WebP; XMP, which Pillow follows
#: where EXIF says nothing, is text. The formats beside JPEG are opened if they may have some.
_END = 1 << 16
_XMP = b"tiff:Orientation"
_JPEG, _JPEG_MARKS = b"\xff\xd8", (b"Exif\0\0", _XMP)
_MARKS = (b"Exif\0\0", b"eXIf", b"EXIF", b"VP8X", b"II*\0", b"MM\0*", b"ftyp", _XMP)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_INVERSE = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}

#: Width and height in pixels.
Size = tuple[int, int]


class ImageError(OneLineError):
    """An image that cannot be used; the text is one line and begins with the file."""


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Decode a file to (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Gray, palette, CMYK and 16-bit images are converted; transparent ones are laid on white, as
    viewers show them; of several frames the first is taken. Raises `ImageError` for a file that is
    missing, empty, truncated, not an image of `FORMATS`, of floating-point pixels, of 16-bit pixels
    that hold 8-bit values, or over `max_pixels` (a half or a third of it for formats whose decoders
    take more memory).
    """
    return read_turned(path, lambda stored, shown: True, max_pixels)


def read_turned(
    path: str | Path, turn: Callable[[Size, Size], bool], max_pixels: int = MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Read as `read_image` does, but ask `turn` whether to follow an EXIF orientation.

    It is given the size as stored and as shown, and only called for a picture that EXIF turns.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ImageError(f"{path}: no such file")
        if not path.is_file():
            raise ImageError(f"{path}: not a file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty")
        with _open_any_size(path) as image:
            limit = max_pixels // _MORE_MEMORY.get(image.format or "", 1)
            _check_size(path, image.width, image.height, limit)
            exif = _turn_of(image)
            if exif is not None:
                # Pillow 13 maps files that have a name, and turned TIFFs then with scrambled rows.
                image.filename = ""  # type: ignore[attr-defined]
            image.load()
            found = _missing_turn(image, exif, turn)
            if found is None:
                return _to_rgb(path, image)
            turned = image.transpose(found)
            image.close()  # gives its pixels back: large ones must not lie in memory twice
            return _to_rgb(path, turned)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image that can be read ({', '.join(FORMATS)})") from error
    except Exception as error:  # a damaged file makes Pillow's readers fail in many ways
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
        text = str(error).strip().split("\n", 1)[0][:120] or type(error).__name__
        raise ImageError(f"{path}: damaged or truncated ({text})") from error


def _open_any_size(path: Path) -> Image.Image:
    """Read a file's header without Pillow's own pixel limit: `max_pixels` is checked next."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=_READABLE)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: {width} x {height} is {width * height / 1e6:.1f} megapixels, the limit is "
            f"{max_pixels / 1e6:g} (--max-pixels raises it)"
        )
    if width * height == 0:
        raise ImageError(f"{path}: {width} x {height}, no pixels")


def turned_sizes(path: Path) -> tuple[Size, Size] | None:
    """Return the sizes as stored and as shown of a picture that EXIF turns, from its header.

    None for another picture, and for a file that cannot be read.
    """
    try:
        if not _may_be_turned(path):
            return None
        with _open_any_size(path) as image:
            turn = _turn_of(image)
            if turn is None:
                return None
            sizes = image.size, _turned_size(image, turn)
            return sizes[::-1] if image.format == "TIFF" else sizes
    except Exception:  # whoever reads the picture says what is wrong with it
        return None


def _may_be_turned(path: Path) -> bool:
    with path.open("rb") as file:
        ends = file.read(_END)
        if ends.startswith(_JPEG):
            return any(mark in ends for mark in _JPEG_MARKS)
        file.seek(max(_END, file.seek(0, SEEK_END) - _END))
        ends += file.read(_END)
    return any(mark in ends for mark in _MARKS)


def image_size(path: Path) -> tuple[Size, Size]:
    """Return the size of a picture as stored and as shown, from its header.

    Raises `ImageError` for a file that is no image that can be read.
    """
    try:
        with _open_any_size(path) as image:
            _check_size(path, image.width, image.height, MAX_PIXELS)
            size = image.size
    except ImageError:
        raise
    except Exception as error:  # a damaged file makes Pillow's readers fail in many ways
        text = one_line(error)[:120]
        raise ImageError(f"{path}: not an image that can be read ({text})") from error
    return turned_sizes(path) or (size, size)


def _missing_turn(
    image: Image.Image, exif: Image.Transpose | None, turn: Callable[[Size, Size], bool]
) -> Image.Transpose | None:
    """Return what is to be done to a loaded image, given the turn that its file asks for."""
    if exif is None:
        return None
    follows = _turn_of(image) is None  # Pillow turns TIFFs itself
    sizes = image.size, _turned_size(image, exif)
    wanted = turn(*(sizes[::-1] if follows else sizes))
    if wanted == follows:
        return None
    return exif if wanted else _INVERSE.get(exif, exif)


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # a damaged EXIF block does not spoil the picture
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _turned_size(image: Image.Image, turn: Image.Transpose) -> Size:
    lying = turn in (
        *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    )
    return (image.height, image.width) if lying else image.size


def _to_rgb(path: Path, image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode == "F":
        raise ImageError(f"{path}: floating-point pixels have no known range, use 8 or 16 bit")
    if image.mode not in _MODES:
        raise ImageError(f"{path}: colours in {image.mode} are not read, save it as RGB")
    if image.mode.startswith("I"):
        low, high = _extremes(image)
        if low < 0 or high >= 1 << 16:
            raise ImageError(f"{path}: 32-bit pixels have no known range, use 8 or 16 bit")
        if 0 < high < 1 << 8:
            raise ImageError(
                f"{path}: 16-bit pixels of at most {high} of 65535 are all black, save it as 8 bit"
            )
    if image.mode == "RGB" and not image.has_transparency_data:
        return np.array(image)
    # A strip at a time: conversions of a large image take several times its memory.
    rows = max(1, _STRIP_PIXELS // image.width)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = _convert(image.crop((0, top, image.width, bottom)))
    return pixels


def _extremes(image: Image.Image) -> tuple[int, int]:
    if image.mode in ("I", "I;16"):
        low, high = image.getextrema()
    else:  # of the other orders of bytes Pillow has no range
        values = np.asarray(image)
        low, high = values.min(), values.max()
    return int(low), int(high)  # type: ignore[arg-type]


def _convert(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16-bit gray, also where it is held in 32 bits
        values = np.asarray(image).astype(np.int64)
        gray = (values >> 8).astype(np.uint8)
        gray[values == image.info.get("transparency", -1)] = 255
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        opaque = image.convert("RGBA")
        white = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(white, opaque)
    return np.array(image.convert("RGB"))
