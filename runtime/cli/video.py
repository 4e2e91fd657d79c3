"""A video through one model, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from deepmask.runtime.cli.batch import Job, Outcome, Settings, run_jobs
from deepmask.runtime.io.results import ResultsWriter
from deepmask.runtime.io.video import Video, VideoWriter
from deepmask.runtime.predict.deepmask import DeepMask

#: Seconds between two lines about a video of unknown length.
_PAUSE = 10.0


@contextmanager
def run_video(
    model: DeepMask,
    video: Video,
    overlay: Path | None,
    settings: Settings,
    writer: ResultsWriter | None,
) -> Iterator[Generator[Outcome, None, None]]:
    """Yield the outcomes of the frames as they come; the overlay has its name afterwards.

    The frame's number, from 1 on, is its `image_id`.
    """
    with nullcontext() if overlay is None else VideoWriter(overlay, video.rate) as drawn:
        jobs = (
            Job(
                Path(f"{video.name}, frame {number}"),
                f"{video.name}#{number:06d}",
                number,
                lambda frame=frame: frame,
                None if drawn is None else drawn.add,
            )
            for number, frame in enumerate(video.frames(), 1)
        )
        with closing(run_jobs(model, jobs, settings, writer)) as outcomes:
            yield outcomes


class FrameRate:
    """Tell how fast frames are done, from now on."""

    def __init__(self) -> None:
        self._start = self._told = time.monotonic()

    def line(self, frames: int) -> str:
        """Return the number of frames done, the time they took and how many come in a second."""
        passed = max(time.monotonic() - self._start, 1e-9)
        return f"{frames} frames in {passed:.1f} s, {frames / passed:.2f} frames per second"

    def now_and_then(self, frames: int) -> str:
        """Return the line if ten seconds have passed since the last, else nothing."""
        if time.monotonic() - self._told < _PAUSE:
            return ""
        self._told = time.monotonic()
        return self.line(frames)
