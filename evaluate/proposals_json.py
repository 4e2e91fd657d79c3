"""Read proposals from a COCO results file of any size, one image in memory at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask

from deepmask.coco.annotations import Image
from deepmask.coco.segmentation import to_rle
from deepmask.coco.values import brief, whole, xywh
from deepmask.evaluate.detections import Detections, ranked
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.first_twenty import SHOWN
from deepmask.evaluate.matching import MAX_PROPOSALS, Candidates

_CHUNK = 1 << 20
#: One result is a box, a score and an RLE: kilobytes. Beyond this the file is no results file.
_LARGEST_RESULT = 1 << 26
_BYTE_ORDER_MARK = b"\xef\xbb\xbf".decode("latin-1")
_BLANK = re.compile(r"[ \t\r\n]*")


class ResultsFile:
    """A results file with an index of where the results of each image lie.

    `has_masks` tells whether its results carry segmentations, `has_categories` whether categories
    are told apart: there are several, or they have scores, as `deepmask-trt-run` writes them.
    Results of one image that lie together, as every tool writes them, cost one index entry;
    shuffled files work too.
    """

    def __init__(self, path: Path, pictures: Mapping[int, Image]) -> None:
        """Index the file in one pass; raises `EvalError` for anything that is not a result."""
        self.path = path
        self._pictures = pictures
        self._spans: dict[int, list[tuple[int, int]]] = {}
        masked = boxed = 0
        last_image: int | None = None
        categories: set[Any] = set()
        scored = False
        try:
            for start, end, result in _walk(path):
                image_id = self._image_of(result, start)
                has_mask = result.get("segmentation") is not None
                masked += has_mask
                boxed += not has_mask
                if masked and boxed:
                    raise EvalError(
                        f"{path}: some results have a segmentation and some have none, first at "
                        f"byte {start}: give one kind in one file"
                    )
                scored |= "category_score" in result
                if len(categories) < 2:
                    categories.add(whole(result.get("category_id")))
                spans = self._spans.setdefault(image_id, [])
                if spans and last_image == image_id:
                    spans[-1] = (spans[-1][0], end)
                else:
                    spans.append((start, end))
                last_image = image_id
        except OSError as error:
            raise EvalError(f"{path}: cannot be read: {error.strerror or error}") from None
        if not self._spans:
            raise EvalError(f"{path}: holds no results")
        self.has_masks = masked > 0
        self.has_categories = scored or len(categories) > 1

    def images(self) -> set[int]:
        """Return the ids of the images that have at least one result."""
        return set(self._spans)

    def candidates(self, image_id: int, limit: int = MAX_PROPOSALS) -> Candidates:
        """Return an image's best `limit` proposals; equal scores keep the order of COCOeval."""
        picture = self._pictures[image_id]
        try:
            return to_candidates(self._read(image_id), picture, self.has_masks, limit)
        except (ValueError, OSError) as error:
            raise EvalError(f"{self.path}: image {image_id}: {error}") from None

    def detections(
        self, image_id: int, known: Collection[int]
    ) -> tuple[Detections, Detections | None]:
        """Return what `to_detections` makes of an image's results."""
        try:
            return to_detections(
                self._read(image_id), self._pictures[image_id], self.has_masks, known
            )
        except (ValueError, OSError) as error:
            raise EvalError(f"{self.path}: image {image_id}: {error}") from None

    def _image_of(self, result: dict[str, Any], at: int) -> int:
        given = result.get("image_id")
        image_id = whole(given)
        if image_id is None or image_id not in self._pictures:
            raise EvalError(
                f"{self.path}: a result (at byte {at}) names image {brief(given)}, "
                "which the annotations do not have: are they of the same set?"
            )
        return image_id

    def _read(self, image_id: int) -> list[dict[str, Any]]:
        pieces = []
        with self.path.open("rb") as file:
            for start, end in self._spans.get(image_id, ()):
                file.seek(start)
                pieces.append(file.read(end - start))
        text = b",".join(pieces).decode("latin-1")  # as `_Window` reads it
        results: list[dict[str, Any]] = json.loads(f"[{text}]")
        return results


def to_candidates(
    results: list[dict[str, Any]], picture: Image, with_masks: bool, limit: int = MAX_PROPOSALS
) -> Candidates:
    """Convert the COCO results of one image to `Candidates`, best first.

    Raises ValueError saying which result (counted from 0) is wrong, and how.
    """
    scores = [_score(index, result) for index, result in enumerate(results)]
    categories = [_category(index, result) for index, result in enumerate(results)]
    # COCOeval lines proposals up by category, then sorts stably by score.
    by_category = np.argsort(np.array(categories, np.int64), kind="stable")
    falling = np.argsort(-np.array(scores, np.float64)[by_category], kind="stable")
    order = by_category[falling][: min(limit, MAX_PROPOSALS)].tolist()
    rles = [_mask(i, results[i], picture) for i in order] if with_masks else None
    boxes = np.zeros((len(order), 4))
    for row, i in enumerate(order):
        given = results[i].get("bbox")
        if not given and rles is not None:
            given = coco_mask.toBbox(rles[row]).tolist()
        if (box := xywh(given)) is None:
            raise ValueError(
                f"result {i}: bbox must be finite numbers x, y, width, height, not {brief(given)}"
            )
        boxes[row] = box
    return Candidates(np.array([scores[i] for i in order], np.float64), boxes, rles)


