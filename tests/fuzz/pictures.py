"""Hostile pictures: real encodings of every format and pixel type, damaged."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from deepmask.runtime.io.images import ImageError, read_image
from tests.fuzz.mutations import EDGES, Target, damaged

HEIGHT, WIDTH = 17, 24
_PNG = b"\x89PNG\r\n\x1a\n"


@cache
def encodings() -> tuple[bytes, ...]:
    """Encode small pictures in each format, pixel type, orientation and compression."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    deep = Image.fromarray(rng.integers(0, 65536, (HEIGHT, WIDTH), np.uint16))
    modes = {mode: colours.convert(mode) for mode in ("L", "P", "RGBA", "CMYK", "LA", "1", "F")}
    exif = Image.Exif()
    exif[0x0112] = 6
    frames: dict[str, Any] = {"save_all": True, "append_images": [modes["RGBA"], colours]}
    wanted: list[tuple[Image.Image, str, dict[str, Any]]] = [
        *((colours, name, {}) for name in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM")),
        *((modes[mode], "PNG", {}) for mode in ("L", "P", "RGBA", "LA", "1")),
        *((modes[mode], "TIFF", {}) for mode in ("1", "P", "RGBA", "CMYK", "F", "LA")),
        *((deep, name, {}) for name in ("PNG", "TIFF", "PPM")),
        (modes["P"], "PNG", {"transparency": 3}),
        *((colours, name, frames) for name in ("PNG", "GIF")),
        (colours, "WEBP", {**frames, "lossless": True}),
        (colours, "MPO", {**frames, "append_images": [colours]}),
        (colours, "JPEG", {"exif": exif, "progressive": True}),
        (modes["CMYK"], "JPEG", {}),
        (modes["L"], "JPEG", {"icc_profile": b"profile" * 9}),
        *((colours, "TIFF", {"compression": c}) for c in ("tiff_lzw", "jpeg", "packbits")),
        (colours, "TIFF", {"compression": "tiff_deflate", "exif": exif}),
        (modes["1"], "TIFF", {"compression": "group4"}),
        (modes["L"], "BMP", {}),
        (modes["RGBA"], "AVIF", {}),
        (colours, "JPEG2000", {}),
        (modes["RGBA"], "JPEG2000", {"irreversible": True}),
    ]
    encoded = []
    for picture, name, options in wanted:
        if name in Image.SAVE:  # Pillow may lack one's library
            file = io.BytesIO()
            picture.save(file, name, **options)
            encoded.append(file.getvalue())
    return tuple(encoded)


def make(chance: Random) -> bytes:
    """Damage one of the encodings; often correct a PNG's checksums again."""
    whole = encodings()
    seed = chance.choice(whole)
    if seed.startswith(_PNG) and chance.random() < 0.3:
        width, height = (chance.choice((*EDGES, 1, WIDTH, 10_000, 100_000)) for _ in "wh")
        seed = seed[:16] + struct.pack(">II", width, height) + seed[24:]
        return _with_checksums(seed)
    content = damaged(seed, chance)
    if chance.random() < 0.1:  # the head of one, the body of another
        content = content[: len(content) // 2] + chance.choice(whole)[len(content) // 2 :]
    return _with_checksums(content) if chance.random() < 0.7 else content


def _with_checksums(content: bytes) -> bytes:
    """Return a PNG with correct checksums for its chunks; other files as they are."""
    if not content.startswith(_PNG):
        return content
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        end = min(at + 8 + length, len(content) - 4)
        chunk = content[at + 4 : end]
        parts += [content[at : at + 4], chunk, zlib.crc32(chunk).to_bytes(4, "big")]
        at = end + 4
    return b"".join(parts) + content[at:]


def read(path: Path) -> None:
    """Read the file's pixels; few are allowed, as all real content is small."""
    image = read_image(path)
    assert (image.dtype.name, image.ndim, image.shape[2]) == ("uint8", 3, 3)
    assert image.size > 0


TARGETS = (Target("pictures", make, read, (ImageError,)),)
