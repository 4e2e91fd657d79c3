"""Focal loss against cross entropy and hard example mining, on one schedule (thesis, table 5.1).

`python -m benchmarks.class_losses --data DIR [--out FILE.json]`, DIR with COCO's folders
`annotations`, `train` and `val`. What reads the shipped network's pyramid is trained from random
weights, as `retinanet-lite`: trunk and pyramid stay as they are, so that their maps are computed
once, and every run learns from the same crops in an order of its own seed.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.categories import with_categories
from deepmask.coco.pictures import read_picture
from deepmask.coco.reader import read_coco
from deepmask.evaluate.average_precision import ClassTotals
from deepmask.evaluate.class_matching import match_classes
from deepmask.evaluate.detections import Detections
from deepmask.networks.anchors.assign import RETINANET
from deepmask.networks.anchors.batches import AnchorBatch, retinanet_batches
from deepmask.networks.anchors.decode import best_boxes
from deepmask.networks.anchors.learning import start_from_pyramid, train_anchors
from deepmask.networks.anchors.objective import anchor_losses
from deepmask.networks.anchors.recipe import AnchorRecipe
from deepmask.networks.boxes.batches import canvas_of, whole_view
from deepmask.networks.boxes.categories import with_categories_of
from deepmask.networks.family import TrainingData
from deepmask.networks.presets import PRESETS
from deepmask.networks.retinanet import RetinaNet
from deepmask.networks.whole.view import View, paint
from deepmask.runtime.io.atomic import atomic_write
from deepmask.runtime.model.shipped import SHIPPED_MODEL
from deepmask.train.initialise import read_trained
from deepmask.train.optimise import learning_rate, make_optimiser, set_learning_rate

LOSSES = ("focal", "cross-entropy", "ohem")
PRESET = "retinanet-lite"
STEPS, BATCH, LR = 242, 8, 2e-3
#: Boxes of a level that are looked at, boxes of a picture that are kept, and the IoU of NMS.
OF_LEVEL, MOST, NMS = 200, 100, 0.5
KEPT = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Crops:
    """Crops to learn from: their levels in bfloat16, and a batch of them without the pictures."""

    levels: list[Tensor]
    batch: AnchorBatch


@dataclass(frozen=True)
class Look:
    """A picture at test time: its levels in bfloat16, its view, and the picture's id."""

    levels: list[Tensor]
    view: View
    image_id: int


def frequent(found: LabelledSet, count: int) -> list[int]:
    """Return the ids of the categories with the most objects, ascending."""
    common = Counter(one.category for one in found.objects).most_common(count)
    return sorted(number for number, _ in common)


def with_only(found: LabelledSet, kept: Sequence[int]) -> LabelledSet:
    """Return a set with the objects of some categories only."""
    return with_categories([found], ",".join(map(str, kept)))[0]


def start(found: LabelledSet) -> RetinaNet:
    """Return a network of random weights for a set's categories, on the shipped pyramid."""
    network = RetinaNet(with_categories_of(PRESETS[PRESET].config, TrainingData(found)))
    base = network.config.base()
    assert base is not None
    start_from_pyramid(network, read_trained(Path(SHIPPED_MODEL), base).build())
    return network.eval()


