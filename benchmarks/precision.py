"""What TF32 and fp16 on a GPU do to a model's recall, emulated on a CPU.

`python -m benchmarks.precision --annotations FILE --images DIR [--limit N] [--out FILE.json]`. See
`benchmarks/emulate.py` for what is emulated. Each form is measured by `deepmask-eval`'s own code.
With `--record` TensorRT takes fp16 for the model by default, if its recall holds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import onnx

from benchmarks.emulate import FORMS, FP16, emulate
from deepmask.evaluate.evaluator import evaluate
from deepmask.evaluate.request import Request
from deepmask.runtime.cli.main import Command, run_command
from deepmask.runtime.cli.options import OUTPUT
from deepmask.runtime.io.outputs import RefusedError, require_writable
from deepmask.runtime.io.written import write_known
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.half_graph import name_nodes, spared_by, store_as_single
from deepmask.runtime.model.half_recall import HalfRecall
from deepmask.runtime.model.shipped import find_model

PLAIN = "fp32"
FIGURES = ("AR@10", "AR@100", "AR@1000", "AUC")
PATH = click.Path(path_type=Path)


def write_emulated(source: Path, form: str, folder: Path) -> None:
    """Write the float32 model folder `source` to `folder`, computing as `form`, one of `FORMS`."""
    manifest = load_manifest(source)
    folder.mkdir(parents=True)
    for stage in manifest.stages:
        model = onnx.load(source / stage.file)
        store_as_single(model)
        name_nodes(model)
        emulate(model, form, spared_by(model, stage))
        onnx.save_model(model, folder / stage.file)
    whole = replace(manifest, coarse=None) if manifest.coarse else manifest
    write_manifest(with_checksums(whole, folder), folder)


def measure(
    folder: Path, annotations: Path, images: Path, limit: int | None, max_side: int | None
) -> dict[str, Any]:
    """Return mask and box recall of a model folder on a labelled set."""
    # The steps of a sum are a graph within a graph, which folders of strangers may not hold.
    with patch("deepmask.runtime.model.folder.check_graph_file"):
        done = evaluate(
            Request(
                annotations=annotations,
                images=images,
                model=folder,
                engine="onnxruntime",
                device="cpu",
                limit=limit,
                max_side=max_side,
            )
        )
    assert done.metrics is not None
    kept = {kind: {name: done.metrics[kind][name] for name in FIGURES} for kind in ("segm", "bbox")}
    return {"pictures": done.measured, **kept}


@click.command(cls=Command)
@click.option("--annotations", type=PATH, required=True)
@click.option("--images", type=PATH, required=True)
@click.option("--model", type=PATH, help="[default: fpn-lite]")
@click.option("--form", "forms", multiple=True, type=click.Choice([PLAIN, *FORMS]))
@click.option("--limit", type=click.IntRange(1))
@click.option("--max-side", type=click.IntRange(1), help="Longest side that the model sees.")
@click.option("--out", type=OUTPUT, help="JSON; forms that it holds are not measured again.")
@click.option("--record", is_flag=True, help="Keep fp16's recall in the model's model.json.")
def main(
    annotations: Path,
    images: Path,
    model: Path | None,
    forms: tuple[str, ...],
    limit: int | None,
    max_side: int | None,
    out: Path | None,
    record: bool,
) -> None:
    """Measure a float32 model's recall as it is, and with what a GPU rounds emulated."""
    source = find_model(model)
    found = {} if out is None else earlier(out, [annotations, *source.iterdir()])
    for form in forms or (PLAIN, *FORMS):
        if form not in found:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place, form)
                if form == PLAIN:
                    shutil.copytree(source, folder)
                else:
                    write_emulated(source, form, folder)
                found[form] = measure(folder, annotations, images, limit, max_side)
            if out:
                write_known(out, (json.dumps(found, indent=1) + "\n").encode())
        click.echo(line(form, found[form]))
    if record and {PLAIN, FP16} <= found.keys():
        write_manifest(replace(load_manifest(source), half=half_recall(found)), source)


def half_recall(found: dict[str, Any]) -> HalfRecall:
    """Return what `model.json` keeps of the figures: whether TensorRT may compute in float16."""
    plain, half = (round(found[form]["segm"]["AR@100"], 4) for form in (PLAIN, FP16))
    return HalfRecall(plain, half, found[FP16]["pictures"])


def earlier(out: Path, inputs: Iterable[Path]) -> dict[str, Any]:
    """Return the forms that an earlier run wrote to `out`; it is checked before any work.

    Raises `RefusedError` for an input, and for a file that no run wrote.
    """
    require_writable({"--out": [out]}, inputs, force=True)
    if not out.exists():
        return {}
    try:
        found = json.loads(out.read_bytes())
    except ValueError:
        found = None
    known = isinstance(found, dict) and set(found) <= {PLAIN, *FORMS}
    if not known or not all(isinstance(one, dict) and "segm" in one for one in found.values()):
        raise RefusedError(f"--out {out}: exists and holds no figures of this: give another name")
    return dict(found)


def line(form: str, figures: dict[str, Any]) -> str:
    recall = "  ".join(f"@{n} {figures['segm'][f'AR@{n}']:.4f}" for n in (10, 100, 1000))
    return f"{form:<10} mask AR {recall}  ({figures['pictures']} pictures)"


if __name__ == "__main__":
    run_command(main, "python -m benchmarks.precision")
