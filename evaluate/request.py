"""What is asked of an evaluation, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmask.evaluate.errors import EvalUsageError

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Scales


@dataclass(frozen=True)
class Request:
    """What to evaluate. Raises `EvalUsageError` for settings that do not go together.

    annotations    the objects of the images, in a format that `read_labels` knows, or
    voc            a PASCAL VOC 2007 folder, of which boxes are measured.
    images         folder of the images; a VOC folder has its own.
    labels_are     "shown" or "stored": what the labels belong to where EXIF turns an image; "auto":
                   the annotated size decides, and where it cannot, what is shown.
    categories     measure objects of these only: ids or names between commas, voc for PASCAL's 20,
                   or all but these after "not "; "" for all. Other objects are as not labelled.
    proposals_json COCO results to measure. Without, a model makes the proposals:
    model          its folder, or a shipped one's name; by default fpn-lite. `engine`, `device`,
                   `tf32`, `cache`, `scales`, `threshold`, `overlap`, `zoom` and `coarse` say how it
                   is run; None means the model's own value.
    max_side       longest side that the model is to see; None: its own.
    boxes_json     COCO results whose boxes the model names, in place of its own proposals.
    proposals      maximum number of proposals of an image that count.
    out            folder to write to; by default nothing is kept.
    name           what tables call this run; by default the model's or the file's name.
    limit          how many images to measure; by default all.
    shard          (i, n): measure part i of n only; `merge` joins the parts.
    resume         continue the interrupted run in `out`.
    """

    annotations: Path | None = None
    voc: Path | None = None
    images: Path | None = None
    labels_are: str = "auto"
    categories: str = ""
    proposals_json: Path | None = None
    model: Path | None = None
    engine: str = "auto"
    device: str = "auto"
    tf32: bool = True
    cache: Path | None = None
    proposals: int = 1000
    scales: Scales | None = None
    threshold: float | None = None
    overlap: float | None = None
    zoom: int = 0
    coarse: bool = False
    max_side: int | None = None
    boxes_json: Path | None = None
    out: Path | None = None
    name: str | None = None
    limit: int | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False

    def __post_init__(self) -> None:
        if self.annotations is not None and self.voc is not None:
            raise EvalUsageError("--annotations and --voc exclude each other: give one")
        if self.annotations is None and self.voc is None:
            raise EvalUsageError("--annotations (or --voc) is missing: what are the objects?")
        if self.voc is not None and self.categories:
            raise EvalUsageError("--categories goes with --annotations, not with --voc: leave it")
        if self.proposals_json is None and self.images is None and self.voc is None:
            raise EvalUsageError(
                "--images is missing: the folder of images to run the model on "
                "(or give --proposals-json)"
            )
        if self.proposals_json is not None and self.boxes_json is not None:
            raise EvalUsageError("--proposals-json and --boxes-json exclude each other: give one")
        for name, given in (("resume", self.resume), ("shard", self.shard != (1, 1))):
            if given and self.out is None:
                raise EvalUsageError(f"--{name} needs --out, the folder that holds the records")


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation came to.

    metrics      the content of `metrics.json`; None if no image was measured.
    folder       where records, metrics, table, figures and pictures are; None if nothing is kept.
    measured     how many images have been measured, those of a resumed run included,
    images       out of so many.
    failures     for each image that could not be measured one line that says why.
    interrupted  whether `KeyboardInterrupt` ended it; what was measured by then is reported.
    """

    metrics: dict[str, Any] | None
    folder: Path | None
    measured: int
    images: int
    failures: tuple[str, ...] = ()
    interrupted: bool = False
