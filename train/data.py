"""Read the files that a run learns from and is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepmask.coco.annotations import LabelledSet, some_problems
from deepmask.coco.formats import read_labels
from deepmask.coco.pictures import ORIENTATIONS, undecided, undecided_note
from deepmask.train.errors import TrainUsageError

Report = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """Labels in a format that `read_labels` knows, and the folder of their images."""

    labels: Path
    images: Path
    labels_are: str = "auto"

    def read(self) -> LabelledSet:
        """Return the set; raises `LabelError`."""
        return read_labels(self.labels, self.images, ORIENTATIONS[self.labels_are])


@dataclass(frozen=True)
class DataFiles:
    """Labels, in formats that `read_labels` knows, and the folders of their images.

    train_annotations  every object is labelled; `train_images` is the folder of its images.
    mask_annotations   only some objects are labelled; `mask_images` is the folder of their images,
                       the training images' if None.
    val_annotations    for measurements; None, like `val_images`, for no measurements.
    proposals          COCO results of their pictures to train on, for what names proposals.
    labels_are         "shown" or "stored": what labels belong to where EXIF turns an image;
                       "auto": the annotated size decides, and where it cannot, what is shown.
    """

    train_annotations: Path
    train_images: Path
    mask_annotations: Sequence[Path] = ()
    mask_images: Path | None = None
    val_annotations: Path | None = None
    val_images: Path | None = None
    proposals: Path | None = None
    labels_are: str = "auto"

    def __post_init__(self) -> None:
        if (self.val_annotations is None) != (self.val_images is None):
            raise TrainUsageError("--val-annotations and --val-images belong together")

    def training(self) -> list[Source]:
        """Return the source of every training set, the fully labelled one first."""
        folder = self.mask_images or self.train_images
        partly = [Source(path, folder, self.labels_are) for path in self.mask_annotations]
        return [Source(self.train_annotations, self.train_images, self.labels_are), *partly]

    def validation(self) -> list[Source]:
        """Return the source of the validation set, if there is one."""
        if self.val_annotations is None or self.val_images is None:
            return []
        return [Source(self.val_annotations, self.val_images, self.labels_are)]


def read_sets(sources: Sequence[Source], warn: Report) -> list[LabelledSet]:
    """Read sets; `warn` is told what is wrong with them. Raises `LabelError`."""
    sets = []
    for source in sources:
        found = source.read()
        sets.append(found)
        left = [problem for problem in found.problems if problem.effect == "left out"]
        mended = [problem for problem in found.problems if problem.effect == "mended"]
        for what, told in (("left out", left), ("mended", mended)):
            if told:
                warn(
                    f"{source.labels}: {len(told)} bad entries {what}, the first: "
                    f"{some_problems(told, 1)}; list all with --check-data"
                )
        if turned := undecided(found.images):
            warn(undecided_note(turned))
    return sets
