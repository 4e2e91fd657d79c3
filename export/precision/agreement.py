"""How far a model of lower precision is from the float32 one: logits, and the proposals it makes.

Both are run as they ship, by `deepmask.runtime.DeepMask`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.proposals import Proposals
from deepmask.runtime.predict.select import Selection, select_best
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.views import plan_views

#: A proposal counts as found if a mask, or box, among the other model's best is so much like it.
SAME_IOU = 0.9
REFERENCE_TOP, SEARCHED_TOP = 100, 150
#: Masks of one scale whose logits are compared, the float32 model's best.
MASKS_COMPARED = 32

Image = NDArray[np.uint8]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class LogitError:
    """Root mean square and largest difference, beside the float32 logits' own root mean square."""

    rms: float
    largest: float
    reference_rms: float


@dataclass(frozen=True)
class Agreement:
    """Figures over `pictures` pictures; `found` is the share of `proposals` float32 proposals.

    masks    None for a model that gives boxes only.
    ranks    None for a model without a second look.
    offsets  of windows, None for a model that does not move them.
    """

    pictures: int
    proposals: int
    found: float
    scores: LogitError
    masks: LogitError | None = None
    ranks: LogitError | None = None
    offsets: LogitError | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the figures as `model.json` keeps them."""
        measure = {"top": REFERENCE_TOP, "among": SEARCHED_TOP, "iou": SAME_IOU}
        return {**measure, **asdict(self)}


def measure_agreement(reference: DeepMask, reduced: DeepMask, images: Iterable[Image]) -> Agreement:
    """Compare two models of one checkpoint on `images`, each (H, W, 3) uint8 RGB.

    Every image's `REFERENCE_TOP` float32 proposals are looked for among `SEARCHED_TOP` of the other
    model. Logits are compared at one view of each image, the middle one: scores at every location,
    masks at the float32 model's best.
    """
    found: list[NDArray[np.bool_]] = []
    logits: list[dict[str, tuple[Logits, Logits]]] = []
    for image in images:
        logits.append(_logits(reference, reduced, image))
        wanted = reference(image, proposals=REFERENCE_TOP, labels=False)
        found.append(found_again(wanted, reduced(image, proposals=SEARCHED_TOP, labels=False)))
    hits = np.concatenate(found)
    errors = {name: logit_error(pairs[name] for pairs in logits) for name in logits[0]}
    return Agreement(len(found), len(hits), float(hits.mean()), **errors)


def found_again(wanted: Proposals, offered: Proposals) -> NDArray[np.bool_]:
    """Tell of each proposal of `wanted` that is not empty whether `offered` has nearly the same."""
    same = wanted.ious(offered)[wanted.areas > 0] >= SAME_IOU
    found: NDArray[np.bool_] = np.any(same, axis=1)
    return found


def logit_error(pairs: Iterable[tuple[Logits, Logits]]) -> LogitError:
    """Measure how float32 logits (first) and others (second) differ, over all pairs."""
    expected, other = (
        np.concatenate([one.ravel() for one in side]) for side in zip(*pairs, strict=True)
    )
    difference = np.abs(other.astype(np.float64) - expected)
    return LogitError(_rms(difference), float(difference.max()), _rms(expected))


def _logits(
    reference: DeepMask, reduced: DeepMask, image: Image
) -> dict[str, tuple[Logits, Logits]]:
    """Return (float32, other) at an image's middle view, by the names of `Agreement`'s errors."""
    views = reference.manifest.views
    height, width = image.shape[:2]
    planned = plan_views(height, width, views.scales.factors(), views)
    view = planned[len(planned) // 2]
    chosen: Selection | None = None
    found: list[dict[str, Logits]] = []
    for model in (reference, reduced):
        network, timer = Network(model.manifest, model.engine), StageTimer(model.engine)
        tensors = [network.run_view(network.picture(image, timer), view, timer)]
        maps = network.score_maps(tensors, [view])
        chosen = chosen or select_best(maps, MASKS_COMPARED)
        masks, ranks = network.masks(chosen, tensors, timer)
        offsets = [one.delta.ravel() for one in maps if one.delta is not None]
        own = {"scores": np.concatenate([one.logits.ravel() for one in maps])}
        own |= {"masks": masks} if model.manifest.has_masks else {}
        own |= {} if ranks is None else {"ranks": ranks}
        found.append(own | ({"offsets": np.concatenate(offsets)} if offsets else {}))
    return {name: (found[0][name], found[1][name]) for name in found[0]}


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
