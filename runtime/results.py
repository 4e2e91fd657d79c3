"""Results on disk: COCO JSON, written as it comes and whole at any time it may be cut short."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask.runtime.proposals import CocoResult

_COCO_NAME = re.compile(r"(?:COCO_[A-Za-z]+\d{4}_)?(\d{12})")


class ResultsError(Exception):
    """A result file that cannot be written; the text is one line."""


class ResultsWriter:
    """Two files that grow by image: COCO results, and which image an id is.

    `path` holds the results list. `path` with the suffix `.images.json` holds COCO's `images` and
    `categories`, so that `COCO(images_path).loadRes(path)` works. Both are written under a
    temporary name and renamed on exit, also when an exception or Ctrl-C ends the block: whatever
    was added by then is there. Without any image nothing is renamed.
    """

    def __init__(self, path: Path) -> None:
        """Open both temporary files; raises `ResultsError`."""
        self.path = path
        self.images_path = path.with_suffix(".images.json")
        categories = ', "categories": [{"id": 1, "name": "object"}], "annotations": []}\n'
        self._results = _ArrayFile(self.path, "[\n", "\n]\n")
        try:
            self._images = _ArrayFile(self.images_path, '{"images": [\n', "\n]" + categories)
        except ResultsError:
            self._results.finish(keep=False)
            raise
        self._count = 0

    def add(
        self, results: Sequence[CocoResult], image_id: int, name: str, height: int, width: int
    ) -> None:
        """Write one image's results, and the image itself even if it has none."""
        self._results.extend(results)
        self._images.extend([{"id": image_id, "file_name": name, "height": height, "width": width}])
        self._count += 1

    def __enter__(self) -> ResultsWriter:
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete both files and give them their names."""
        try:
            self._images.finish(keep=self._count > 0)
        finally:
            self._results.finish(keep=self._count > 0)


def image_ids(paths: Sequence[Path]) -> list[int]:
    """An id for each image: the number in a COCO file name, else the next one that is free."""
    numbers: dict[int, int] = {}
    for index, path in enumerate(paths):
        if match := _COCO_NAME.fullmatch(path.stem):
            numbers.setdefault(int(match[1]), index)
    ids = {index: number for number, index in numbers.items()}
    free = 1
    for index in range(len(paths)):
        if index not in ids:
            while free in numbers:
                free += 1
            ids[index] = free
            free += 1
    return [ids[index] for index in range(len(paths))]


def write_picture(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 RGB as the format its suffix names; raises `ResultsError`."""
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(temporary)
        temporary.replace(path)
    except ValueError as error:
        raise ResultsError(f"{path}: {path.suffix!r} is no picture format, use .png") from error
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


class _ArrayFile:
    """A JSON array that is valid as soon as it is finished, wherever the writing stopped."""

    def __init__(self, path: Path, head: str, tail: str) -> None:
        self._path = path
        self._temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        self._tail = tail
        self._empty = True
        try:
            self._file = self._temporary.open("wb")
            self._file.write(head.encode())
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from error
        self._end = self._file.tell()

    def extend(self, items: Iterable[Any]) -> None:
        lines = [json.dumps(item, separators=(",", ":")) for item in items]
        if not lines:
            return
        text = ("" if self._empty else ",\n") + ",\n".join(lines)
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise ResultsError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._end, self._empty = self._file.tell(), False

    def finish(self, keep: bool) -> None:
        """Close after the last whole item, and rename or drop the file; once."""
        try:
            if keep:
                self._file.seek(self._end)
                self._file.truncate()
                self._file.write(self._tail.encode())
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._temporary.replace(self._path)
        except OSError as error:
            raise ResultsError(f"{self._path}: cannot be written ({error.strerror})") from error
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
