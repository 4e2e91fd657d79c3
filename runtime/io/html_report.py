"""One HTML page that shows pictures with their objects, without any other file or the network."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask.runtime.io.atomic import abort, commit, new_file, remove_stale
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.overlay import colour
from deepmask.runtime.io.polygons import Ring, Shape, area, outline
from deepmask.runtime.io.results import ResultsError
from deepmask.runtime.io.written import remember

#: Longest side of the pictures in the page, in pixels: a hundred of them take about 30 MB.
_LONGEST_SIDE = 1400
_QUALITY = 82
#: Where the page has its pictures.
_PLACE = "<!-- pictures -->\n"


class HtmlReport:
    """Write a page to which pictures are added; a context manager.

    The page gets its name on exit, also when an exception or Ctrl-C ends the block, and then holds
    every picture that was added by then. Without any picture no file appears.
    """

    def __init__(self, path: Path) -> None:
        """Begin the page; raises `ResultsError`."""
        self.path = path
        page = resources.files("deepmask.runtime.io").joinpath("report.html")
        head, self._tail = page.read_text(encoding="utf-8").split(_PLACE)
        self._end = 0
        self._empty = True
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary, self._file = new_file(path, buffering=0)
        self._append(head)

    def add(self, section: str) -> None:
        """Add a picture, as `picture_section` returned it."""
        self._append(section)
        self._empty = False

    def __enter__(self) -> HtmlReport:
        return self

    def __exit__(self, *error: object) -> None:
        if self._empty:
            abort(self._file, self._temporary)
            return
        self._append(self._tail)
        with self._errors():
            remember(self.path, sha256_of(self._temporary))
            commit(self._file, self._temporary, self.path)
        remove_stale(self.path)

    def _append(self, text: str) -> None:
        """Write after the last whole part; what a full disk cut short before is overwritten."""
        content = text.encode()
        with self._errors():
            self._file.seek(self._end)
            self._file.truncate()
            rest = memoryview(content)
            while rest:
                rest = rest[self._file.write(rest) :]
        self._end += len(content)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be written ({error.strerror})") from error


def picture_section(
    name: str,
    image: npt.NDArray[np.uint8],
    objects: Sequence[Shape],
    scores: npt.NDArray[np.float32],
    names: Sequence[str] = (),
) -> str:
    """Return a picture and its objects as a part of the page: the picture is inside, as JPEG.

    image  (H, W, 3) uint8 RGB; made smaller where it is large.
    objects, scores  of N, best first: object i has number i + 1.
    names  of the objects; by default they have none.
    """
    height, width = image.shape[:2]
    content = {
        "name": name,
        "width": width,
        "height": height,
        "source": _jpeg(image),
        "objects": [
            {
                "number": index + 1,
                "name": names[index] if names else "",
                "score": round(float(scores[index]), 6),
                "area": area(one),
                "colour": "rgb({},{},{})".format(*colour(index).astype(int)),
                "path": "".join(map(_svg_path, outline(one))),
            }
            for index, one in enumerate(objects)
        ],
    }
    text = json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")  # no end of a script
    named = html.escape(name.encode(errors="replace").decode())
    return f'<script type="application/json" class="picture" data-name="{named}">{text}</script>\n'


def _jpeg(image: npt.NDArray[np.uint8]) -> str:
    height, width = image.shape[:2]
    factor = _LONGEST_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _svg_path(ring: Ring) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in ring.tolist()) + "Z"
