"""One annotation of a labelled set: what can be kept of it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepmask.coco.annotations import Annotation, Effect, Ignored, Image, Kind, Problem
from deepmask.coco.mistakes import mismatch, odd_area
from deepmask.coco.segmentation import extent, good_part, mask_area, tight_box
from deepmask.coco.values import FAULT, SOURCE, Box, brief, number, truth, whole, xywh

_LARGEST_AREA = 1e15
_NOWHERE = (0.0, 0.0, 0.0, 0.0)

Item = Annotation | Ignored


def read_annotation(
    entry: Any, images: Mapping[int | None, Image], seen: set[int]
) -> tuple[Item, list[Problem]]:
    """Return an entry as what it is good for, and what is wrong with it.

    seen  ids of annotations so far; that of this one is added. One without an id that can be used,
          or with one that was used before, gets another.
    """
    if not isinstance(entry, dict):
        text = f"an annotation without a whole number as its id: {brief(entry)}"
        return Ignored(None, None, (), "id"), [Problem("id", None, None, text)]
    identity, image_id = whole(entry.get("id")), whole(entry.get("image_id"))
    image = images.get(image_id)
    if image is None:
        text = f"its image {brief(entry.get('image_id'))} is not in the file, or was left out"
        return (
            Ignored(identity, None, (), "image"),
            [Problem("image", identity, image_id, text, source=entry.get(SOURCE, ""))],
        )
    reader = _Reader(entry, image, identity)
    item = reader.read(_own_id(identity, seen, reader))
    return item, reader.problems


def _own_id(identity: int | None, seen: set[int], reader: _Reader) -> int:
    if identity is None:
        text = f"id is {brief(reader.entry.get('id'))}, not a whole number: the object is kept"
        reader.tell("id", text, "mended")
    elif identity in seen:
        reader.tell("repeated", "this annotation id was used before", "note")
    own = -1 - len(seen) if identity is None or identity in seen else identity
    while own in seen:
        own -= 1
    seen.add(own)
    return own


class _Reader:
    """Read the values of one entry on an image, and collect what is wrong with it."""

    def __init__(self, entry: dict[Any, Any], image: Image, identity: int | None) -> None:
        self.entry = entry
        self.problems: list[Problem] = []
        self._image = image
        self._identity = identity

    def tell(self, kind: Kind, text: str, effect: Effect = "left out") -> None:
        source = self.entry.get(SOURCE, "")
        self.problems.append(Problem(kind, self._identity, self._image.id, text, effect, source))

    def read(self, own_id: int) -> Item:
        image, given = self._image, self.entry.get("bbox")
        outline, fault = self._outline()
        box = xywh(given)
        crowd = self._crowd()
        category = self._category()
        image_box = box if box is not None and _overlap(box, image) else None
        bounds, about = _NOWHERE, 0.0
        if outline is not None:
            bounds, about = extent(outline, image.height, image.width)
            if image_box and not crowd:
                wrong = mismatch(image_box, bounds, image.width, image.height)
                if wrong:
                    text = f"{wrong}: bbox {brief(given)}"
                    return self._left_out("mismatch", text, image_box, bounds)
            if not about:
                outline, fault = None, f"has no pixel in its {image.width}×{image.height} image"
        if image_box is None and outline is None:
            return self._without_place(given, box, fault, crowd)
        if image_box is None:
            self._box_is_the_outlines(given)
            image_box = tight_box(outline, image.height, image.width)
        if crowd:
            if fault:
                self.tell("crowd", f"segmentation {fault}: its box is spared", "mended")
            area, kind = self._given_area(image_box[2] * image_box[3]), category
            return Annotation(own_id, image, kind or 0, True, area, image_box, outline)
        if outline is None and fault:
            return self._left_out("outline", f"segmentation {fault}", image_box)
        if outline is None and max(image_box) <= 1 < image.width:
            text = f"bbox {brief(given)} looks like fractions of the picture, not pixels"
            return self._left_out("box", text, _everywhere(image))
        if fault:
            self.tell("outline", f"segmentation {fault}: the rest of it is kept", "mended")
        if category is None:
            named = self.entry.get("category_id")
            text = f"category_id is {brief(named)}, not an id"
            return self._left_out("category", text, image_box)
        area = self._area(image_box, outline, about)
        return Annotation(own_id, image, category, False, area, image_box, outline)

    def _outline(self) -> tuple[Any, str]:
        """Return what can be used of the segmentation, and what is wrong with it."""
        segmentation = self.entry.get("segmentation")
        if segmentation is None or (isinstance(segmentation, list | dict) and not segmentation):
            return None, ""
        return good_part(segmentation, self._image.height, self._image.width)

    def _crowd(self) -> bool:
        given = self.entry.get("iscrowd")
        crowd = truth(given)
        if crowd is None:
            self.tell("crowd", f"iscrowd is {brief(given)}, neither 0 nor 1: taken for 0", "mended")
        # Evaluations of pedestrians and some tools mark with "ignore" what COCO calls a crowd.
        return bool(crowd or truth(self.entry.get("ignore")))

    def _category(self) -> int | None:
        named = self.entry.get("category_id")
        return 1 if named is None else whole(named)

    def _box_is_the_outlines(self, given: Any) -> None:
        if "bbox" not in self.entry or given == []:
            return
        why = "is empty, or outside its image" if xywh(given) else "is not x, y, width, height"
        effect: Effect = "note" if given is None else "mended"
        self.tell("box", f"bbox {brief(given)} {why}: the outline's is taken", effect)

    def _without_place(self, given: Any, box: Box | None, fault: str, crowd: bool) -> Ignored:
        image, also = self._image, f", and segmentation {fault}" if fault else ""
        if box is not None:
            where = f"is empty, or outside its {image.width}×{image.height} image"
            text = f"bbox {brief(given)} {where}{also}"
            return self._left_out("crowd" if crowd else "empty", text, _everywhere(image))
        if FAULT in self.entry:
            return self._left_out("outline", self.entry[FAULT], _everywhere(image))
        text = f"bbox must be four finite numbers x, y, width, height, not {brief(given)}{also}"
        return self._left_out("crowd" if crowd else "box", text, _everywhere(image))

    def _left_out(self, kind: Kind, text: str, *boxes: Box) -> Ignored:
        self.problems = [problem for problem in self.problems if problem.effect == "note"]
        self.tell(kind, text)
        return Ignored(self._identity, self._image, boxes, kind)

    def _given_area(self, otherwise: float) -> float:
        area = number(self.entry.get("area", otherwise))
        return area if area is not None and 0 <= area < _LARGEST_AREA else otherwise

    def _area(self, box: Box, outline: Any, about: float) -> float:
        """Return the annotated area, or the mask's (the box's) where that cannot be it."""
        image, given = self._image, self.entry.get("area")
        height, width = image.height, image.width
        area = number(given)
        if area is not None and 0 <= area < _LARGEST_AREA:
            if outline is None:
                wrong = "" if area else "is not square pixels"
            else:
                wrong = odd_area(area, about, box, width, height)
            if not wrong:
                return area
        else:
            wrong = "is not square pixels"
        own = box[2] * box[3] if outline is None else mask_area(outline, height, width)
        if "area" in self.entry:
            what = "box's" if outline is None else "mask's"
            self.tell("area", f"area {brief(given)} {wrong}: the {what} is taken", "mended")
        return own


def _overlap(box: Box, image: Image) -> bool:
    x, y, width, height = box
    return min(width, height) > 0 and -width < x < image.width and -height < y < image.height


def _everywhere(image: Image) -> Box:
    return 0.0, 0.0, float(image.width), float(image.height)
