"""What the command prints: the engine, the time of each stage, the objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deepmask.runtime.errors import counted
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.proposals import Proposals


def model_lines(model: DeepMask, scales: Scales) -> list[str]:
    """Describe the model, engine and scales in use."""
    manifest, reason = model.manifest, model.choice.reason
    lines = [
        f"model   {manifest.name}, {manifest.precision}",
        f"engine  {model.engine.description}" + (f" (auto: {reason})" if reason else ""),
    ]
    if len(scales.factors()) > 1:
        steps = f" … 2^{scales.stop:g} in steps of 2^{scales.step:g}"
        lines.append(f"scales  2^{scales.start:g}{steps}")
    elif scales != manifest.views.scales:
        lines.append(f"scale   2^{scales.start:g}")
    return lines


def time_lines(
    stages: Sequence[str], seconds: Sequence[Mapping[str, float]], things: str = "images"
) -> list[str]:
    """Tabulate the milliseconds of each stage and in all: of one image, or the mean of several.

    Several images are in work at once, so their times overlap; `Rate` tells how long all took. On a
    GPU the total is less than the sum: the host and the device work at the same time.
    """
    names = (*stages, "total")
    means = {name: 1e3 * float(np.mean([run.get(name, 0.0) for run in seconds])) for name in names}
    title = "time, ms"
    if len(seconds) > 1:
        title = f"mean time of {len(seconds)} {things}, ms; two are in work at once and overlap"
    return [
        title,
        "  " + " ".join(f"{name:>8}" for name in means),
        "  " + " ".join(f"{value:8.1f}" for value in means.values()),
    ]


def object_lines(proposals: Proposals, objects: Proposals) -> list[str]:
    """List the objects among the proposals, one a line, numbered as in the picture."""
    height, width = proposals.image_size
    # As many as are written: a proposal may have no pixel above the threshold.
    among = counted(int(np.count_nonzero(proposals.areas)), "proposals")
    found = counted(len(objects), "objects")
    lines = [f"{among} in {width} x {height} pixels, {found}:"]
    names = objects.label_scores is not None
    lines.append("object  score      x      y  width height      area" + names * "  name")
    for index in range(len(objects)):
        box = " ".join(f"{value:6.0f}" for value in objects.boxes[index])
        area = int(objects.areas[index])
        line = (
            f"{index + 1:6d} {objects.scores[index]:6.3f} {box} {area:9d}  {_name(objects, index)}"
        )
        lines.append(line.rstrip())
    return lines


def _name(objects: Proposals, index: int) -> str:
    """Return an object's name with its probability; "-" where the model is not sure."""
    if objects.label_scores is None:
        return ""
    name = objects.captions[index]
    return f"{name} {objects.label_scores[index]:.2f}" if name else "-"
