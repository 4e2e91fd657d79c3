"""The comparison that ends every export: the written graphs against the PyTorch network."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
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
from deepmask.networks.config import BORDER_FILL
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.graphs import GraphSource, border_of, margin_of
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.sharpmask import SharpMaskNetwork

#: Largest accepted max |a − b| / max(1, max |b|).
TOLERANCE = 1e-4
#: Heights and widths of the compared pictures; the runtime paints each on a gray canvas whose sides
#: are multiples of 16.
PICTURE_SIZES = ((61, 83), (160, 112), (203, 317), (334, 258))
MASKS_PER_PICTURE = 32
WINDOWS_AT_ONCE = 32
#: Masks that graphs give, and the network's masks that they must equal.
_EXPECTED_MASKS = {"mask": "mask", "mask_dense": "mask", "coarse_mask": "coarse_mask"}
Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Deviation:
    """Largest relative deviations of features, scores and masks for one picture size."""

    height: int
    width: int
    locations: int
    masks_compared: int
    features: float
    scores: float
    masks: float

    @property
    def worst(self) -> float:
        """The largest of the three."""
        return max(self.features, self.scores, self.masks)


@dataclass(frozen=True)
class Sample:
    """One canvas and the windows whose masks are compared."""

    height: int
    width: int
    canvas: Tensor
    locations: Tensor


def samples(config: DeepMaskConfig) -> list[Sample]:
    """A smooth random picture of each size in `PICTURE_SIZES`, the same in every export."""
    random = torch.Generator().manual_seed(0)
    result = []
    for height, width in PICTURE_SIZES:
        stride, border = config.stride, border_of(config.patch)
        rows, cols = -(-height // stride) + 1, -(-width // stride) + 1
        canvas = torch.full(
            (1, 3, stride * (rows - 1) + 2 * border, stride * (cols - 1) + 2 * border), BORDER_FILL
        )
        coarse = 255 * torch.rand((1, 3, 8, 8), generator=random)
        picture = F.interpolate(coarse, (height, width), mode="bilinear")
        picture += 40 * torch.rand(picture.shape, generator=random) - 20
        canvas[:, :, border : border + height, border : border + width] = picture.clamp(0, 255)
        corners = [(0, 0), (0, cols - 1), (rows - 1, 0), (rows - 1, cols - 1)]
        inner = torch.rand((MASKS_PER_PICTURE - len(corners), 2), generator=random)
        locations = torch.cat([torch.tensor(corners), (inner * torch.tensor([rows, cols])).long()])
        result.append(Sample(height, width, canvas, locations))
    return result


def predict_with_torch(model: DeepMaskNetwork, sample: Sample) -> Tensors:
    """features, score at every location and mask at the sample's, by the heads as trained.

    The trunk sees the canvas; each head and the refinement see one window at a time. A refined
    network's own masks are `mask`, its mask head's `coarse_mask`.
    """
    with torch.inference_mode():
        stages = model.stages(sample.canvas)
        features = stages[-1]
        cells, margin = model.config.cells, margin_of(model.config)
        rows = features.shape[2] - 2 * margin - cells + 1
        cols = features.shape[3] - 2 * margin - cells + 1

        def windows(locations: Tensor, maps: Tensor = features, ratio: int = 1) -> Tensor:
            size = ratio * cells
            return torch.stack(
                [
                    maps[0, :, i : i + size, j : j + size]
                    for i, j in (ratio * (locations + margin)).tolist()
                ]
            )

        everywhere = torch.tensor(list(itertools.product(range(rows), range(cols))))
        score = [model.score(windows(some)) for some in torch.split(everywhere, WINDOWS_AT_ONCE)]
        chosen = torch.split(sample.locations, WINDOWS_AT_ONCE)
        found = {
            "features": features,
            "score": torch.cat(score).view(1, 1, rows, cols),
            "mask": torch.cat([model.mask(windows(some)) for some in chosen]),
        }
        if isinstance(model, SharpMaskNetwork):
            shared = model.refine.shared(stages)
            refined = []
            for some in chosen:
                maps = [windows(some, one, 1 << level) for level, one in enumerate(shared)]
                refined.append(model.refine(model.mask_head.code(windows(some)), maps))
            found |= {"coarse_mask": found["mask"], "mask": torch.cat(refined)}
    return {name: tensor.numpy() for name, tensor in found.items()}


def predict_with_onnxruntime(
    sessions: Mapping[str, onnxruntime.InferenceSession],
    sources: Mapping[str, GraphSource],
    sample: Sample,
) -> Tensors:
    """The same by the graphs, each fed with what the one before gave."""
    known: dict[str, NDArray[Any]] = {
        "image": sample.canvas.numpy(),
        "locations": sample.locations.numpy(),
    }
    for name in ("trunk", "score", "mask"):
        source = sources[name]
        feed = {key: known[key] for key in source.inputs}
        outputs = sessions[name].run(list(source.outputs), feed)
        known |= dict(zip(source.outputs, outputs, strict=True))
    if "coarse_mask" in sources:
        (known["coarse_features"],) = sessions["coarse_trunk"].run(None, {"image": known["image"]})
        feed = {key: known[key] for key in sources["coarse_mask"].inputs}
        (known["coarse_mask"],) = sessions["coarse_mask"].run(["mask"], feed)
    if "mask_dense" in sources:
        source = sources["mask_dense"]
        feed = {key: known[key] for key in source.inputs}
        (dense,) = sessions["mask_dense"].run(list(source.outputs), feed)
        row, col = sample.locations.numpy().T
        known["mask_dense"] = dense[row * known["score"].shape[3] + col]
    return known


def deviation(sample: Sample, found: Tensors, expected: Tensors) -> Deviation:
    """How far `found` is from `expected`; all forms of features and of masks count alike."""
    features = [found[name] for name in ("features", "coarse_features") if name in found]
    masks = [
        relative_error(found[name], expected[of])
        for name, of in _EXPECTED_MASKS.items()
        if name in found
    ]
    return Deviation(
        height=sample.height,
        width=sample.width,
        locations=expected["score"].size,
        masks_compared=len(sample.locations),
        features=max(relative_error(one, expected["features"]) for one in features),
        scores=relative_error(found["score"], expected["score"]),
        masks=max(masks),
    )


def relative_error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """max |found − expected| / max(1, max |expected|); infinite if a value is not finite.

    Raises `ValueError` where the shapes differ.
    """
    if found.shape != expected.shape:
        raise ValueError(f"shapes {found.shape} and {expected.shape} differ")
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    return float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))


def compare(
    folder: Path,
    sources: Mapping[str, GraphSource],
    exported: DeepMaskNetwork,
    original: DeepMaskNetwork,
) -> tuple[list[Deviation], list[Deviation]]:
    """Deviations of the graphs in `folder` from the network, and of rounded weights from exact.

    `exported` is the network with the weights that the graphs hold, `original` the checkpoint's;
    the second list is empty where they are one and the same.
    """
    sessions = {
        name: onnxruntime.InferenceSession(
            str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
        )
        for name in (*sources, *(["coarse_trunk"] if "coarse_mask" in sources else ()))
    }
    parity, rounding = [], []
    for sample in samples(exported.config):
        expected = predict_with_torch(exported, sample)
        found = predict_with_onnxruntime(sessions, sources, sample)
        parity.append(deviation(sample, found, expected))
        if original is not exported:
            whole = predict_with_torch(original, sample)
            rounding.append(deviation(sample, expected, whole))
    return parity, rounding


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
    """The figures as `model.json` keeps them."""
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
    """The figures for a person to read."""
    head = f"{'picture':>9}  {'locations':>9}  {'features':>9}  {'scores':>9}  {'masks':>9}"
    lines = [f"ONNX Runtime against PyTorch, largest relative deviation (limit {TOLERANCE:.0e})"]
    lines += [head, *map(_row, parity)]
    if rounding:
        lines += ["Weights rounded to float16 against the checkpoint's", head]
        lines += map(_row, rounding)
    return "\n".join(lines)


def _row(one: Deviation) -> str:
    picture = f"{one.height}×{one.width}"
    figures = "  ".join(f"{value:9.1e}" for value in (one.features, one.scores, one.masks))
    return f"{picture:>9}  {one.locations:>9}  {figures}"
