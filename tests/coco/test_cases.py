"""Labels as people really have them: what is right of each file in `cases`.

Every picture there shows one red 80×60 object on green at x 40, y 30, as its labels mean it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from deepmask.coco.annotations import LabelledSet, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from deepmask.coco.pictures import ORIENTATIONS, read_picture, undecided
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import Sampler
from deepmask.networks.presets import PRESETS
from deepmask.runtime.cli.messages import printed_messages
from deepmask.train.cli import command

CASES = Path(__file__).with_name("cases")
PICTURES = CASES / "images"


@dataclass(frozen=True)
class Right:
    """What a file comes to: objects, crowds, reasons of what is left out, and what is said.

    passes  whether the check does.
    """

    objects: int = 1
    crowds: int = 0
    ignored: Sequence[str] = ()
    said: Sequence[str] = ()
    passes: bool = True


SOUND = Right()
RIGHT = {
    "01-iscrowd-text-0": Right(objects=2),
    "02-dropped-becomes-background": Right(
        objects=2, said=["has a polygon that is not a list", "the rest of it"], passes=False
    ),
    "03-exif-180-labels-as-shown": SOUND,
    "03-exif-90-labels-as-stored": SOUND,
    "03-exif-90-square-as-shown": SOUND,
    "05-transparent": SOUND,
    "06-all-images-refused-backslash": SOUND,
    "07-empty-object-of-an-annotator": Right(
        ignored=["empty"], said=["annotation 2, image 1: bbox [0, 0, 0, 0] is empty"], passes=False
    ),
    "07-one-object-without-outline": Right(
        2, ignored=["outline"], said=["annotation 3, image 1: has a box but no"], passes=False
    ),
    "08-box-corners": Right(
        0, ignored=["mismatch"], said=["annotation 1", "looks like corners"], passes=False
    ),
    "08-outline-0-to-1": Right(
        0, ignored=["mismatch"], said=["annotation 1", "outline looks like frac"], passes=False
    ),
    "09-all-crowd-rle": Right(0, crowds=1, passes=False),
    "09-area-0": Right(said=["area 0 is not near its mask's, 4800"], passes=False),
    "11-area-null": Right(said=["area null is not square pixels: the mask's"], passes=False),
    "11-bbox-null": Right(said=["bbox null is not x, y, width, height: the outline's"]),
    "11-bbox-nulls": Right(said=["bbox [None, None, None, None] is not x, y"], passes=False),
    "12-no-bbox": SOUND,
    "13-flat-outline": SOUND,
    "13-list-of-points": SOUND,
    "14-bom": SOUND,
}
#: Files without a usable image, and why.
REFUSED = {
    "06-all-images-refused-absolute": "image 1: file_name '/data/images/a.png'",
    "06-all-images-refused-no-size": "image 1: a.png: width and height must be whole numbers",
}
#: Read, but their pictures are not.
DAMAGED = {"04-half-a-jpeg": "half.jpg: damaged or truncated"}


def case(name: str) -> Path:
    return CASES / f"{name}.json"


def test_every_case_has_its_test() -> None:
    cases = {path.stem for path in CASES.glob("[0-9]*.json")}
    assert cases == {*RIGHT, *REFUSED, *DAMAGED}


def is_red(pixels: np.ndarray) -> np.ndarray:
    red: np.ndarray = (pixels[..., 0] > 120) & (pixels[..., 1] < 100)
    return red


def check_objects(found: LabelledSet) -> None:
    """Each object is the red one of its picture, and has its area and box."""
    for item in found.objects:
        mask, red = full_mask(item).astype(bool), is_red(read_picture(item.image))
        assert (mask & red).sum() > 0.95 * (mask | red).sum() > 0
        assert np.allclose(item.box, (40, 30, 80, 60), atol=1)
        assert item.area == pytest.approx(4800, rel=0.01)


@pytest.mark.parametrize("name", RIGHT)
def test_both_rooms_read_what_is_right(name: str) -> None:
    right = RIGHT[name]
    found = read_labels(case(name), PICTURES)
    check_objects(found)
    assert len(found.objects) == right.objects
    assert len(found.instances) - right.objects == right.crowds
    assert Counter(left.reason for left in found.ignored) == Counter(right.ignored)
    texts = " ".join(map(str, found.problems))
    assert bool(texts) == bool(right.said)
    for said in right.said:
        assert said in texts
    if not right.objects:
        with pytest.raises(EvalError, match="no object to measure") as caught:
            coco_truth(case(name))
        assert all(said in str(caught.value) for said in right.said)
        return
    truth = coco_truth(case(name))
    measured = [i for items in truth.annotations.values() for i in items if not i.crowd]
    assert truth.kinds == ("segm", "bbox")
    assert [(item.id, item.box, item.area) for item in measured] == [
        (item.id, item.box, item.area) for item in found.objects
    ]
    assert truth.ignored == Counter(right.ignored)


#: Its only picture gives no negatives: where the object without a box is, nobody knows.
SPARED = "07-empty-object-of-an-annotator"


@pytest.mark.parametrize("name", [name for name, right in RIGHT.items() if right.objects])
def test_no_negative_is_centred_on_the_object(name: str) -> None:
    preset, rng = PRESETS["deepmask-r18"], np.random.default_rng(0)
    assert isinstance(preset.config, DeepMaskConfig)
    assert isinstance(preset.recipe, DeepMaskRecipe)
    sampler = Sampler(read_labels(case(name), PICTURES), [], preset.config, preset.recipe)
    if name == SPARED:
        with pytest.raises(ValueError, match="no negative found"):
            sampler.negatives(1, rng)
        return
    for one in sampler.negatives(50, rng):
        window = one.window
        near = abs(window.x - 80) < 4 and abs(window.y - 60) < 4
        assert not (near and 0.7 < window.scale * 80 / preset.config.object_size < 1.4)


@pytest.mark.parametrize(("name", "text"), REFUSED.items())
def test_sets_without_an_image_say_why(name: str, text: str) -> None:
    for images in (PICTURES, None):
        with pytest.raises(LabelError, match="no usable image: ") as caught:
            read_labels(case(name), images)
        assert text in str(caught.value)


@pytest.mark.parametrize(("name", "text"), DAMAGED.items())
def test_damaged_pictures_are_refused_by_name(name: str, text: str) -> None:
    (image,) = read_labels(case(name), PICTURES).images
    with pytest.raises(LabelError) as caught:
        read_picture(image)
    assert text in str(caught.value)
    for one in coco_truth(case(name)).pictures.values():
        with pytest.raises(LabelError) as again:
            read_picture(one, PICTURES)
        assert str(again.value) == str(caught.value)


@pytest.mark.parametrize("name", [*RIGHT, *DAMAGED])
def test_the_check_says_so(name: str) -> None:
    arguments = ["--check-data", "--train-annotations", str(case(name))]
    arguments += ["--train-images", str(PICTURES), "--json"]
    with printed_messages():
        done = CliRunner().invoke(command, arguments, standalone_mode=False)
    right = RIGHT.get(name, Right(objects=0, passes=False))
    told = json.loads(done.stdout)
    assert told["passes"] is right.passes
    assert done.return_value == (0 if right.passes else 1)
    counts = told["sets"][0]["counts"]["annotations"]
    assert counts["usable"] == right.objects
    assert counts["read"] == counts["usable"] + counts["crowds"] + sum(counts["ignored"].values())
    assert (told["sets"][0]["nothing_to_use"] is None) == (right.objects > 0)


@pytest.mark.parametrize(
    ("name", "undecidable", "right"),
    [
        ("03-exif-180-labels-as-shown", True, "shown"),
        ("03-exif-90-square-as-shown", True, "shown"),
        ("03-exif-90-labels-as-stored", False, "stored"),
    ],
)
def test_orientation_is_settled_by_size_or_by_the_option(
    name: str, undecidable: bool, right: str
) -> None:
    assert len(undecided(read_labels(case(name), PICTURES).images)) == undecidable
    for option in ("shown", "stored"):
        found = read_labels(case(name), PICTURES, ORIENTATIONS[option])
        assert not undecided(found.images)
        if option == right:
            check_objects(found)
            continue
        with pytest.raises((AssertionError, LabelError)):
            check_objects(found)


def test_voc_with_an_unspecified_difficulty() -> None:
    found = read_labels(CASES / "15-voc-difficult-unspecified")
    (item,) = found.objects
    assert item.box == (40.0, 30.0, 80.0, 60.0)
    (problem,) = found.problems
    assert "difficult is 'Unspecified', neither 0 nor 1" in problem.text
