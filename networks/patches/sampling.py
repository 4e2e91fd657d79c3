"""Choose where patches are taken: jittered positives, negatives far from every object (§3)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from deepmask.coco.annotations import Annotation, Image, LabelledSet
from deepmask.coco.values import Box
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.patches.recipe import PatchRecipe

#: Draws of one negative before another picture is tried, and pictures before giving up.
TRIES_PER_IMAGE = 10
TRIES_IMAGES = 100
#: Near negatives lie up to this many times the smallest permitted distance off, in place (patch px)
#: or in scale (octaves).
NEAR_REACH = 2.8
NEAR_OCTAVES = 2.0
#: Negatives are drawn at scales about the pyramid's, 2^from … 2^to: others are never seen.
NEGATIVE_OCTAVES = (-2.75, 1.25)


@dataclass(frozen=True)
class Window:
    """A patch on a picture: centre (x, y) in image pixels, scale in patch px per image px."""

    x: float
    y: float
    scale: float
    flip: bool = False


@dataclass(frozen=True)
class Positive:
    """A window that shows `instance` near its centre; `scored`: may train the score as well."""

    instance: Annotation
    window: Window
    scored: bool


@dataclass(frozen=True)
class Negative:
    """A window of `image` that is centred on no object."""

    image: Image
    window: Window


def canonical(instance: Annotation, object_size: float) -> Window:
    """Return the window on an object whose larger box side is `object_size` patch px in it (§3)."""
    return _around(instance.box, object_size)


def _around(box: Box, object_size: float) -> Window:
    x, y, width, height = box
    return Window(x + width / 2, y + height / 2, object_size / max(width, height))


def jittered(window: Window, recipe: PatchRecipe, rng: Generator) -> Window:
    """Shift, scale and flip a window at random within the recipe's limits (§3.4)."""
    dx, dy = rng.uniform(-recipe.jitter_shift, recipe.jitter_shift, 2)
    scale = window.scale * 2.0 ** rng.uniform(-recipe.jitter_octaves, recipe.jitter_octaves)
    return Window(
        window.x + dx / scale, window.y + dy / scale, scale, flip=bool(rng.random() < 0.5)
    )


def is_negative(window: Window, canonicals: NDArray[np.float64], recipe: PatchRecipe) -> bool:
    """Return whether `window` is far from every canonical window in place **or** in scale (§3.4).

    canonicals: (N, 3) rows (x, y, scale). Distance is the larger of the two axes', in patch px.
    """
    if not len(canonicals):
        return True
    distance = window.scale * np.abs(canonicals[:, :2] - (window.x, window.y)).max(axis=1)
    octaves = np.abs(np.log2(canonicals[:, 2] / window.scale))
    far = (distance >= recipe.negative_shift) | (octaves >= recipe.negative_octaves)
    return bool(far.all())


