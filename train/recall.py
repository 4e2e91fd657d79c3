"""Measure average recall on a few whole images during training (§4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepmask.coco.annotations import Image, LabelledSet
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.evaluate.ground_truth import Objects, objects_of
from deepmask.evaluate.matching import rank_matches
from deepmask.evaluate.metrics import COUNTS, Totals, measures
from deepmask.evaluate.proposals_json import to_candidates
from deepmask.networks.dense.torch_engine import runnable
from deepmask.networks.network import Network
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.train.device import Hardware

KINDS = ("segm", "bbox")
#: The measures taken, named as in `deepmask-eval`'s metrics.json.
RECALLS = tuple(f"{kind}_AR@{count}" for kind in KINDS for count in COUNTS)
#: What decides which checkpoint is the best: the first of these that there is.
DECIDING = ("segm_AR@100", "bbox_AR@100")


@dataclass(frozen=True)
class RecallImage:
    """One decoded picture, uint8 RGB (H, W, 3), and the objects to be found in it."""

    picture: Image
    pixels: NDArray[np.uint8]
    objects: Objects


def recall_images(found: LabelledSet, count: int, with_masks: bool = True) -> list[RecallImage]:
    """Read `count` pictures of a set, spread over it by id, before training starts.

    with_masks  whether objects are to be found by their masks, too.
    Raises `LabelError` for a picture that cannot be decoded, and when there is no object to find.
    """
    ordered = sorted(found.images, key=lambda image: image.id)
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    chosen = [ordered[place] for place in places]
    if with_masks and any(item.segmentation is None for item in found.objects):
        raise LabelError(
            f"{found.name}: its objects have boxes but no outlines, which average recall is "
            "measured on: turn it off by --recall-every 0"
        )
    annotated = found.by_image()
    images = [
        RecallImage(
            image, read_picture(image), objects_of(annotated[image.id], with_masks=with_masks)
        )
        for image in chosen
    ]
    if not any(len(image.objects.ids) for image in images):
        raise LabelError(
            f"no object to find in {len(images)} validation images: raise --recall-images, or turn "
            "average recall off by --recall-every 0"
        )
    return images


def measure_recall(
    network: Network, images: Sequence[RecallImage], hardware: Hardware
) -> Mapping[str, float]:
    """Return `RECALLS` of a network, 0…1, with the runtime's own views, ranking and masks.

    NaN where the images hold no object. Leaves `network` in evaluation mode.
    """
    with runnable(network.eval(), hardware.device) as model:
        return recall_of(model, images)


def recall_of(model: DeepMask, images: Sequence[RecallImage]) -> Mapping[str, float]:
    """Return `RECALLS` of a loaded model, 0…1.

    NaN where the images hold no object, and for the masks of a model that gives boxes only.
    """
    with_masks = model.manifest.has_masks
    kinds = KINDS if with_masks else KINDS[1:]
    # Boxes that a name is not sure of are left out otherwise.
    least = 0.0 if model.manifest.categories and not with_masks else None
    totals = {kind: Totals(resamples=0) for kind in KINDS}
    for image in images:
        proposals = model(image.pixels, proposals=max(COUNTS), label_score=least)
        results = list(map(dict, proposals.to_coco(image.picture.id)))
        candidates = to_candidates(results, image.picture, with_masks=with_masks)
        ranks = rank_matches(candidates, image.objects, kinds)
        for kind in kinds:
            totals[kind].add(image.picture.id, ranks[kind])
    found = {f"{kind}_{k}": v for kind in kinds for k, v in measures(totals[kind]).items()}
    return {name: float(found[name][0]) if name in found else math.nan for name in RECALLS}


def deciding(found: Mapping[str, float]) -> float:
    """Return the recall that decides which checkpoint is the best; NaN if there is none."""
    known = [found[name] for name in DECIDING if not math.isnan(found[name])]
    return known[0] if known else math.nan
