"""From a folder of float32 graphs to one of lower precision, measured against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from deepmask.export.coarse import COARSE_GRAPHS, write_coarse_trunk
from deepmask.export.onnx_graph import strip
from deepmask.export.precision.agreement import (
    REFERENCE_TOP,
    SAME_MASK_IOU,
    SEARCHED_TOP,
    Agreement,
    Image,
    LogitError,
    measure_agreement,
)
from deepmask.export.precision.calibration import Feed, later_feeds, trunk_feeds
from deepmask.export.precision.calibration_set import COMPARED, Photographs, drawn_pictures
from deepmask.export.precision.fp16 import convert_to_half
from deepmask.export.precision.int8 import INT8, SYMMETRIC, quantise
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.manifest import Graph, Manifest, write_manifest
from deepmask.runtime.predict.deepmask import DeepMask

FP32, FP16 = "fp32", "fp16"
#: Share of the float32 model's proposals that a good export finds again; below, it warns.
EXPECTED_FOUND = {FP16: 0.95, INT8: 0.85, SYMMETRIC: 0.85}

Report = Callable[[str], None]


def write_reduced(
    reference: Path, out: Path, precision: str, photographs: Photographs | None, report: Report
) -> Manifest:
    """Write the model folder `reference`, of float32 graphs, to `out` in another precision.

    int8 needs `photographs`; fp16 is compared on drawn pictures without. Every graph passes ONNX's
    checker. The figures of the comparison are reported and kept in the manifest's `parity`; too low
    an agreement is reported as a warning.
    """
    with DeepMask.load(reference, engine="onnxruntime", device="cpu") as model:
        derived = f"{COARSE_GRAPHS['trunk']}.onnx"
        for source in sorted(reference.glob("*.onnx"), key=lambda path: path.name == derived):
            target = out / source.name
            if target.name == derived:  # of the converted trunk, so that its features are the same
                write_coarse_trunk(out)
            else:
                _convert(source, target, precision, photographs, model)
            report(f"{target.name:<17}{target.stat().st_size / 1e6:7.1f} MB, {precision}")
        plain = model.manifest
        coarse = plain.coarse and replace(plain.coarse, graphs=_hashed(plain.coarse.graphs, out))
        manifest = replace(
            plain,
            precision=precision,
            weights=precision,
            graphs=_hashed(plain.graphs, out),
            coarse=coarse,
        )
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
    manifest = replace(manifest, parity={**plain.parity, "against_fp32": record})
    write_manifest(manifest, out)
    return manifest


def as_lines(agreement: Agreement, precision: str, compared_on: str) -> list[str]:
    """The figures for a person to read, and a warning where they are low."""
    expected = EXPECTED_FOUND[precision]
    lines = [
        f"{precision} against fp32 on {agreement.pictures} {compared_on}",
        f"  score logits  {_error(agreement.scores)}",
        f"  mask logits   {_error(agreement.masks)}",
        f"  proposals     {agreement.found:.1%} of fp32's top {REFERENCE_TOP} are among its top "
        f"{SEARCHED_TOP} (mask IoU ≥ {SAME_MASK_IOU})",
    ]
    if agreement.pictures < COMPARED:
        lines.append(f"Note: fewer than {COMPARED} pictures, the figures are rough")
    if agreement.found < expected:
        lines.append(
            f"Warning: {precision} finds {agreement.found:.1%} of fp32's proposals again, below "
            f"{expected:.0%}: measure its recall with deepmask-eval before you use it"
        )
    return lines


def _convert(
    source: Path, target: Path, precision: str, photographs: Photographs | None, model: DeepMask
) -> None:
    if precision == FP16:
        convert_to_half(source, target, source.stem)
    else:
        assert photographs is not None  # ExportOptions saw to it
        feeds = _feeds(source, photographs.calibrated, model)
        quantise(source, target, source.stem, feeds, precision)
    graph = onnx.load(target)
    strip(graph)
    onnx.save_model(graph, target)
    onnx.checker.check_model(target, full_check=True)


def _feeds(source: Path, files: Sequence[Path], model: DeepMask) -> Iterator[Feed]:
    if source.stem == "trunk":
        return trunk_feeds(files, model.manifest)
    inputs = [value.name for value in onnx.load(source).graph.input]
    return later_feeds(source.stem, inputs, files, model.manifest, model.engine)


def _hashed(graphs: Mapping[str, Graph], folder: Path) -> dict[str, Graph]:
    """The same graphs with the hashes of their files in `folder`."""
    return {
        name: replace(graph, sha256=sha256_of(folder / graph.file))
        for name, graph in graphs.items()
    }


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
