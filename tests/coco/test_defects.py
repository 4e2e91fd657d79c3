"""Whatever is wrong with an annotation, no negative lies on the object that it means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.reader import read_coco
from deepmask.coco.values import Box
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import Sampler, is_negative
from deepmask.networks.presets import PRESETS
from deepmask.networks.whole.assign import assign
from deepmask.networks.whole.look import Objects
from tests.evaluate.scenes import encode, rectangle, write

WIDTH, HEIGHT = 640, 512
Entry = dict[str, Any]


def polygon(box: tuple[int, int, int, int]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def annotation(identity: int, box: tuple[int, int, int, int], as_runs: bool) -> Entry:
    outline: Any = [polygon(box)]
    if as_runs:
        outline = encode(rectangle(HEIGHT, WIDTH, box))
    area = box[2] * box[3]
    entry = {"id": identity, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": area}
    return {**entry, "bbox": list(box), "segmentation": outline}


def scaled(values: list[float], x: float, y: float) -> list[float]:
    return [value * (y if k % 2 else x) for k, value in enumerate(values)]


def with_box(change: Callable[[list[float]], Any]) -> Callable[[Entry], Entry]:
    return lambda entry: {**entry, "bbox": change(entry["bbox"])}


def with_outline(change: Callable[[list[float]], Any]) -> Callable[[Entry], Entry]:
    return lambda entry: {**entry, "segmentation": change(polygon(tuple(entry["bbox"])))}


#: What people's tools did to annotations.
DEFECTS: dict[str, Callable[[Entry], Entry]] = {
    "none": lambda entry: entry,
    "no box": lambda entry: {key: entry[key] for key in entry if key != "bbox"},
    "no outline": lambda entry: {key: entry[key] for key in entry if key != "segmentation"},
    "neither": lambda entry: {"id": entry["id"], "image_id": 1, "category_id": 1},
    "no id": lambda entry: {**entry, "id": None},
    "repeated id": lambda entry: {**entry, "id": 0},
    "id as text": lambda entry: {**entry, "id": str(entry["id"]), "image_id": "1"},
    "crowd": lambda entry: {**entry, "iscrowd": 1},
    "crowd as text": lambda entry: {**entry, "iscrowd": "0"},
    "strange crowd": lambda entry: {**entry, "iscrowd": "perhaps"},
    "category as text": lambda entry: {**entry, "category_id": "cat"},
    "no area": lambda entry: {**entry, "area": 0},
    "area of null": lambda entry: {**entry, "area": None},
    "box of nulls": with_box(lambda box: [None] * 4),
    "box of nothing": with_box(lambda box: [0, 0, 0, 0]),
    "box of three": with_box(lambda box: box[:3]),
    "corners": with_box(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]),
    "box in fractions": with_box(lambda box: scaled(box, 1 / WIDTH, 1 / HEIGHT)),
    "box in percent": with_box(lambda box: scaled(box, 100 / WIDTH, 100 / HEIGHT)),
    "centre": with_box(lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]),
    "box swapped": with_box(lambda b: [b[1], b[0], b[3], b[2]]),
    "box elsewhere": with_box(lambda b: [(b[0] + 300) % 500, b[1], b[2], b[3]]),
    "outline in fractions": with_outline(lambda p: [scaled(p, 1 / WIDTH, 1 / HEIGHT)]),
    "outline in percent": with_outline(lambda p: [scaled(p, 100 / WIDTH, 100 / HEIGHT)]),
    "flat outline": with_outline(lambda p: p),
    "points": with_outline(lambda p: [p[k : k + 2] for k in range(0, 8, 2)]),
    "a bad part": with_outline(lambda p: [p, [1, 2, 3]]),
    "only bad parts": with_outline(lambda p: [p[:4], "x"]),
    "text as outline": with_outline(lambda p: "damaged"),
    "runs of another size": with_outline(lambda p: {"size": [3, 3], "counts": [9]}),
    "outline outside": with_outline(lambda p: [scaled(p, -1, -1)]),
}
BOXES = st.tuples(
    st.integers(0, 400), st.integers(0, 300), st.integers(24, 220), st.integers(24, 200)
)
PRESET = PRESETS["deepmask-r18"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    boxes=st.lists(BOXES, min_size=1, max_size=3),
    defects=st.lists(st.sampled_from(sorted(DEFECTS)), min_size=3, max_size=3),
    as_runs=st.booleans(),
    seed=st.integers(0, 99),
)
def test_no_negative_lies_on_an_object(
    tmp_path: Path,
    boxes: list[tuple[int, int, int, int]],
    defects: list[str],
    as_runs: bool,
    seed: int,
) -> None:
    entries = [annotation(n, box, as_runs) for n, box in enumerate(boxes)]
    changed = [DEFECTS[name](one) for name, one in zip(defects, entries, strict=False)]
    sound = {**annotation(99, (200, 200, 100, 80), False), "image_id": 2}
    image = {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}
    other = {**image, "id": 2, "file_name": "b.png"}
    path = write(tmp_path / "l.json", {"images": [image, other], "annotations": [*changed, sound]})
    found = read_coco(path)
    assert len(found.instances) + len(found.ignored) == len(changed) + 1
    truth = coco_truth(path)
    measured = [i for items in truth.annotations.values() for i in items if not i.crowd]
    assert sorted(item.id for item in measured) == sorted(item.id for item in found.objects)
    check_patches(found, boxes, seed)
    check_whole(found, boxes)


def check_patches(found: LabelledSet, boxes: list[tuple[int, int, int, int]], seed: int) -> None:
    """Every negative of a DeepMask is one to the objects that are meant, too."""
    assert isinstance(PRESET.config, DeepMaskConfig)
    assert isinstance(PRESET.recipe, DeepMaskRecipe)
    size = PRESET.config.object_size
    meant = [(x + w / 2, y + h / 2, size / max(w, h)) for x, y, w, h in boxes]
    recipe = replace(PRESET.recipe, near_negatives=0.5)
    sampler = Sampler(found, [], PRESET.config, recipe)
    for one in sampler.negatives(60, np.random.default_rng(seed)):
        if one.image.id == 1:
            assert is_negative(one.window, np.array(meant), recipe)


def check_whole(found: LabelledSet, boxes: list[tuple[int, int, int, int]]) -> None:
    """No window that means such an object is background for fpn-lite."""
    right = targets([tuple(map(float, box)) for box in boxes], [])
    kept = [item.box for item in found.objects if item.image.id == 1]
    labels = targets(kept, list(found.unknown_by_image()[1]))
    for expected, label in zip(right, labels, strict=True):
        assert (label[expected == 1] != 0).all()


def targets(boxes: list[Any], unknown: list[Box]) -> list[npt.NDArray[np.int8]]:
    objects = Objects(corners(boxes), np.ones(len(boxes), bool), corners(unknown), True)
    return [level.label for level in assign(objects, HEIGHT, WIDTH)]


def corners(boxes: list[Any]) -> npt.NDArray[np.float64]:
    table = np.array(boxes, np.float64).reshape(-1, 4)
    table[:, 2:] += table[:, :2]
    return table
