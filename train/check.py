"""Check labels and pictures before a run: `deepmask-train --check-data`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from deepmask.coco.annotations import Effect, Ignored, LabelledSet, Problem, full_mask
from deepmask.coco.categories import with_categories
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture, undecided
from deepmask.networks.families import FAMILIES
from deepmask.networks.family import TrainingData
from deepmask.networks.presets import PRESETS
from deepmask.networks.recipe import Recipe
from deepmask.train.data import DataFiles, Report, Source

#: Raises ValueError for a set that has nothing to learn from.
Learnable = Callable[[LabelledSet], object]


@dataclass(frozen=True)
class Checked:
    """What a set came to.

    found        what is left of it.
    problems     of the file and of its pictures; a note costs nothing.
    why_useless  says why nothing can be used; "" if something can.
    """

    source: Source
    found: LabelledSet
    problems: tuple[Problem, ...]
    why_useless: str = ""

    @property
    def passes(self) -> bool:
        """Whether everything is right but for notes."""
        return not self.why_useless and all(p.effect == "note" for p in self.problems)

    def counts(self) -> dict[str, Any]:
        """Return how many images and annotations were read, and what became of them.

        Each number that was read is the sum of those below it.
        """
        found = self.found
        lost = Counter(p.kind for p in found.lost_images)
        objects, ignored = len(found.objects), Counter(item.reason for item in found.ignored)
        return {
            "images": {
                "read": len(found.images) + lost.total(),
                "usable": len(found.images),
                "ignored": dict(lost),
            },
            "annotations": {
                "read": len(found.instances) + ignored.total(),
                "usable": objects,
                "crowds": len(found.instances) - objects,
                "ignored": dict(ignored),
            },
        }


def check(source: Source, learnable: Learnable) -> Checked:
    """Read a set, decode each of its pictures and draw each of its masks.

    `learnable` raises ValueError if nothing can be used of it. Raises `LabelError` for what is no
    labels at all.
    """
    found = source.read()
    problems = list(found.problems)
    for image in undecided(found.images):
        text = f"EXIF turns {image.path} and its size fits both: --labels-are settles it"
        problems.append(Problem("orientation", None, image.id, text, "note"))
    pictures = list(check_pictures(found))
    found = without(found, pictures)
    problems += pictures
    why = ""
    try:
        learnable(found)
    except ValueError as error:
        why = str(error)
    return Checked(source, found, tuple(problems), why)


def check_pictures(found: LabelledSet) -> Iterator[Problem]:
    """Decode every picture and draw every mask; yield what cannot be, or comes out empty."""
    unreadable: set[int] = set()
    for image in tqdm(found.images, unit="image", disable=not sys.stderr.isatty()):
        try:
            read_picture(image)
        except LabelError as error:
            unreadable.add(image.id)
            yield Problem("file", None, image.id, str(error))
    for instance in found.instances:
        if instance.image.id in unreadable or instance.segmentation is None:
            continue
        ids = instance.id, instance.image.id
        try:
            empty = not full_mask(instance).any()
        except (ValueError, TypeError, MemoryError) as error:
            yield Problem("outline", *ids, f"mask cannot be drawn: {error}")
            continue
        if empty:
            yield Problem("outline", *ids, "mask has no pixel")


def without(found: LabelledSet, problems: Sequence[Problem]) -> LabelledSet:
    """Return a set without the images and annotations that `check_pictures` names."""
    lost = tuple(problem for problem in problems if problem.annotation is None)
    images = {problem.image for problem in lost}
    objects = {p.annotation for p in problems if p.annotation is not None}
    kept, ignored = [], []
    for item in found.instances:
        if item.image.id in images:
            ignored.append(Ignored(item.id, None, (), "file"))
        elif item.id in objects:
            ignored.append(Ignored(item.id, item.image, (item.box,), "outline"))
        else:
            kept.append(item)
    for left in found.ignored:
        gone = left.image is not None and left.image.id in images
        ignored.append(replace(left, image=None) if gone else left)
    return replace(
        found,
        images=tuple(image for image in found.images if image.id not in images),
        instances=tuple(kept),
        ignored=tuple(ignored),
        lost_images=(*found.lost_images, *lost),
    )


def check_files(files: DataFiles, preset: str, recipe: Recipe) -> list[Checked]:
    """Check every set of a run: one to learn from by the family's own rules, one to measure on."""
    family, config = FAMILIES[PRESETS[preset].family], PRESETS[preset].config

    def learnable(found: LabelledSet) -> None:
        (chosen,) = with_categories([found], recipe.categories)
        data = TrainingData(chosen)
        family.batches(data, family.fitted(config, data), recipe)

    labelled, *partly = files.training()
    others = [*partly, *files.validation()]
    return [check(labelled, learnable), *(check(source, measurable) for source in others)]


