"""From a folder of float32 graphs to one of lower precision, measured against it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export.errors import ExportError
from deepmask.export.onnx_graph import strip, write_part
from deepmask.export.precision.agreement import (
    REFERENCE_TOP,
    SAME_IOU,
    SEARCHED_TOP,
    Agreement,
    Image,
    LogitError,
    measure_agreement,
)
from deepmask.export.precision.calibration import Feed, Feeds
from deepmask.export.precision.calibration_set import COMPARED, Photographs, drawn_pictures
from deepmask.export.precision.int8 import INT8, SYMMETRIC, count_quantised, quantise
from deepmask.export.precision.ranges import check_ranges
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.folder import with_checksums, write_manifest
from deepmask.runtime.model.half_graph import half_form, spared_by
from deepmask.runtime.model.manifest import BOXES, Manifest, Stage
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.progress import Progress, no_progress
from deepmask.runtime.validation import ContentError

FP32, FP16 = "fp32", "fp16"
#: Share of the float32 model's proposals that a good export finds again; below, it warns.
EXPECTED_FOUND = {FP16: 0.95, INT8: 0.85, SYMMETRIC: 0.85}

Report = Callable[[str], None]


def write_reduced(
    reference: Path,
    out: Path,
    precision: str,
    photographs: Photographs | None,
    report: Report,
    progress: Progress = no_progress,
) -> Manifest:
    """Write the model folder `reference`, of float32 graphs, to `out` in another precision.

    int8 needs `photographs`; fp16 is compared on drawn pictures without, and with them checked to
    stay within float16's range. Every graph passes ONNX's checker. The figures of the comparison
    are reported and kept in the manifest's `parity`; too low an agreement is reported as a warning.
    """
    with DeepMask.load(reference, engine="onnxruntime", device="cpu") as model:
        plain = model.manifest
        for stage in _files_in_order(plain):
            target = out / stage.file
            whole = _cut_from(stage, plain)
            if whole is not None:  # of the converted graph, so that what both make is the same
                write_part(out / whole.file, target, stage.outputs)
            else:
                files = photographs.calibrated if photographs else ()
                inputs = Feeds(stage, files, plain, model.engine, progress)
                if warning := _convert(reference / stage.file, target, precision, stage, inputs):
                    report(warning)
            size = target.stat().st_size / 1e6
            report(f"{target.name:<17}{size:7.1f} MB, {_lowered(target, precision, stage)}")
        manifest = with_checksums(replace(plain, precision=precision, half=None), out)
        manifest = replace(manifest, about={**plain.about, "weights": precision})
        write_manifest(manifest, out)
        with DeepMask.load(out, engine="onnxruntime", device="cpu") as reduced:
            agreement = measure_agreement(model, reduced, _pictures(photographs))
    compared_on = _compared_on(precision, photographs)
    report("\n".join(as_lines(agreement, precision, compared_on)))
    record = {
        "compared_on": compared_on,
        "calibrated_on": len(photographs.calibrated) if photographs and precision != FP16 else 0,
        "expected_found": EXPECTED_FOUND[precision],
        **agreement.as_record(),
    }
    manifest = replace(manifest, about={**manifest.about, "against_fp32": record})
    write_manifest(manifest, out)
    return manifest


def as_lines(agreement: Agreement, precision: str, compared_on: str) -> list[str]:
    """Return the figures for a person to read, and a warning where they are low."""
    expected = EXPECTED_FOUND[precision]
    lines = [
        f"{precision} against fp32 on {agreement.pictures} {compared_on}",
        f"  score logits  {_error(agreement.scores)}",
        *([f"  mask logits   {_error(agreement.masks)}"] if agreement.masks else []),
        *([f"  rank logits   {_error(agreement.ranks)}"] if agreement.ranks else []),
        *([f"  offsets       {_error(agreement.offsets)}"] if agreement.offsets else []),
        f"  proposals     {agreement.found:.1%} of fp32's top {REFERENCE_TOP} are among its top "
        f"{SEARCHED_TOP} ({'mask' if agreement.masks else 'box'} IoU ≥ {SAME_IOU})",
    ]
    if agreement.pictures < COMPARED:
        lines.append(f"Note: fewer than {COMPARED} pictures, the figures are rough")
    if agreement.found < expected:
        lines.append(
            f"Warning: {precision} finds {agreement.found:.1%} of fp32's proposals again, below "
            f"{expected:.0%}: measure its recall with deepmask-eval before you use it"
        )
    return lines


def _lowered(path: Path, precision: str, stage: Stage) -> str:
    """Say how much of a graph computes in a precision."""
    if stage.per == BOXES:
        return FP32
    if precision == FP16:
        return precision
    lowered, layers = count_quantised(onnx.load(path))
    return f"{precision} in {lowered} of {layers} layers with weights" if lowered else FP32


def _files_in_order(manifest: Manifest) -> list[Stage]:
    """Return a stage for each file, the coarse form's after those it may be cut out of."""
    stages = [*manifest.stages, *(manifest.coarse.stages if manifest.coarse else ())]
    return list({stage.file: stage for stage in reversed(stages)}.values())[::-1]


def _cut_from(stage: Stage, manifest: Manifest) -> Stage | None:
    """Return the stage that a coarse one does a part of: the same inputs, fewer outputs."""
    for whole in manifest.stages:
        same = (whole.name, whole.inputs) == (stage.name, stage.inputs)
        if same and whole.file != stage.file and stage.outputs.keys() < whole.outputs.keys():
            return whole
    return None


def _convert(
    source: Path, target: Path, precision: str, stage: Stage, inputs: Iterable[Feed]
) -> str:
    """Write a graph in a precision; return a warning, or ""."""
    warning = ""
    if stage.per == BOXES:  # light, and where boxes are takes all digits
        shutil.copyfile(source, target)
    elif precision == FP16:
        spared = spared_by(onnx.load(source), stage)
        warning = check_ranges(source, spared, inputs, "the calibration pictures")
        try:
            target.write_bytes(half_form(source.read_bytes(), stage))
        except ContentError as error:
            raise ExportError(str(error)) from error
    else:
        quantise(source, target, stage, inputs, precision)
    graph = onnx.load(target)
    strip(graph)
    onnx.save_model(graph, target)
    onnx.checker.check_model(target, full_check=True)
    return warning


def _pictures(photographs: Photographs | None) -> Iterator[Image]:
    if photographs is None:
        yield from drawn_pictures()
    else:
        yield from map(read_image, photographs.compared)


def _compared_on(precision: str, photographs: Photographs | None) -> str:
    if photographs is None:
        return "drawn pictures (photographs: --calibration DIR)"
    if precision == FP16:
        return "photographs"
    if photographs.apart:
        return "photographs that it was not calibrated on"
    return "photographs that it was also calibrated on, for there are too few to keep some apart"


def _error(error: LogitError) -> str:
    return (
        f"differ by {error.rms:.2g} rms, {error.largest:.2g} at most "
        f"(fp32's are {error.reference_rms:.2g} rms)"
    )
