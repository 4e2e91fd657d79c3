"""Which files a run writes: known, and checked, before any work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from deepmask.runtime.cli.inputs import InputError
from deepmask.runtime.io.formats import FOLDERS, format_files
from deepmask.runtime.io.html_report import HtmlReport
from deepmask.runtime.io.results import PICTURES, ResultsWriter, result_files, write_file
from deepmask.runtime.io.video import WRITTEN, is_video
from deepmask.runtime.io.yolo import DATA_NAME, yolo_data


@dataclass(frozen=True)
class Outputs:
    """The files of a run.

    results   COCO results, or None in another format.
    overlays  the overlay of each input, or None.
    files     those of the format, for each input.
    page      that shows all images, or None.
    kind      the format.
    classes   the file that says what the numbers of YOLO's labels mean, or None.
    """

    results: Path | None
    overlays: Sequence[Path | None]
    files: Sequence[Sequence[Path]]
    page: Path | None
    kind: str = "coco"
    classes: Path | None = None

    def by_option(self) -> dict[str, list[Path]]:
        """Return all files by the option that names them."""
        results = [] if self.results is None else result_files(self.results)
        classes = [] if self.classes is None else [self.classes]
        return {
            "--out": [*results, *classes, *(file for of_image in self.files for file in of_image)],
            "--overlay": [path for path in self.overlays if path is not None],
            "--html": [] if self.page is None else [self.page],
        }

    def written(self, overlay: Path | None) -> list[str]:
        """Return what to tell of the files once they are there: folders where there are many."""
        folders = list(
            dict.fromkeys(str(of_image[0].parent) for of_image in self.files if of_image)
        )
        told = [f"{self.kind} files in {folder}" for folder in folders[:3]]
        if len(folders) > 3:
            told.append(f"{self.kind} files in {len(folders) - 3} more folders")
        if self.results is not None:
            told = [" and ".join(map(str, result_files(self.results)))]
        if self.classes is not None:
            told.append(str(self.classes))
        return [*told, *(str(path) for path in (overlay, self.page) if path is not None)]

    def write_classes(self, names: Sequence[str], pictures: Sequence[Path]) -> None:
        """Write what the numbers of YOLO's labels mean, if there are any; raises `ResultsError`.

        pictures  those that keep their place.
        """
        if self.classes is not None:
            write_file(self.classes, yolo_data(self.classes.parent, pictures, names))

    @contextmanager
    def writers(
        self, categories: Mapping[int, str], note: str
    ) -> Iterator[tuple[ResultsWriter | None, HtmlReport | None]]:
        """Open the results and the page, which get their names when the block ends.

        categories, note  as of `ResultsWriter`.
        """
        with (
            nullcontext()
            if self.results is None
            else ResultsWriter(self.results, categories, note) as writer,
            nullcontext() if self.page is None else HtmlReport(self.page) as page,
        ):
            yield writer, page


def plan_outputs(
    paths: Sequence[Path], names: Sequence[str], options: Mapping[str, Any]
) -> Outputs:
    """Return what a run on images, or on one video, writes; raises `InputError`.

    names  of the images, which may have folders in them.
    """
    kind, out = options["kind"], options["out"]
    results = (out or Path("proposals.json")) if kind == "coco" else None
    if any(map(is_video, paths)):
        return Outputs(results, [_video_overlay(paths, options)], [[]], None)
    files: list[list[Path]] = [[] for _ in paths]
    if kind != "coco":
        each = zip(paths, distinct_names(names), strict=True)
        files = [format_files(kind, path, out, name, options["top"]) for path, name in each]
    overlays = overlay_paths(names, options["overlay"])
    classes = (out or Path(FOLDERS[kind] or "")) / DATA_NAME if kind == "yolo-seg" else None
    return Outputs(results, overlays, files, options["html"], kind, classes)


def overlay_paths(names: Sequence[str], overlay: Path | None) -> list[Path | None]:
    """Return where each image's overlay goes: the picture `overlay`, or one in that folder.

    `names` are paths that end in each image's own name; folders in them are made there, too.
    Raises `InputError` for one picture and several images, and for what cannot be a picture.
    """
    if overlay is None:
        return [None] * len(names)
    if overlay.suffix and not overlay.is_dir():
        if overlay.suffix.lower() not in PICTURES:
            raise InputError(f"--overlay {overlay}: expected a folder, or {', '.join(PICTURES)}")
        if len(names) > 1:
            raise InputError(f"--overlay {overlay}: a folder is needed for {len(names)} images")
        return [overlay]
    return [overlay / f"{name}.png" for name in distinct_names(names)]


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names without suffix, with a number where two would be one to a file system."""
    taken: set[str] = set()
    chosen = []
    for path in map(PurePath, names):
        whole = path.relative_to(path.anchor).with_suffix("").as_posix()
        name, copy = whole, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{whole}-{copy}"
        taken.add(name.casefold())
        chosen.append(name)
    return chosen


def _video_overlay(paths: Sequence[Path], options: Mapping[str, Any]) -> Path | None:
    """Check what is asked of a video; return the overlay's path."""
    video, *others = sorted(paths, key=lambda path: not is_video(path))
    overlay: Path | None = options["overlay"]
    if others:
        raise InputError(f"{video}: a video is run alone, give no other image or video with it")
    if options["kind"] != "coco":
        raise InputError(f"--format {options['kind']}: of a video there are COCO results only")
    if options["html"] is not None:
        raise InputError(f"--html {options['html']}: is for images, --overlay shows a video")
    if overlay is not None and overlay.suffix.lower() not in WRITTEN:
        raise InputError(f"--overlay {overlay}: expected a video, {', '.join(WRITTEN)}")
    return overlay