def measurable(found: LabelledSet) -> None:
    """Raise ValueError for a set without an object that has an outline."""
    if not found.objects:
        raise ValueError("no object: all are crowds, or left out")
    if any(item.segmentation is None for item in found.objects):
        raise ValueError("no outline: all objects are boxes")


def tell(checked: Sequence[Checked], report: Report, as_json: bool = False) -> None:
    """Report every problem and then a table for each set, or one text of JSON."""
    if as_json:
        report(json.dumps(plain(checked), indent=1))
        return
    for one in checked:
        for problem in one.problems:
            report(f"{one.source.labels}: {problem}")
    for one in checked:
        report(table(one))


def table(checked: Checked) -> str:
    """Return the counts of a set as a table: what was read, and what became of it."""
    counts = checked.counts()
    images, annotations = counts["images"], counts["annotations"]
    rows = [
        (str(checked.source.labels), "images", "annotations"),
        ("read", images["read"], annotations["read"]),
        ("  usable", images["usable"], annotations["usable"]),
        ("  crowds", "", annotations["crowds"]),
        ("  ignored", sum(images["ignored"].values()), sum(annotations["ignored"].values())),
    ]
    for reason in sorted({*images["ignored"], *annotations["ignored"]}):
        own = [part["ignored"].get(reason, "") for part in (images, annotations)]
        rows.append((f"    {reason}", *own))
    for name, effect in (("mended", "mended"), ("notes", "note")):
        rows += _effects(checked.problems, name, effect)  # type: ignore[arg-type]
    width = max(len(row[0]) for row in rows)
    lines = [f"{name:<{width}} {a:>8} {b:>12}" for name, a, b in rows]
    if checked.why_useless:
        lines.append(f"NOTHING TO USE: {checked.why_useless}")
    return "\n".join(line.rstrip() for line in lines)


def _effects(
    problems: Sequence[Problem], name: str, effect: Effect
) -> list[tuple[str, object, object]]:
    told = [problem for problem in problems if problem.effect == effect]
    if not told:
        return []
    images = Counter(p.kind for p in told if p.annotation is None and not _of_object(p))
    objects = Counter(p.kind for p in told) - images
    rows: list[tuple[str, object, object]] = [(name, images.total(), objects.total())]
    rows += [(f"  {k}", images.get(k, ""), objects.get(k, "")) for k in sorted(images | objects)]
    return rows


def _of_object(problem: Problem) -> bool:
    return problem.kind not in ("image", "file", "orientation", "repeated")


def plain(checked: Sequence[Checked]) -> Mapping[str, Any]:
    """Return the same as plain values."""
    return {
        "passes": all(one.passes for one in checked),
        "sets": [
            {
                "labels": str(one.source.labels),
                "images": str(one.source.images),
                "passes": one.passes,
                "nothing_to_use": one.why_useless or None,
                "counts": one.counts(),
                "problems": [
                    {
                        "kind": problem.kind,
                        "effect": problem.effect,
                        "annotation": problem.annotation,
                        "image": problem.image,
                        "source": problem.source,
                        "text": problem.text,
                    }
                    for problem in one.problems
                ],
            }
            for one in checked
        ],
    }
