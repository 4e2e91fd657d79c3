"""Read and check the files that a run learns from and is measured on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from deepmask.coco.annotations import LabelledSet, Problem, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.reader import read_coco
from deepmask.networks.patches.crops import read_picture
from deepmask.train.errors import TrainUsageError

Report = Callable[[str], None]


@dataclass(frozen=True)
class DataFiles:
    """COCO annotation files and the folders of their images.

    train_annotations  every object is labelled; `train_images` is the folder of its images.
    mask_annotations   only some objects are labelled; `mask_images` is the folder of their images,
                       the training images' if None.
    val_annotations    for measurements; None, like `val_images`, for no measurements.
    """

    train_annotations: Path
    train_images: Path
    mask_annotations: Sequence[Path] = ()
    mask_images: Path | None = None
    val_annotations: Path | None = None
    val_images: Path | None = None

    def __post_init__(self) -> None:
        if (self.val_annotations is None) != (self.val_images is None):
            raise TrainUsageError("--val-annotations and --val-images belong together")

    def training(self) -> list[tuple[Path, Path]]:
        """Return (annotations, images) of every training set, the fully labelled one first."""
        folder = self.mask_images or self.train_images
        partly = [(path, folder) for path in self.mask_annotations]
        return [(self.train_annotations, self.train_images), *partly]

    def validation(self) -> list[tuple[Path, Path]]:
        """Return (annotations, images) of the validation set, if there is one."""
        if self.val_annotations is None or self.val_images is None:
            return []
        return [(self.val_annotations, self.val_images)]


def read_sets(sources: Sequence[tuple[Path, Path]], warn: Report) -> list[LabelledSet]:
    """Read (annotations, images) pairs; `warn` is told what was left out. Raises `LabelError`."""
    sets = [read_coco(*source) for source in sources]
    for (file, _), found in zip(sources, sets, strict=True):
        if found.problems:
            warn(
                f"{file}: {len(found.problems)} bad entries left out, the first: "
                f"{found.problems[0]}; list all with --check-data"
            )
    return sets


def check_data(files: DataFiles, report: Report) -> int:
    """Report the problems of every annotation file and of its pictures; return their number.

    Raises `LabelError` for a file that is no annotation file.
    """
    count = 0
    for file, images in [*files.training(), *files.validation()]:
        found = read_coco(file, images)
        problems = [*found.problems, *check_pictures(found)]
        for problem in problems:
            report(f"{file}: {problem}")
        crowds = sum(item.crowd for item in found.instances)
        report(
            f"{file}: {len(found.images)} images, {len(found.instances)} usable annotations "
            f"({crowds} crowds), {len(problems)} problems"
        )
        count += len(problems)
    return count


def check_pictures(found: LabelledSet) -> Iterator[Problem]:
    """Decode every picture and draw every mask; yield what cannot be, or comes out empty."""
    unreadable: set[int] = set()
    for image in tqdm(found.images, unit="image", disable=not sys.stderr.isatty()):
        try:
            read_picture(image)
        except LabelError as error:
            unreadable.add(image.id)
            yield Problem("file", None, image.id, str(error))
    for instance in found.instances:
        if instance.image.id in unreadable:
            continue
        ids = instance.id, instance.image.id
        try:
            empty = not full_mask(instance).any()
        except (ValueError, TypeError, MemoryError) as error:
            yield Problem("outline", *ids, f"mask cannot be drawn: {error}")
            continue
        if empty:
            yield Problem("outline", *ids, "mask has no pixel")
