"""What can be chosen about an export, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepmask.export.errors import ExportUsageError
from deepmask.runtime.model.shipped import shipped_model, shipped_names

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Scales

_LONGEST_NAME = 200
#: What an exported model can still be given: the other options are for a checkpoint.
FOR_A_MODEL = ("name", "precision", "photographs", "force")


@dataclass(frozen=True)
class ExportOptions:
    """What can be chosen about an export; None means the model's own default.

    name           the model's name in `model.json`; the checkpoint's file name by default.
    opset          ONNX operator set.
    weights        "fp32", or "fp16": stored rounded to float16, computed with in float32.
    scales         pyramid scales the runtime uses by default.
    threshold      probability above which it counts a pixel as the object's.
    overlap        IoU with a better proposal above which it ranks a near-duplicate lower.
    scale_prior    logits that it adds to a score for each octave its scale is below 1.
    precision      what the graphs compute in: "fp32", "fp16", "int8" or "int8-symmetric"; see
                   `fp16` and `int8`. Below fp32 the weights take the form that goes with it.
    photographs    folder of pictures that int8 measures its ranges on, and that a lower precision
                   is compared with float32 on. fp16 can do without.
    validation     COCO instances file to choose threshold, overlap and scale prior on, as far as
                   they are not given; `validation_images` is the folder of its pictures.
    scores_from    another checkpoint of the same preset, whose scores rank this one's masks.
    force          replace a model folder that was changed since it was exported.
    """

    name: str | None = None
    opset: int = 18
    weights: str = "fp32"
    scales: Scales | None = None
    threshold: float | None = None
    overlap: float | None = None
    scale_prior: float | None = None
    precision: str = "fp32"
    photographs: Path | None = None
    scores_from: Path | None = None
    validation: Path | None = None
    validation_images: Path | None = None
    force: bool = False


def check_name(name: str) -> None:
    """Raise `ExportUsageError` for a model's name that cannot be shown on a line."""
    if not name.isprintable():
        raise ExportUsageError(f"the name {name!r:.60} does not print: give a --name")
    if len(name) > _LONGEST_NAME:
        raise ExportUsageError(
            f"the name has {len(name)} letters, at most {_LONGEST_NAME} are kept: "
            "give a shorter --name"
        )


def check_validation(options: ExportOptions) -> None:
    """Raise `ExportUsageError` for annotations without pictures, or the other way round."""
    if (options.validation is None) != (options.validation_images is None):
        raise ExportUsageError("--validation and --validation-images belong together: give both")


def check_precision(options: ExportOptions) -> None:
    """Raise `ExportUsageError` where a precision lacks photographs, or has no use for them."""
    if options.precision.startswith("int8") and options.photographs is None:
        raise ExportUsageError(
            f"--precision {options.precision} needs --calibration DIR, a folder of photographs "
            "like those the model will see"
        )
    if options.precision == "fp32" and options.photographs is not None:
        raise ExportUsageError("--calibration is for --precision fp16 and int8: leave it out")
    if options.precision != "fp32" and options.weights != "fp32":
        raise ExportUsageError(
            f"--weights {options.weights} is for --precision fp32: leave it out, the weights take "
            f"the form that goes with {options.precision}"
        )


def find_source(wanted: Path) -> Path:
    """Return what is there at a path, or the shipped model of this name.

    Raises `ExportUsageError` for what is neither.
    """
    if wanted.exists():
        return wanted
    if str(wanted) in shipped_names():
        return shipped_model(str(wanted))
    known = ", ".join(shipped_names())
    raise ExportUsageError(
        f"{wanted}: no such checkpoint file, or folder of an exported model, or shipped model "
        f"({known or 'there is none'})"
    )
