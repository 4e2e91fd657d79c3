"""Write results as COCO JSON, image by image, so that an interrupted run leaves whole files."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from operator import index as index_of
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask.runtime.distribution import NAME
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.atomic import abort, commit, new_file, remove_stale
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.written import remember, write_known

#: Suffixes of pictures that can be written, and Pillow's names of their formats.
PICTURES: Mapping[str, str] = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"},
}

_COCO_NAME = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?(\d{12})")


class ResultsError(OneLineError):
    """A result file that cannot be written."""


class ResultsWriter:
    """Write COCO results of image after image, and a list of the images and their ids.

    `path` holds the results; `path` with the suffix `.images.json` holds COCO's `images` and
    `categories`, so that `COCO(images_path).loadRes(path)` works. Both get their names on exit,
    also when an exception, a full disk or Ctrl-C ends the block, and then hold every image that was
    added by then. Without any image no file appears.
    """

    def __init__(
        self, path: Path, categories: Mapping[int, str] = {1: "object"}, note: str = ""
    ) -> None:
        """Open both temporary files, in a folder that is made if need be; raises `ResultsError`.

        categories  names of those that results may have, by id.
        note        what a reader of the results should know.
        """
        if path.is_dir():
            raise ResultsError(f"{path}: is a folder, expected the name of a JSON file")
        self.path, self.images_path = result_files(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from error
        made_by = json.dumps("; ".join(filter(None, [f"made by {NAME}", note])))
        head = f'{{"info": {{"description": {made_by}}}, "images": [\n'
        known = json.dumps([{"id": one, "name": name} for one, name in categories.items()])
        self._results = _ArrayFile(self.path, "[\n", "\n]\n")
        try:
            tail = f'\n], "categories": {known}, "annotations": []}}\n'
            self._images = _ArrayFile(self.images_path, head, tail)
        except ResultsError:
            self._results.drop()
            raise
        # Of the two arrays, after the last whole image; and how many images that is.
        self._whole: tuple[int, int, int] | None = None

    def add(
        self,
        results: Sequence[Mapping[str, Any]],
        image_id: int,
        name: str,
        height: int,
        width: int,
    ) -> None:
        """Write one image's results, and the image itself even if it has none."""
        image = {"id": index_of(image_id), "file_name": name, "height": height, "width": width}
        number = self.images + 1
        # One assignment: an interrupt leaves both files at the end of the same image.
        self._whole = self._results.append(results), self._images.append([image]), number

    @property
    def images(self) -> int:
        """Return how many images were added, which is how many the files will hold."""
        return 0 if self._whole is None else self._whole[2]

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._whole is None:
            self._results.drop()
            self._images.drop()
            return
        try:
            self._images.keep(self._whole[1])
        finally:
            self._results.keep(self._whole[0])
        # Only now: what a killed run left is whole up to some image.
        remove_stale(self.path, self.images_path)


def result_files(path: Path) -> tuple[Path, Path]:
    """Return the files that a `ResultsWriter` writes: the results, and the list of images."""
    return path, path.with_suffix(".images.json")


def image_ids(paths: Sequence[Path]) -> list[int]:
    """Return an id for each image: the number in a COCO file name, else the next free number."""
    numbers: dict[int, int] = {}
    for index, path in enumerate(paths):
        if match := _COCO_NAME.fullmatch(path.stem):
            numbers.setdefault(int(match[1]), index)
    ids = {index: number for number, index in numbers.items()}
    free = (number for number in count(1) if number not in numbers)
    return [ids[index] if index in ids else next(free) for index in range(len(paths))]


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB in the format of its suffix.

    Raises `ResultsError`.
    """
    write_file(path, encode_picture(picture, PICTURES[path.suffix.lower()]))


def encode_picture(picture: npt.NDArray[Any], kind: str = "PNG") -> bytes:
    """Return a picture in a format of Pillow's.

    picture  (H, W, 3) uint8 RGB; as PNG also (H, W, 4) uint8 with transparency, or (H, W) uint16.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind)
    return file.getvalue()


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole, in a folder that is made if need be; raises `ResultsError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_known(path, content)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error


class _ArrayFile:
    """Write a JSON array under a temporary name until `keep`.

    It is closed after each append, as a full disk would have no space to close it later.
    """

    def __init__(self, path: Path, head: str, tail: str) -> None:
        self._path, self._tail = path, tail.encode()
        self._start = self._end = len(head.encode())
        with self._errors():
            self._temporary, self._file = new_file(path, buffering=0)
            self._write(0, head.encode() + self._tail)

    def append(self, items: Iterable[Any]) -> int:
        """Add items; return where the array then ends."""
        lines = [json.dumps(item, separators=(",", ":")) for item in items]
        if lines:
            text = (",\n" if self._end > self._start else "") + ",\n".join(lines)
            with self._errors():
                self._write(self._end, text.encode() + self._tail)
            self._end += len(text.encode())
        return self._end

    def keep(self, end: int) -> None:
        """End the array at `end`, drop what follows, and give the file its name."""
        with self._errors(f"; what was done is in {self._temporary}"):
            self._write(end, self._tail)
            self._file.truncate()
            os.fsync(self._file.fileno())
            remember(self._path, sha256_of(self._temporary))
            commit(self._file, self._temporary, self._path)

    def drop(self) -> None:
        abort(self._file, self._temporary)

    def _write(self, position: int, content: bytes) -> None:
        self._file.seek(position)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]

    @contextmanager
    def _errors(self, remedy: str = "") -> Iterator[None]:
        try:
            yield
        except OSError as error:
            text = f"{self._path}: cannot be written ({error.strerror}){remedy}"
            raise ResultsError(text) from error
