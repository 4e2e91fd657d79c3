"""The sampler obeys the paper's rules for every draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmask.coco.annotations import Annotation, Ignored, Image, LabelledSet
from deepmask.coco.categories import with_categories
from deepmask.coco.reader import read_coco
from deepmask.coco.values import Box
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import DeepMaskRecipe
from deepmask.networks.patches.sampling import (
    Sampler,
    Window,
    canonical,
    category_weights,
    is_negative,
)
from deepmask.networks.presets import PRESETS
from tests.networks.patch_presets import PATCH_PRESETS

PAPER = PRESETS["deepmask-vgg-a"].recipe
VGG = PRESETS["deepmask-vgg-a"].config
DRAWS = 1500


def make_set(
    *boxes: tuple[float, float, float, float],
    size: tuple[int, int] = (640, 480),
    crowd: Sequence[int] = (),
    categories: Sequence[int] = (),
) -> LabelledSet:
    image = Image(1, Path("nowhere.jpg"), *size)
    kinds = categories or [1] * len(boxes)
    items = (
        Annotation(k, image, kinds[k], k in crowd, box[2] * box[3], box, [])
        for k, box in enumerate(boxes)
    )
    return LabelledSet((image,), tuple(items), ())


def test_canonical_window_is_the_papers() -> None:
    (item,) = make_set((100, 50, 64, 32)).instances
    window = canonical(item, VGG.object_size)
    assert (window.x, window.y) == (132, 66)
    assert window.scale * 64 == 128


@given(
    st.tuples(st.floats(0, 500), st.floats(0, 400), st.floats(6, 300), st.floats(6, 300)),
    st.integers(0, 2**32),
)
def test_positives_stay_within_the_jitter(
    box: tuple[float, float, float, float], seed: int
) -> None:
    found = make_set(box)
    item = found.instances[0]
    sampler = Sampler(found, [], VGG, replace(PAPER, min_area=1))
    for positive in sampler.score_positives(20, np.random.default_rng(seed)):
        window, home = positive.window, canonical(item, 128.0)
        assert abs(math.log2(window.scale / home.scale)) <= 0.25 + 1e-9
        assert abs(window.x - home.x) * window.scale <= 16 + 1e-6
        assert abs(window.y - home.y) * window.scale <= 16 + 1e-6


def violates(window: Window, item: Annotation, recipe: DeepMaskRecipe, object_size: float) -> bool:
    """The rule in plain words: near in place and near in scale."""
    home = canonical(item, object_size)
    off = max(abs(window.x - home.x), abs(window.y - home.y)) * window.scale
    return off < recipe.negative_shift and abs(math.log2(window.scale / home.scale)) < (
        recipe.negative_octaves
    )


@pytest.mark.parametrize("preset", PATCH_PRESETS)
def test_thousands_of_negatives_obey_the_rule(preset: str) -> None:
    recipe, model = PRESETS[preset].recipe, PRESETS[preset].config
    recipe = replace(recipe, near_negatives=0.5)
    found = make_set((40, 60, 120, 80), (300, 200, 60, 160), (420, 30, 40, 40), (5, 400, 30, 20))
    sampler = Sampler(found, [], model, recipe)
    negatives = sampler.negatives(DRAWS, np.random.default_rng(3))
    assert len(negatives) == DRAWS
    for negative in negatives:
        for item in found.instances:
            assert not violates(negative.window, item, recipe, model.object_size)
        assert 0 <= negative.window.x <= 640
        assert 0 <= negative.window.y <= 480


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(-2, 2))
def test_negative_rule_is_distance_or_scale(dx: float, dy: float, octaves: float) -> None:
    scale = 2.0**octaves
    window = Window(100 + dx / scale, 100 + dy / scale, scale)
    expected = max(abs(dx), abs(dy)) >= 32 or abs(octaves) >= 1
    if abs(max(abs(dx), abs(dy)) - 32) > 1e-6 and abs(abs(octaves) - 1) > 1e-6:
        assert is_negative(window, np.array([[100.0, 100.0, 1.0]]), PAPER) == expected


def test_near_negatives_are_close_to_objects() -> None:
    found = make_set((300, 200, 80, 80))
    recipe = replace(PAPER, near_negatives=1.0)
    sampler = Sampler(found, [], VGG, recipe)
    for negative in sampler.negatives(300, np.random.default_rng(0)):
        home = canonical(found.instances[0], 128.0)
        off = max(abs(negative.window.x - home.x), abs(negative.window.y - home.y))
        assert off * negative.window.scale <= 32 * 2.8 + 1e-6


def test_crowds_and_tiny_objects_are_never_positives_but_still_no_negatives() -> None:
    found = make_set(
        (100, 100, 80, 80), (300, 300, 9, 9), (400, 100, 4, 60), (450, 300, 150, 100), crowd=(3,)
    )
    sampler = Sampler(found, [], VGG, PAPER)
    rng = np.random.default_rng(1)
    assert {p.instance.id for p in sampler.mask_positives(400, rng)} == {0}
    for negative in sampler.negatives(DRAWS, rng):
        for item in found.instances[:3]:
            assert not violates(negative.window, item, PAPER, 128.0)
        window = negative.window
        assert not (450 <= window.x <= 600 and 300 <= window.y <= 400), "inside a crowd"


def test_partly_labelled_sets_train_masks_and_never_give_negatives() -> None:
    labelled = make_set((100, 100, 80, 80))
    image, found = (
        Image(2, Path("other.jpg"), 640, 480),
        make_set((10, 10, 90, 90), (200, 200, 90, 90)),
    )
    items = (replace(item, id=10 + item.id, image=image) for item in found.instances)
    partly = LabelledSet((image,), tuple(items), ())
    sampler = Sampler(labelled, [partly], VGG, PAPER)
    rng = np.random.default_rng(2)
    masked = sampler.mask_positives(300, rng)
    assert {p.instance.id for p in masked} == {0, 10, 11}
    assert all(p.scored == (p.instance.id == 0) for p in masked)
    assert {p.instance.id for p in sampler.score_positives(100, rng)} == {0}
    assert {n.image.id for n in sampler.negatives(100, rng)} == {1}

    near = replace(PAPER, near_negatives=0.5)
    both = Sampler(labelled, [partly], VGG, near, score_partly=True)
    assert all(p.scored for p in both.mask_positives(300, rng))
    assert {p.instance.id for p in both.score_positives(300, rng)} == {0, 10, 11}
    assert {n.image.id for n in both.negatives(100, rng)} == {1}


@pytest.mark.parametrize(("exponent", "rare_share"), [(0.0, 0.1), (-1.0, 0.5)])
def test_category_exponent_balances_categories(exponent: float, rare_share: float) -> None:
    boxes = [(10 * k, 10, 50, 50) for k in range(10)]
    items = make_set(*boxes, categories=[1] * 9 + [2]).instances
    shares = np.diff(category_weights(items, exponent)[:-1], prepend=0.0)
    assert 1 - shares.sum() == pytest.approx(rare_share)


def test_no_room_for_negatives_is_an_error_not_a_hang() -> None:
    recipe = replace(PAPER, negative_shift=1e6, negative_octaves=20.0)
    sampler = Sampler(make_set((10, 10, 100, 100)), [], VGG, recipe)
    with pytest.raises(ValueError, match="no negative found"):
        sampler.negatives(1, np.random.default_rng(0))


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ValueError, match="no object to learn from"):
        Sampler(make_set((10, 10, 3, 3)), [], VGG, PAPER)


def test_objects_of_other_categories_are_background(
    drawn: tuple[Path, Path], tiny_model: DeepMaskConfig, tiny_recipe: DeepMaskRecipe
) -> None:
    (found,) = with_categories([read_coco(*drawn)], "3")
    sampler = Sampler(found, [], tiny_model, tiny_recipe)
    rng = np.random.default_rng(0)
    picked = sampler.mask_positives(50, rng) + sampler.score_positives(50, rng)
    assert {one.instance.category for one in picked} == {3}


@pytest.mark.parametrize("box", [(300.0, 300.0, 0.0, 0.0), (250.0, 180.0, 120.0, 30.0)])
def test_what_is_left_out_is_neither_object_nor_background(box: Box) -> None:
    """An empty box has no scale: it would be divided by 0."""
    found = make_set((100, 100, 80, 80))
    left = Ignored(1, found.images[0], (box,), "outline")
    found = replace(found, ignored=(left, Ignored(2, None, (), "image")))
    sampler = Sampler(found, [], VGG, PAPER)
    rng = np.random.default_rng(1)
    picked = sampler.mask_positives(100, rng) + sampler.score_positives(100, rng)
    assert {one.instance.id for one in picked} == {0}
    x, y, width, height = box
    for negative in sampler.negatives(500, rng):
        window = negative.window
        assert not (x <= window.x <= x + width and y <= window.y <= y + height)
        if width:
            middle = np.array([[x + width / 2, y + height / 2, VGG.object_size / width]])
            assert is_negative(window, middle, PAPER)


def test_a_picture_that_is_all_unknown_gives_no_negatives() -> None:
    found = make_set((100, 100, 80, 80))
    everywhere = Ignored(1, found.images[0], ((0.0, 0.0, 640.0, 480.0),), "box")
    sampler = Sampler(replace(found, ignored=(everywhere,)), [], VGG, PAPER)
    with pytest.raises(ValueError, match="no negative found"):
        sampler.negatives(1, np.random.default_rng(0))


def test_why_nothing_can_be_learned_is_counted() -> None:
    found = make_set((10, 10, 3, 3), (10, 10, 99, 99), (0, 0, 50, 50), crowd=[1])
    first, crowd, box = found.instances
    left = Ignored(9, found.images[0], (), "outline")
    found = replace(found, instances=(first, crowd, replace(box, segmentation=None)))
    with pytest.raises(ValueError, match="of 4 annotations 1 are crowds, 1 are left out, 1 have"):
        Sampler(replace(found, ignored=(left,)), [], VGG, PAPER)
    with pytest.raises(ValueError, match="nothing is annotated"):
        Sampler(replace(found, instances=()), [], VGG, PAPER)
