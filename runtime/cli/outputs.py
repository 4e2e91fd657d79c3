"""Which files a run writes: known before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmask.runtime.cli.batch import InputError, distinct_names, overlay_paths
from deepmask.runtime.io.formats import format_files
from deepmask.runtime.io.html_report import HtmlReport
from deepmask.runtime.io.results import ResultsWriter
from deepmask.runtime.io.video import WRITTEN, is_video


@dataclass(frozen=True)
class Outputs:
    """The files of a run.

    results   COCO results, or None in another format.
    overlays  the overlay of each input, or None.
    files     those of the format, for each input.
    report    the page, or None.
    """

    results: Path | None
    overlays: Sequence[Path | None]
    files: Sequence[Sequence[Path]]
    report: Path | None

    def written(self) -> Iterator[str]:
        """Yield what to tell of the files, once they are there; overlays apart."""
        files = [file for of_image in self.files for file in of_image]
        folders = dict.fromkeys(file.parent for file in files)
        yield from map(str, list(folders)[:3] + ["…"] * (len(folders) > 3))
        if self.report is not None:
            yield str(self.report)

    @contextmanager
    def writers(self) -> Iterator[tuple[ResultsWriter | None, HtmlReport | None]]:
        """Open the results and the page, which get their names when the block ends."""
        with (
            nullcontext() if self.results is None else ResultsWriter(self.results) as writer,
            nullcontext() if self.report is None else HtmlReport(self.report) as report,
        ):
            yield writer, report


def plan_outputs(paths: Sequence[Path], options: Mapping[str, Any]) -> Outputs:
    """Return what a run on these images, or on one video, writes; raises `InputError`."""
    kind, out, overlay = options["kind"], options["out"], options["overlay"]
    results = (out or Path("proposals.json")) if kind == "coco" else None
    if any(map(is_video, paths)):
        return Outputs(results, [_video_overlay(paths, options)], [[]], None)
    names = distinct_names(paths)
    files: list[list[Path]] = [[] for _ in paths]
    if kind != "coco":
        each = zip(paths, names, strict=True)
        files = [format_files(kind, path, out, name, options["top"]) for path, name in each]
    return Outputs(results, overlay_paths(paths, overlay), files, options["html"])


def _video_overlay(paths: Sequence[Path], options: Mapping[str, Any]) -> Path | None:
    """Check what is asked of a video; return the overlay's path."""
    [video, *others] = sorted(paths, key=lambda path: not is_video(path))
    overlay: Path | None = options["overlay"]
    if others:
        raise InputError(f"{video}: a video is run alone, give no other image or video with it")
    if options["kind"] != "coco":
        raise InputError(f"--format {options['kind']}: a video's results are COCO's only")
    if options["html"] is not None:
        raise InputError(f"--html {options['html']}: not for a video, which --overlay shows")
    if overlay is not None and overlay.suffix.lower() not in WRITTEN:
        raise InputError(f"--overlay {overlay}: expected a video, {', '.join(WRITTEN)}")
    return overlay
