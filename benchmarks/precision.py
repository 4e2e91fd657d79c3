"""What TF32 and fp16 on a GPU do to a model's recall, emulated on a CPU.

`python -m benchmarks.precision --annotations FILE --images DIR [--limit N] [--out FILE.json]`. See
`benchmarks/emulate.py` for what is emulated. Each form is measured by `deepmask-eval`'s own code.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import onnx

from benchmarks.emulate import FORMS, emulate
from deepmask.evaluate.evaluator import evaluate
from deepmask.evaluate.request import Request
from deepmask.export.onnx_graph import name_nodes
from deepmask.export.precision.fp16 import KEPT
from deepmask.export.precision.keep_float32 import layers_of, score_tail
from deepmask.export.weights import store_as_single
from deepmask.runtime.model.folder import load_manifest, with_checksums, write_manifest
from deepmask.runtime.model.shipped import find_model

PLAIN = "fp32"
PATH = click.Path(path_type=Path)


def write_emulated(source: Path, form: str, folder: Path) -> None:
    """Write the float32 model folder `source` to `folder`, computing as `form`, one of `FORMS`."""
    manifest = load_manifest(source)
    folder.mkdir(parents=True)
    for stage in manifest.stages:
        model = onnx.load(source / stage.file)
        store_as_single(model)
        name_nodes(model)
        spared = [*layers_of(model, stage, *KEPT), *score_tail(model, stage)]
        emulate(model, form, spared)
        onnx.save_model(model, folder / stage.file)
    whole = replace(manifest, coarse=None) if manifest.coarse else manifest
    write_manifest(with_checksums(whole, folder), folder)


def measure(folder: Path, annotations: Path, images: Path, limit: int | None) -> dict[str, Any]:
    """Return mask and box recall of a model folder on a labelled set."""
    done = evaluate(
        Request(
            annotations=annotations,
            images=images,
            model=folder,
            engine="onnxruntime",
            device="cpu",
            limit=limit,
        )
    )
    assert done.metrics is not None
    return {"pictures": done.measured, **{kind: done.metrics[kind] for kind in ("segm", "bbox")}}


@click.command()
@click.option("--annotations", type=PATH, required=True)
@click.option("--images", type=PATH, required=True)
@click.option("--model", type=PATH, help="[default: fpn-lite]")
@click.option("--form", "forms", multiple=True, type=click.Choice([PLAIN, *FORMS]))
@click.option("--limit", type=click.IntRange(1))
@click.option("--out", type=PATH, help="JSON; forms that it holds are not measured again.")
def main(
    annotations: Path,
    images: Path,
    model: Path | None,
    forms: tuple[str, ...],
    limit: int | None,
    out: Path | None,
) -> None:
    source = find_model(model)
    found: dict[str, Any] = json.loads(out.read_text()) if out and out.exists() else {}
    for form in forms or (PLAIN, *FORMS):
        if form not in found:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place, form)
                if form == PLAIN:
                    shutil.copytree(source, folder)
                else:
                    write_emulated(source, form, folder)
                found[form] = measure(folder, annotations, images, limit)
            if out:
                out.write_text(json.dumps(found, indent=1) + "\n")
        click.echo(line(form, found[form]))


def line(form: str, figures: dict[str, Any]) -> str:
    recall = "  ".join(f"@{n} {figures['segm'][f'AR@{n}']:.4f}" for n in (10, 100, 1000))
    return f"{form:<10} mask AR {recall}  ({figures['pictures']} pictures)"


if __name__ == "__main__":
    main()