class Sampler:
    """Draw positives from all sets and negatives from the fully labelled one; hold no state.

    Raises ValueError when the sets have nothing to draw from.
    """

    def __init__(
        self,
        labelled: LabelledSet,
        partly: Sequence[LabelledSet],
        config: DeepMaskConfig,
        recipe: PatchRecipe,
        score_partly: bool = False,
    ) -> None:
        """In the sets `partly` some objects are unlabelled: no negative is drawn from them.

        score_partly: their objects are positives of the score too.
        """
        self._recipe = recipe
        self._object_size = config.object_size
        self._labelled = [item for item in labelled.objects if self._usable(item)]
        others = [item for extra in partly for item in extra.objects if self._usable(item)]
        self._masked = self._labelled + others
        self._scored = self._masked if score_partly else self._labelled
        if not self._labelled:
            raise ValueError(f"no object to learn from: {self._why_none(labelled)}")
        self._scored_weights = category_weights(self._scored, recipe.category_exponent)
        self._masked_weights = category_weights(self._masked, recipe.category_exponent)
        self._images = labelled.images
        self._neighbours = self._canonicals(labelled)
        self._unknown = labelled.unknown_by_image()

    def mask_positives(self, count: int, rng: Generator) -> list[Positive]:
        """Draw positives for the mask branch from every set, the labelled set's first."""
        picks = np.sort(self._choose(self._masked_weights, count, rng))
        scored = len(self._scored)
        return [self._positive(self._masked[k], int(k) < scored, rng) for k in picks]

    def score_positives(self, count: int, rng: Generator) -> list[Positive]:
        """Draw positives for the score branch: the labelled set's, or all (`score_partly`)."""
        picks = self._choose(self._scored_weights, count, rng)
        return [self._positive(self._scored[k], True, rng) for k in picks]

    def negatives(self, count: int, rng: Generator) -> list[Negative]:
        """Draw negatives: the recipe's share of them close to an object, the others anywhere."""
        return [self._negative(rng) for _ in range(count)]

    def _usable(self, instance: Annotation) -> bool:
        recipe = self._recipe
        return (
            instance.segmentation is not None
            and instance.area >= recipe.min_area
            and min(instance.box[2:]) >= recipe.min_side
            and self._object_size / instance.side <= 2.0**recipe.max_octaves
        )

    def _why_none(self, labelled: LabelledSet) -> str:
        recipe, objects = self._recipe, labelled.objects
        crowds = len(labelled.instances) - len(objects)
        boxes = sum(item.segmentation is None for item in objects)
        parts = [f"{crowds} are crowds"] * (crowds > 0)
        parts += [f"{len(labelled.ignored)} are left out"] * bool(labelled.ignored)
        parts += [f"{boxes} have a box but no outline"] * (boxes > 0)
        if small := len(objects) - boxes:
            parts.append(
                f"{small} are under {recipe.min_area:g} px², under {recipe.min_side:g} px a side "
                "or too small for the patch"
            )
        total = len(labelled.instances) + len(labelled.ignored)
        return f"of {total} annotations {', '.join(parts)}" if parts else "nothing is annotated"

    def _canonicals(self, labelled: LabelledSet) -> dict[int, NDArray[np.float64]]:
        # Of what is left out, too: it is an object perhaps, and no negative may be centred on it.
        windows: dict[int, list[Window]] = {image.id: [] for image in labelled.images}
        for item in labelled.objects:
            windows[item.image.id].append(canonical(item, self._object_size))
        for left in labelled.ignored:
            if left.image is not None:
                places = [box for box in left.boxes if max(box[2:]) > 0]
                windows[left.image.id] += [_around(box, self._object_size) for box in places]
        return {
            key: np.array([(w.x, w.y, w.scale) for w in items], np.float64).reshape(-1, 3)
            for key, items in windows.items()
        }

    @staticmethod
    def _choose(cumulative: NDArray[np.float64], count: int, rng: Generator) -> NDArray[np.int64]:
        return np.searchsorted(cumulative, rng.random(count), side="right").astype(np.int64)

    def _positive(self, instance: Annotation, scored: bool, rng: Generator) -> Positive:
        window = jittered(canonical(instance, self._object_size), self._recipe, rng)
        return Positive(instance, window, scored)

    def _negative(self, rng: Generator) -> Negative:
        for _ in range(TRIES_IMAGES):
            near = rng.random() < self._recipe.near_negatives
            item = self._labelled[rng.integers(len(self._labelled))]
            image = item.image if near else self._images[rng.integers(len(self._images))]
            for _ in range(TRIES_PER_IMAGE):
                window = self._beside(item, rng) if near else _anywhere(image, rng)
                if self._is_safe(window, image):
                    return Negative(image, window)
        raise ValueError(
            f"no negative found in {TRIES_IMAGES} pictures: objects leave no room; "
            "lower the negative shift or add pictures with background"
        )

    def _is_safe(self, window: Window, image: Image) -> bool:
        is_unknown = any(
            x <= window.x <= x + width and y <= window.y <= y + height
            for x, y, width, height in self._unknown[image.id]
        )
        return not is_unknown and is_negative(window, self._neighbours[image.id], self._recipe)

    def _beside(self, instance: Annotation, rng: Generator) -> Window:
        # Just outside the positive range of the object, in place or in scale.
        recipe = self._recipe
        home = canonical(instance, self._object_size)
        dx, dy = rng.uniform(-1.0, 1.0, 2) * recipe.negative_shift * NEAR_REACH
        octaves = rng.uniform(-1.0, 1.0) * recipe.jitter_octaves
        if rng.random() < 0.5:
            dx, dy = rng.uniform(-1.0, 1.0, 2) * recipe.jitter_shift
            octaves = recipe.negative_octaves * rng.uniform(1.0, NEAR_OCTAVES)
            octaves *= rng.choice((-1.0, 1.0))
        scale = float(2.0 ** np.clip(math.log2(home.scale) + octaves, *NEGATIVE_OCTAVES))
        x = float(np.clip(home.x + dx / scale, 0, instance.image.width))
        y = float(np.clip(home.y + dy / scale, 0, instance.image.height))
        return Window(x, y, scale, flip=bool(rng.random() < 0.5))


def category_weights(instances: Sequence[Annotation], exponent: float) -> NDArray[np.float64]:
    """Return cumulative probabilities (N,) of instances, each as (count of its category)^exponent.

    0 draws instances alike; −1 draws categories alike, then an instance of the category.
    """
    counts = Counter(item.category for item in instances)
    weights = np.array([counts[item.category] ** exponent for item in instances], np.float64)
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = math.inf  # rounding must not leave a gap at the top
    return cumulative


def _anywhere(image: Image, rng: Generator) -> Window:
    x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
    return Window(x, y, 2.0 ** rng.uniform(*NEGATIVE_OCTAVES), flip=bool(rng.random() < 0.5))
