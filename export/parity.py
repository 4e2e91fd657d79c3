"""Compare the written graphs with the PyTorch network: the end of every export.

Scores, and offsets of windows, are compared at every location; masks, and ranks where there are
any, at windows of every grid: those in the corners, and some inside; names at boxes, some of them
partly beside the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepmask.export.errors import ExportError
from deepmask.export.predict import (
    Sample,
    Tensors,
    predict_with_onnxruntime,
    predict_with_torch,
)
from deepmask.networks.dense.graphs import DenseForm, DenseModel
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import canvas_shape, plan_views

#: Largest accepted max |a − b| / max(1, max |b|).
TOLERANCE = 1e-4
#: Heights and widths of the compared pictures.
PICTURE_SIZES = ((61, 83), (160, 112), (203, 317), (334, 258))
#: Least number of windows that are compared, and of those that are in no corner, for each grid.
MASKS_PER_PICTURE, INNER_PER_GRID = 32, 4
#: Boxes that are compared.
BOXES_PER_PICTURE = 24


@dataclass(frozen=True)
class Deviation:
    """Largest relative deviations of features, scores, masks … for one picture size.

    features  None for a network whose reference gives no map.
    masks     None for one that gives boxes only.
    ranks     None for one without a second look.
    names     of class logits of boxes; None for one without stages for boxes.
    offsets   of windows, or of boxes; None for one that moves neither.
    """

    height: int
    width: int
    locations: int
    masks_compared: int
    features: float | None
    scores: float
    masks: float | None
    ranks: float | None = None
    names: float | None = None
    offsets: float | None = None

    @property
    def worst(self) -> float:
        """The largest of them."""
        optional = (self.features, self.masks, self.ranks, self.names, self.offsets)
        return max(self.scores, *(one or 0.0 for one in optional))


def samples(manifest: Manifest) -> list[Sample]:
    """Return a smooth random picture of each size in `PICTURE_SIZES`, the same in every export."""
    random = torch.Generator().manual_seed(0)
    views, grids = manifest.views, manifest.grids
    result = []
    for height, width in PICTURE_SIZES:
        view = plan_views(height, width, (1.0,), views, max(height, width))[0]
        canvas = torch.full(canvas_shape(view), views.fill)
        coarse = 255 * torch.rand((1, 3, 8, 8), generator=random)
        picture = F.interpolate(coarse, (height, width), mode="bilinear")
        picture += 40 * torch.rand(picture.shape, generator=random) - 20
        top, left = views.border, views.border
        canvas[:, :, top : top + height, left : left + width] = picture.clamp(0, 255)
        counts = [location_counts(view, grid) for grid in grids]
        corners = [
            (grid, row, col)
            for grid, (rows, cols) in enumerate(counts)
            for row in (0, rows - 1)
            for col in (0, cols - 1)
        ]
        more = max(MASKS_PER_PICTURE - len(corners), INNER_PER_GRID * len(grids))
        inner = torch.rand((more, 2), generator=random)
        grid = torch.arange(len(inner)) % len(grids)
        inside = (inner * torch.tensor(counts)[grid]).long()
        windows = torch.cat([torch.tensor(corners), torch.cat([grid[:, None], inside], dim=1)])
        total = sum(rows * cols for rows, cols in counts)
        boxes = _boxes(height, width, random)
        result.append(Sample(height, width, canvas, windows, boxes, total, grids))
    return result


def _boxes(height: int, width: int, random: torch.Generator) -> Tensor:
    """Return (n, 4) float32 boxes of all sizes, whose centres lie on the picture."""
    size = torch.tensor([width, height])
    centres = torch.rand((BOXES_PER_PICTURE, 2), generator=random) * size
    half = size * 2 ** (-5 * torch.rand((BOXES_PER_PICTURE, 2), generator=random)) / 2
    return torch.cat([centres - half, centres + half], 1)


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return max |found − expected| / max(1, max |expected|); infinite for values not finite.

    Raises ValueError where the shapes differ.
    """
    if found.shape != expected.shape:
        raise ValueError(f"shapes {found.shape} and {expected.shape} differ")
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def compare(
    folder: Path,
    manifest: Manifest,
    dense: DenseModel,
    network: DenseModel,
    exact: DenseModel | None = None,
) -> tuple[list[Deviation], list[Deviation]]:
    """Compare the graphs in `folder` with the network, and rounded weights with exact ones.

    dense    the graphs that were written.
    network  made of the network whose weights they hold; its references are what they must equal.
    exact    made of the checkpoint's own weights where those were rounded; without it the second
             list is empty.
    Raises ValueError for a reference that leaves one of those out.
    """
    parity, rounding = [], []
    for sample in samples(manifest):
        pairs, rounded = [], []
        for name, form in dense.forms().items():
            expected = predict_with_torch(network.forms()[name], sample)
            found = predict_with_onnxruntime(folder, form, sample)
            pairs += list(_pairs(form, found, expected))
            if exact is not None:
                unrounded = predict_with_torch(exact.forms()[name], sample)
                rounded += list(_pairs(form, expected, unrounded))
        parity.append(_deviation(sample, pairs))
        if rounded:
            rounding.append(_deviation(sample, rounded))
    return parity, rounding