def to_detections(
    results: list[dict[str, Any]], picture: Image, with_masks: bool, known: Collection[int]
) -> tuple[Detections, Detections | None]:
    """Convert the COCO results of one image that have a category of `known`, best first.

    Results with a score of their category are ranked by both scores. The first `SHOWN` of these are
    what a person sees, with that score; None where there are no such scores. Raises ValueError as
    `to_candidates` does.
    """
    categories = [_category(index, result) for index, result in enumerate(results)]
    chosen = [index for index, category in enumerate(categories) if category in known]
    named = [{**results[index], "category_id": 1} for index in chosen]
    scores = np.array([_score(index, results[index]) for index in chosen], np.float64)
    likely: npt.NDArray[np.float64] | None = None
    if all("category_score" in one for one in named):
        likely = np.array([_likely(index, results[index]) for index in chosen], np.float64)
        scores = ranked(likely, np.clip(scores, 0, 1))
        for one, score in zip(named, scores.tolist(), strict=True):
            one["score"] = score
    order = np.argsort(-scores, kind="stable")[:MAX_PROPOSALS]
    ids = np.array(categories, np.int64)[chosen][order]
    found = to_candidates(named, picture, with_masks)
    detections = Detections(ids, found.scores, found.boxes, found.rles)
    if likely is None:
        return detections, None
    rles = None if found.rles is None else found.rles[:SHOWN]
    first = order[:SHOWN]
    return detections, Detections(ids[:SHOWN], likely[first], found.boxes[:SHOWN], rles)


def _score(index: int, result: dict[str, Any]) -> float:
    score: Any = result.get("score")
    if type(score) not in (int, float) or not abs(score) < 1e300:
        raise ValueError(f"result {index}: score must be a finite number, not {brief(score)}")
    return float(score)


def _likely(index: int, result: dict[str, Any]) -> float:
    likely: Any = result.get("category_score")
    if type(likely) not in (int, float) or not 0 <= likely <= 1:
        raise ValueError(
            f"result {index}: category_score must be a probability, 0 to 1, not {brief(likely)}"
        )
    return float(likely)


def _category(index: int, result: dict[str, Any]) -> int:
    given: Any = result.get("category_id")
    category = 1 if given is None else whole(given)
    if category is None:
        raise ValueError(f"result {index}: category_id must be a number, not {brief(given)}")
    return category


def _mask(index: int, result: dict[str, Any], picture: Image) -> dict[str, Any]:
    try:
        return to_rle(result["segmentation"], picture.height, picture.width)
    except ValueError as error:
        raise ValueError(f"result {index}: its segmentation {error}") from None


def _walk(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (first byte, one past the last, object) for each object of a JSON list."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    with path.open("rb") as file:
        window = _Window(file)
        window.pass_over(_BYTE_ORDER_MARK)
        if window.next_character() != "[":
            raise EvalError(f"{path}: not a COCO results file: it must hold one list of results")
        window.at += 1
        first = True
        while (character := window.next_character()) != "]":
            if not first and character:
                if character != ",":
                    raise EvalError(f"{path}: is not valid JSON at byte {window.offset()}")
                window.at += 1
                character = window.next_character()
            if not character:
                raise EvalError(
                    f"{path}: ends in the middle of its list: is it still being written?"
                )
            if character != "{":
                raise EvalError(
                    f"{path}: a result is expected at byte {window.offset()}, not {character!r}"
                )
            yield window.decode(decoder, path)
            first = False


class _Window:
    """Hold the part of a file that is being parsed.

    Bytes are read as Latin-1, one character each, so that positions are positions in the file;
    JSON's own characters and an RLE's are ASCII in every encoding that JSON allows.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.text = ""
        self.at = 0
        self._base = 0
        self._file = file

    def offset(self) -> int:
        return self._base + self.at

    def pass_over(self, text: str) -> None:
        """Take `text` if it comes next."""
        self.next_character()
        if self.text.startswith(text, self.at):
            self.at += len(text)

    def next_character(self) -> str:
        """Return the next character that is not blank, without taking it; "" at the end."""
        while True:
            blank = _BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def decode(self, decoder: json.JSONDecoder, path: Path) -> tuple[int, int, Any]:
        """Take one JSON value; return its first byte, the byte after its last, and itself."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.at)
            except RecursionError:
                raise EvalError(f"{path}: is nested too deeply at byte {self.offset()}") from None
            except ValueError as error:
                if len(self.text) - self.at > _LARGEST_RESULT or not self._more():
                    raise EvalError(
                        f"{path}: is not valid JSON, in the result at byte {self.offset()}: {error}"
                    ) from None
                continue
            start = self.offset()
            self.at = end
            return start, self.offset(), value

    def _more(self) -> bool:
        """Read on, at least doubling what is left, so that a long value is not parsed too often."""
        rest = self.text[self.at :]
        block = self._file.read(max(_CHUNK, len(rest)))
        self._base += self.at
        self.text, self.at = rest + block.decode("latin-1"), 0
        return bool(block)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
