"""Hold what a model calls the proposals of a picture: a probability for each category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Category

#: What a mask without a category is called.
OBJECT = "object"


@dataclass(frozen=True, eq=False)
class Classes:
    """Categories of N masks.

    categories  what the model tells apart, C of them.
    scores      (N, C) float32 probabilities; what they lack to 1 is background's. All 0: the model
                was not asked.
    boxes       (N, C, 4) float32 XYWH in pixels: the object's box if it is of a category; None if
                the model makes none.
    least       probability from which a mask is called by its most probable category.
    """

    categories: tuple[Category, ...]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32] | None
    least: float

    @staticmethod
    def of_labels(
        categories: tuple[Category, ...],
        labels: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        least: float,
    ) -> Classes:
        """Return the classes of N boxes that are each of one category: (N,) label, probability."""
        chances = np.zeros((len(labels), len(categories)), np.float32)
        chances[np.arange(len(labels)), labels] = scores
        return Classes(categories, chances, None, least)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(N,) indices into the categories; -1 for a mask of which the model is not sure enough."""
        best: npt.NDArray[np.int64] = self.scores.argmax(axis=1).astype(np.int64)
        sure = (self.label_scores >= self.least) & (self.label_scores > 0)
        return np.where(sure, best, -1)

    @cached_property
    def label_scores(self) -> npt.NDArray[np.float32]:
        """(N,) probability of each mask's most probable category, sure or not."""
        found: npt.NDArray[np.float32] = self.scores.max(axis=1)
        return found

    @property
    def names(self) -> list[str]:
        """The name of each mask; `OBJECT` without a category."""
        return [self.categories[k].name if k >= 0 else OBJECT for k in self.labels.tolist()]

    @property
    def numbers(self) -> list[int]:
        """The category of each mask, counted from 0; one more than the last without a category."""
        return [k if k >= 0 else len(self.categories) for k in self.labels.tolist()]

    @property
    def ids(self) -> list[int]:
        """The category id of each mask in results, see `listed`."""
        known = listed(self.categories)
        return [known[number].id for number in self.numbers]

    def only(self, chosen: Sequence[int]) -> Classes:
        """Return the classes of some masks, in their order."""
        boxes = None if self.boxes is None else self.boxes[chosen]
        return replace(self, scores=self.scores[chosen], boxes=boxes)


def listed(categories: Sequence[Category]) -> list[Category]:
    """Return the categories that results may have: the last is for masks without one."""
    return [*categories, Category(1 + max((one.id for one in categories), default=0), OBJECT)]