_Pair = tuple[str, NDArray[Any], NDArray[Any]]


def _pairs(form: DenseForm, found: Tensors, expected: Tensors) -> Iterable[_Pair]:
    """Yield role, found and expected values of each tensor that the reference gives."""
    roles = {name: spec.role for graph in form.graphs for name, spec in graph.outputs.items()}
    missing = {"score", "mask", "rank", "class", "delta"} & {
        role for name, role in roles.items() if name not in expected
    }
    if missing:
        raise ValueError(f"the reference lacks a {' and a '.join(sorted(missing))} of the graphs")
    for name, values in expected.items():
        yield roles[name], found[name], values


def _deviation(sample: Sample, pairs: Iterable[_Pair]) -> Deviation:
    worst: dict[str, float] = {}
    for role, found, expected in pairs:
        worst[role] = max(worst.get(role, 0.0), relative_error(found, expected))
    return Deviation(
        height=sample.height,
        width=sample.width,
        locations=sample.counts,
        masks_compared=len(sample.windows),
        features=worst.get("map"),
        scores=worst["score"],
        masks=worst.get("mask"),
        ranks=worst.get("rank"),
        names=worst.get("class"),
        offsets=worst.get("delta"),
    )


def require_parity(parity: list[Deviation]) -> None:
    """Raise `ExportError` if a deviation is above `TOLERANCE`."""
    worst = max(parity, key=lambda one: one.worst)
    if worst.worst == float("inf"):
        raise ExportError(
            f"a picture of {worst.height}×{worst.width} px gives values that are NaN or infinite: "
            "the weights are too large for float32 arithmetic, or broken; nothing was written"
        )
    if worst.worst > TOLERANCE:
        raise ExportError(
            f"ONNX Runtime differs from PyTorch by {worst.worst:.1e} for a picture of "
            f"{worst.height}×{worst.width} px, above {TOLERANCE:.0e}: nothing was written"
        )


def as_record(parity: list[Deviation], rounding: list[Deviation]) -> dict[str, Any]:
    """Return the figures as `model.json` keeps them."""
    record: dict[str, Any] = {
        "measure": "max|a-b| / max(1, max|b|)",
        "tolerance": TOLERANCE,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "pictures": [asdict(one) for one in parity],
    }
    if rounding:
        record["rounding_of_weights"] = [asdict(one) for one in rounding]
    return record


def as_table(parity: list[Deviation], rounding: list[Deviation]) -> str:
    """Return the figures for a person to read; of masks, ranks … only where there are any."""
    shown = ["features", "scores"]
    for name in ("masks", "ranks", "names", "offsets"):
        shown += [name] if any(getattr(one, name) is not None for one in parity) else []
    head = "  ".join(f"{name:>9}" for name in ("picture", "locations", *shown))
    lines = [f"ONNX Runtime against PyTorch, largest relative deviation (limit {TOLERANCE:.0e})"]
    lines += [head, *(_row(one, shown) for one in parity)]
    if rounding:
        lines += ["Weights rounded to float16 against the checkpoint's", head]
        lines += [_row(one, shown) for one in rounding]
    return "\n".join(lines)


def _row(one: Deviation, shown: Sequence[str]) -> str:
    picture = f"{one.height}×{one.width}"
    values = (getattr(one, name) for name in shown)
    figures = "  ".join(f"{'–':>9}" if value is None else f"{value:9.1e}" for value in values)
    return f"{picture:>9}  {one.locations:>9}  {figures}"
