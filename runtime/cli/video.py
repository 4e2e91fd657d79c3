"""A video through one model, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from deepmask.runtime.cli.batch import Job, Outcomes, Pixels, Settings, run_jobs
from deepmask.runtime.io.results import ResultsWriter
from deepmask.runtime.io.video import Video, VideoWriter
from deepmask.runtime.predict.deepmask import DeepMask


@contextmanager
def run_video(
    model: DeepMask,
    video: Video,
    overlay: Path | None,
    settings: Settings,
    writer: ResultsWriter | None,
) -> Iterator[Outcomes]:
    """Yield the outcomes of the frames as they come; afterwards the overlay has its name.

    Closes the video. The frame's number, from 1 on, is its `image_id`.
    """
    with (
        closing(video),
        nullcontext() if overlay is None else VideoWriter(overlay, video.rate) as drawn,
    ):
        jobs = (
            Job(
                Path(f"{video.name}, frame {number}"),
                f"{video.name}#{number:06d}",
                number,
                partial(_itself, frame),
                None if drawn is None else drawn.add,
            )
            for number, frame in enumerate(video.frames(), 1)
        )
        with closing(run_jobs(model, jobs, settings, writer)) as outcomes:
            yield outcomes


def _itself(frame: Pixels) -> Pixels:
    return frame