@torch.no_grad()
def levels_of(network: RetinaNet, images: Tensor) -> list[Tensor]:
    """(N, H, W, 3) uint8 → the levels in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        levels = network.levels(images.permute(0, 3, 1, 2).float())
    return [level.bfloat16() for level in levels]


def crops_of(network: RetinaNet, found: LabelledSet, recipe: AnchorRecipe) -> list[Crops]:
    """Return batches of as many crops as there are pictures."""
    make = retinanet_batches(TrainingData(found, cache_bytes=0), network.config, recipe)
    batches = map(make, range(len(found.images) // recipe.batch))
    return [
        Crops(levels_of(network, one.images), replace(one, images=one.images[:0]))
        for one in batches
    ]


def only(crops: Sequence[Crops], ids: Sequence[int], kept: Sequence[int]) -> list[Crops]:
    """Return the crops with objects of some categories only; others are background.

    ids, kept  of the categories that the batches number from 1, and of those that stay.
    """
    number = torch.tensor([kept.index(one) + 1 if one in kept else 0 for one in ids])
    found = []
    for one in crops:
        new = [number[category - 1] for category in one.batch.category]
        batch = replace(
            one.batch,
            boxes=[boxes[k > 0] for boxes, k in zip(one.batch.boxes, new, strict=True)],
            usable=[usable[k > 0] for usable, k in zip(one.batch.usable, new, strict=True)],
            category=[k[k > 0] for k in new],
            labelled=[torch.ones(len(kept), dtype=torch.bool) for _ in new],
        )
        found.append(replace(one, batch=batch))
    return found


def looks_of(network: RetinaNet, found: LabelledSet) -> list[Look]:
    """Look at the pictures of a set as at test time."""
    looks = []
    for image in found.images:
        picture = read_picture(image)
        view = whole_view(*picture.shape[:2], mirrored=False)
        painted = torch.from_numpy(paint(picture, view, canvas_of(view)))
        looks.append(Look(levels_of(network, painted[None]), view, image.id))
    return looks


def train(network: RetinaNet, crops: Sequence[Crops], recipe: AnchorRecipe, seed: int) -> None:
    """Train what reads the levels, on the crops in an order of the seed."""
    order = np.random.default_rng(seed)
    optimiser = make_optimiser(train_anchors(network, recipe), recipe)
    places: list[int] = []
    for step in range(recipe.steps):
        places = places or order.permutation(len(crops)).tolist()
        one = crops[places.pop()]
        batch = replace(one.batch, class_loss=recipe.class_loss)
        truths = [batch.truth(k) for k in range(len(batch.sizes))]
        set_learning_rate(optimiser, learning_rate(step, recipe))
        with torch.autocast("cpu", torch.bfloat16):
            found = network.read(one.levels)
            losses = anchor_losses(found, network.config.levels(), truths, batch, RETINANET)
        optimiser.zero_grad()
        total = losses["class"] + recipe.box_weight * losses["box"]
        total.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()


@torch.no_grad()
def measure(network: RetinaNet, looks: Sequence[Look], labels: LabelledSet) -> dict[str, Any]:
    """Return the box AP of a network, see `ClassTotals.summary`."""
    network.eval()
    totals, annotations = ClassTotals(), labels.by_image()
    ids = np.array(network.config.category_ids)
    for look in looks:
        with torch.autocast("cpu", torch.bfloat16):
            anchored = network.read(look.levels)
        size = (look.view.height, look.view.width)
        found = best_boxes(
            anchored, network.config.levels(), size, of_level=OF_LEVEL, count=MOST, iou=NMS
        )
        boxes = found.boxes.double().numpy() / np.tile([look.view.scale_x, look.view.scale_y], 2)
        boxes[:, 2:] -= boxes[:, :2]
        given = Detections(ids[found.category], found.chances.double().numpy(), boxes, None)
        totals.add(look.image_id, match_classes(given, annotations[look.image_id], "bbox"))
    return totals.summary(labels.categories)


def table(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table: means over seeds, and the least and the largest."""
    lines = ["| loss | AP | AP50 | AP75 |", "|---|---|---|---|"]
    for loss in LOSSES:
        found = [run for run in runs.values() if run["loss"] == loss]
        cells = [_cell([100 * run[key] for run in found]) for key in KEPT] if found else []
        lines += [f"| {loss} | {' | '.join(cells)} |"] if cells else []
    return lines


def _cell(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True)
@click.option("--categories", default=10, show_default=True, help="The most frequent ones.")
@click.option("--steps", default=STEPS, show_default=True)
@click.option("--lr", default=LR, show_default=True)
@click.option("--loss", "losses", multiple=True, default=LOSSES, type=click.Choice(LOSSES))
@click.option("--seeds", default=3, show_default=True, help="Runs of each loss.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON; it is added to.")
def main(
    data: Path,
    categories: int,
    steps: int,
    lr: float,
    losses: tuple[str, ...],
    seeds: int,
    out: Path,
) -> None:
    torch.set_num_threads(1)
    training, held_out = (
        read_coco(data / "annotations" / f"instances_{part}.json", data / part)
        for part in ("train", "val")
    )
    kept = frequent(training, categories)
    recipe = replace(PRESETS[PRESET].recipe, steps=steps, lr=lr, batch=BATCH, warmup=steps // 20)
    whole = start(training)
    crops = only(crops_of(whole, training, recipe), whole.config.category_ids, kept)
    looks = looks_of(whole, held_out)
    labelled = with_only(training, kept)
    found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for seed in range(seeds):
        for loss in losses:
            name = f"{loss}, lr {lr:g}, {steps} steps, {categories} categories, seed {seed}"
            if name in found:
                continue
            torch.manual_seed(seed)
            network = start(labelled)
            began = time.process_time()
            train(network, crops, replace(recipe, class_loss=loss), seed)
            seconds = time.process_time() - began
            summary = measure(network, looks, with_only(held_out, kept))
            found[name] = {
                **{"loss": loss, "seed": seed, "seconds": round(seconds), "lr": lr},
                **{key: summary[key] for key in KEPT},
                "intervals": {key: summary["intervals"][key] for key in KEPT},
                "categories": summary["categories"],
            }
            with atomic_write(out) as file:
                file.write(json.dumps(found, indent=1).encode())
            click.echo(f"{name}: " + ", ".join(f"{k} {100 * summary[k]:.2f}" for k in KEPT))
    click.echo("\n".join(table(found)))


if __name__ == "__main__":
    main()
