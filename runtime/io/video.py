"""Read the frames of a video file or a camera, and write a video; OpenCV does both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.runtime.io.atomic import NEW, remove_stale, staging_folder
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.images import MAX_PIXELS, ImageError
from deepmask.runtime.io.results import ResultsError
from deepmask.runtime.io.written import remember

#: Names of files that are taken for videos.
SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
#: Suffixes of videos that can be written, and their codecs.
WRITTEN = {".mp4": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}

#: Frames per second of a camera, or a file, that does not tell.
_RATE = 25.0
#: For FFmpeg in OpenCV: a file must not make it open others, as playlists do, or the network; what
#: is wrong with one is told in one line of our own.
_SETTINGS = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "protocol_whitelist;file"
    "|format_whitelist;mov,mp4,avi,matroska,webm,mpeg,mpegvideo,asf",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}


def is_video(given: Path) -> bool:
    """Tell whether an input is a video by its suffix, or the number of a camera."""
    return given.suffix.lower() in SUFFIXES or (str(given).isdecimal() and not given.exists())


class Video:
    """A video file, or the camera of a number; close it after use.

    name   of the file, or "camera N".
    total  number of frames; 0 where it is not known.
    rate   frames per second.
    """

    def __init__(self, given: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Open it; raises `ImageError`."""
        is_file = given.suffix.lower() in SUFFIXES
        self.name = given.name if is_file else f"camera {given}"
        self._where = str(given) if is_file else self.name
        _prepare_opencv()
        if is_file:
            if not given.is_file():
                raise ImageError(f"{given}: {'not a file' if given.exists() else 'no such file'}")
            self._capture = cv2.VideoCapture(os.path.abspath(given), cv2.CAP_FFMPEG)  # noqa: PTH100
        else:
            self._capture = cv2.VideoCapture(int(str(given)))
        if not self._capture.isOpened():
            what = "not a video that can be read" if is_file else "there is no such camera"
            raise ImageError(f"{self._where}: {what}")
        width, height, count, rate = (
            float(self._capture.get(key))
            for key in (
                cv2.CAP_PROP_FRAME_WIDTH,
                cv2.CAP_PROP_FRAME_HEIGHT,
                cv2.CAP_PROP_FRAME_COUNT,
                cv2.CAP_PROP_FPS,
            )
        )
        if width * height > max_pixels:
            self.close()
            raise ImageError(
                f"{self._where}: {width:.0f} x {height:.0f} is over the limit of "
                f"{max_pixels / 1e6:g} megapixels (--max-pixels raises it)"
            )
        self.total = int(count) if is_file and 0 < count < 1e9 else 0
        self.rate = rate if 0 < rate < 1000 else _RATE

    def frames(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the frames, (H, W, 3) uint8 RGB; raises `ImageError` where there is none."""
        read = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            read += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        if not read:
            raise ImageError(f"{self._where}: no frame of it can be read")

    def close(self) -> None:
        """Close the file, or give the camera back."""
        self._capture.release()


class VideoWriter:
    """Write frames to a video that gets its name on exit, also when an exception ends the block.

    Without any frame no file appears.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """Begin a video of `rate` frames per second; the suffix is one of `WRITTEN`."""
        _prepare_opencv()
        self._path, self._rate = path, rate
        self._writer: cv2.VideoWriter | None = None
        self._stack = ExitStack()
        self._new = path

    def add(self, frame: npt.NDArray[np.uint8]) -> None:
        """Write a frame, (H, W, 3) uint8 RGB; all have one size. Raises `ResultsError`."""
        if self._writer is None:
            self._writer = self._open(frame.shape[1], frame.shape[0])
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack:
            if self._writer is None:
                return
            self._writer.release()
            try:
                if not self._new.stat().st_size:
                    raise ResultsError(f"{self._path}: cannot be written (the file stayed empty)")
                remember(self._path, sha256_of(self._new))
                self._new.replace(self._path)
            except OSError as problem:
                raise ResultsError(self._problem(problem.strerror)) from problem
        remove_stale(self._path)

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # OpenCV chooses the format by the suffix, which a temporary name does not have.
            folder = self._stack.enter_context(staging_folder(self._path)) / NEW
            folder.mkdir()
        except OSError as error:
            raise ResultsError(self._problem(error.strerror)) from error
        suffix = self._path.suffix.lower()
        self._new = folder / f"video{suffix}"  # and it does not know one in capitals
        codec = cv2.VideoWriter.fourcc(*WRITTEN[suffix])
        writer = cv2.VideoWriter(str(self._new), cv2.CAP_FFMPEG, codec, self._rate, (width, height))
        if not writer.isOpened():
            raise ResultsError(self._problem("OpenCV has no encoder for it"))
        return writer

    def _problem(self, reason: str | None) -> str:
        return f"{self._path}: cannot be written ({reason})"


def _prepare_opencv() -> None:
    """Apply `_SETTINGS`, unless the user has made others."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
