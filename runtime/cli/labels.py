"""Whether a run names the objects, and which it keeps: what the options say, and the model can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click

from deepmask.runtime.model.manifest import Category, Manifest
from deepmask.runtime.predict.classes import OBJECT, listed
from deepmask.runtime.predict.label_boxes import MOST_BOXES

#: Categories that a message lists.
_SHOWN = 12


@dataclass(frozen=True)
class Labels:
    """What a run names.

    wanted  whether the model tells what the objects are.
    kept    labels of what is kept, indices into the categories, -1 for what has no name; None:
            everything.
    by_id   names of the categories that results may have.
    """

    wanted: bool
    kept: frozenset[int] | None
    by_id: Mapping[int, str]

    @property
    def note(self) -> str:
        """What a reader of the results should know of the names."""
        if not self.wanted:
            return ""
        return (
            f"the first {MOST_BOXES} proposals of an image are named as far as the model is sure; "
            f"those after them are each an {OBJECT}, with category_score 0"
        )


def labels_of(manifest: Manifest, options: Mapping[str, Any]) -> Labels:
    """Return what the options ask of a model.

    Raises `click.UsageError` where it has no categories, or not those that are asked for.
    """
    asked, names = options["labels"], options["categories"]
    needing = {
        "--categories": names is not None,
        "--label-score": options["label_score"] is not None,
    }
    given = [flag for flag, is_given in needing.items() if is_given]
    if asked is False and given:
        raise click.UsageError(f"--no-labels and {given[0]} exclude each other: give one")
    if manifest.categories is None:
        if given == ["--categories"] and _names(names) <= {OBJECT, "1"}:
            return Labels(False, None, {1: OBJECT})  # all are objects
        if asked or given:
            raise click.UsageError(
                f"{given[0] if given else '--labels'}: {manifest.name} has no categories: leave it "
                "out, or give the --model of one that has"
            )
        return Labels(False, None, {1: OBJECT})
    if asked is False:
        return Labels(False, None, {1: OBJECT})
    kept = None if names is None else _chosen(names, manifest.categories)
    return Labels(True, kept, {one.id: one.name for one in listed(manifest.categories)})


def _names(text: str) -> set[str]:
    """Return the names and ids between commas; raises `click.UsageError` where there is none."""
    found = {name.strip().casefold() for name in text.split(",")} - {""}
    if not found:
        raise click.UsageError(
            "--categories: names nothing; give names between commas, as in person,dog, or leave "
            "it out to keep all objects"
        )
    return found


def _chosen(names: str, categories: tuple[Category, ...]) -> frozenset[int]:
    """Return the labels that a text of names and ids between commas stands for."""
    known = listed(categories)
    spellings = [{one.name.casefold(), str(one.id)} for one in known]
    asked = _names(names)
    for name in sorted(asked):
        if not any(name in spelling for spelling in spellings):
            shown = ", ".join(one.name for one in known[:_SHOWN])
            more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
            raise click.UsageError(
                f"--categories: the model has no {name!r:.60}; it has {shown}{more}; "
                f"{OBJECT!r} stands for those without a name"
            )
    chosen = {number for number, spelling in enumerate(spellings) if spelling & asked}
    return frozenset(-1 if number == len(categories) else number for number in chosen)
