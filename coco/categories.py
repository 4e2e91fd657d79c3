"""Some of the categories only: DeepMask20 is the paper's test of unseen ones (§4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deepmask.coco.annotations import LabelledSet
from deepmask.coco.errors import LabelError

#: PASCAL VOC's 20 categories: COCO's name, and VOC's own where it differs.
VOC: Mapping[str, str] = {
    "airplane": "aeroplane",
    "bicycle": "bicycle",
    "bird": "bird",
    "boat": "boat",
    "bottle": "bottle",
    "bus": "bus",
    "car": "car",
    "cat": "cat",
    "chair": "chair",
    "cow": "cow",
    "dining table": "diningtable",
    "dog": "dog",
    "horse": "horse",
    "motorcycle": "motorbike",
    "person": "person",
    "potted plant": "pottedplant",
    "sheep": "sheep",
    "couch": "sofa",
    "train": "train",
    "tv": "tvmonitor",
}


_NOT = "not "


def with_categories(sets: Sequence[LabelledSet], wanted: str) -> list[LabelledSet]:
    """Return the sets with all their images, but only the objects of some categories.

    wanted: ids or names between commas, "voc" for PASCAL's 20 under COCO's or VOC's names, or ""
    for all; after "not " all others. As in the paper, other objects are background then, to the
    score branch as well. Raises `LabelError` for a category that no set has.
    """
    if not wanted:
        return list(sets)
    named = wanted.strip().casefold()
    others = named.startswith(_NOT)
    asked = [item.strip() for item in named.removeprefix(_NOT).split(",")]
    known = [_known(found) for found in sets]
    everywhere = set().union(*known)
    for item in asked:
        if not (_spellings(item) & everywhere):
            raise LabelError(
                f"category {item!r} is in none of the annotation files, which have "
                f"{_some(sets)}; give ids or names between commas, or voc, or 'not ' and these for "
                "all others"
            )
    spellings = set().union(*map(_spellings, asked))
    chosen = [{names[item] for item in spellings & names.keys()} for names in known]
    if others:
        chosen = [{*names.values()} - ids for names, ids in zip(known, chosen, strict=True)]
    return [_only(found, ids) for found, ids in zip(sets, chosen, strict=True)]


def _spellings(item: str) -> set[str]:
    return {*VOC, *VOC.values()} if item == "voc" else {item}


def _known(found: LabelledSet) -> dict[str, int]:
    """Return every way to write a category of a set, id or name, with its id."""
    ids = {item.category for item in found.instances} | set(found.categories)
    names = {name.casefold(): number for number, name in found.categories.items()}
    return {str(number): number for number in ids} | names


def _only(found: LabelledSet, ids: set[int]) -> LabelledSet:
    kept = tuple(item for item in found.instances if item.category in ids)
    return replace(found, instances=kept)


def _some(sets: Sequence[LabelledSet]) -> str:
    names = sorted({name for found in sets for name in found.categories.values()})
    if not names:
        names = [str(n) for n in sorted({i.category for s in sets for i in s.instances})]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{', '.join(names[:8])}{more}" or "none"
