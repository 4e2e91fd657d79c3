"""The categories that a network is to name: those of its labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from deepmask.networks.boxes.config import CategoriesConfig
from deepmask.networks.config import LARGEST_SIZE, LONGEST_ROW, LONGEST_TEXT
from deepmask.networks.family import TrainingData

Config = TypeVar("Config", bound=CategoriesConfig)


def with_categories_of(config: Config, data: TrainingData) -> Config:
    """Return the configuration with the categories that the data have objects of, by ascending id.

    Raises ValueError for data without an object, and for categories that no model can hold.
    """
    sets = [data.labelled, *data.partly]
    names = {number: name for found in reversed(sets) for number, name in found.categories.items()}
    ids = sorted({item.category for found in sets for item in found.objects})
    if not ids:
        raise ValueError("no object to learn from: every annotation is a crowd or left out")
    if len(ids) > LONGEST_ROW or ids[0] < 0 or ids[-1] > LARGEST_SIZE:
        raise ValueError(
            f"{len(ids)} categories with ids {ids[0]} to {ids[-1]}: a model names {LONGEST_ROW} at "
            f"most, with ids 0 to {LARGEST_SIZE}; choose some by --categories"
        )
    called = [names.get(number, "").strip()[:LONGEST_TEXT] or str(number) for number in ids]
    if len(set(called)) < len(called):
        twice = next(name for name in called if called.count(name) > 1)
        raise ValueError(f"two categories are named {twice!r}: give each a name of its own")
    return replace(config, category_ids=tuple(ids), category_names=tuple(called))
