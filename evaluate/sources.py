"""Give an image's proposals from a results file, or from a model that makes them now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.evaluate.detections import Detections, detections_of, ids_of, ranked
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.proposals_json import ResultsFile, to_candidates
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Manifest, Scales
    from deepmask.runtime.predict.classes import Classes
    from deepmask.runtime.predict.deepmask import DeepMask
    from deepmask.runtime.predict.proposals import Proposals


class FileSource:
    """Take proposals from a COCO results file."""

    def __init__(
        self,
        path: Path,
        pictures: Mapping[int, Image],
        limit: int,
        labels: Mapping[int, str] = {},
    ) -> None:
        """Index the file.

        limit   how many proposals of an image to take.
        labels  names of the labels' categories: detections are results of one of these.
        """
        self._path = path
        self._labels = labels
        self._limit = limit
        self._file = ResultsFile(path, pictures)
        self.has_masks = self._file.has_masks
        self.has_categories = self._file.has_categories

    def images(self) -> set[int]:
        """Return the ids of the images that the file has proposals for."""
        return self._file.images()

    def propose(self, picture: Image) -> tuple[Candidates, None]:
        """Return an image's proposals; none if the file has none."""
        found = self._file.candidates(picture.id, self._limit)
        if not self.has_categories:
            return found, None
        named, names = self._file.detections(picture.id, self._labels.keys())
        return replace(found, detections=named, names=names), None

    def about(self) -> dict[str, Any]:
        """Return what `run.json` keeps of this source."""
        digest = sha256_of(self._path)
        return {"proposals_json": self._path.name, "sha256": digest, "proposals": self._limit}


class ModelSource:
    """Make proposals with an exported model, image by image."""

    def __init__(
        self,
        model: DeepMask,
        images: Path,
        *,
        proposals: int,
        scales: Scales,
        threshold: float,
        overlap: float,
        max_side: int | None = None,
        labels: Mapping[int, str] = {},
    ) -> None:
        """`images` is the folder that file names of the annotations are relative to.

        labels  names of the labels' categories, which the model's are compared with.
        """
        self._manifest = model.manifest
        self.has_masks = model.manifest.has_masks
        self._ids, unknown = ids_of(model.manifest.categories or (), labels)
        self.unknown = [] if model.manifest.categories is None else unknown
        # Labels without one of the model's categories tell nothing of its names.
        self.has_categories = any(one is not None for one in self._ids)
        self._propose = partial(
            model,
            proposals=proposals,
            scales=scales,
            threshold=threshold,
            overlap=overlap,
            max_side=max_side,
            labels=None if self.has_categories else False,
        )
        self._images = images
        self._warm = False

    def propose(self, picture: Image) -> tuple[Candidates, float | None]:
        """Return an image's proposals and the seconds they took; the first image is not timed."""
        start = time.perf_counter()
        try:
            image = read_picture(picture, self._images)
            proposals = self._propose(image)
            # Without names: of equal scores, results of one category keep the proposals' order.
            results = replace(proposals, classes=None).to_coco(picture.id)
        except (LabelError, EngineError) as error:
            raise EvalError(f"image {picture.id}: {error}") from None
        seconds = time.perf_counter() - start
        timed, self._warm = self._warm, True
        candidates = to_candidates([dict(one) for one in results], picture, self.has_masks)
        if proposals.classes is not None:
            rows = np.flatnonzero(proposals.areas)[: len(candidates.scores)].tolist()
            classes = proposals.classes.only(rows)
            # The score of a box that is of one category is that category's: it counts once.
            own = candidates if self.has_masks else _unscored(candidates.boxes)
            named = _named(classes, own, self._ids)
            names = _names(proposals.objects(), picture, self._ids)
            candidates = replace(candidates, detections=named, names=names)
        return candidates, seconds if timed else None

    def about(self) -> dict[str, Any]:
        """Return what `run.json` keeps of this source."""
        manifest, given = self._manifest, self._propose.keywords
        return {
            **_about_model(manifest),
            **{name: value for name, value in given.items() if value is not None},
            "scales": asdict(given["scales"]),
            "scale_prior": manifest.scale_prior,
        }


class BoxSource:
    """Name the boxes of a COCO results file with a model: Fast R-CNN on proposals of any source."""

    has_masks = False
    has_categories = True

    def __init__(
        self,
        model: DeepMask,
        images: Path,
        boxes: FileSource,
        *,
        max_side: int | None = None,
        labels: Mapping[int, str] = {},
    ) -> None:
        """`boxes` gives as many boxes of an image as count; the rest as for a `ModelSource`."""
        self._classify = partial(model.classify, max_side=max_side)
        self._manifest = model.manifest
        self._boxes = boxes
        self._images = images
        self._ids, self.unknown = ids_of(model.manifest.categories or (), labels)

    def images(self) -> set[int]:
        """Return the ids of the images that the file has boxes for."""
        return self._boxes.images()

    def propose(self, picture: Image) -> tuple[Candidates, None]:
        """Return an image's boxes, and what the model calls them."""
        candidates, _ = self._boxes.propose(picture)
        try:
            image = read_picture(picture, self._images)
            # Scores of other sources mean other things: names alone rank, as in Fast R-CNN.
            given = _unscored(_within(candidates.boxes, picture))
            classes = self._classify(image, given.boxes)
        except (LabelError, EngineError) as error:
            raise EvalError(f"image {picture.id}: {error}") from None
        named = _named(classes, given, self._ids)
        return Candidates(candidates.scores, candidates.boxes, None, named), None

    def about(self) -> dict[str, Any]:
        """Return what `run.json` keeps of this source."""
        given = {name: value for name, value in self._classify.keywords.items() if value}
        return {**_about_model(self._manifest), **self._boxes.about(), **given}


def _about_model(manifest: Manifest) -> dict[str, Any]:
    return {
        "model": manifest.name,
        "precision": manifest.precision,
        "graphs": {stage.name: stage.sha256 for stage in manifest.stages},
    }


def _named(classes: Classes, candidates: Candidates, ids: Sequence[int | None]) -> Detections:
    """Return the detections among proposals; their own boxes serve where none is better."""
    asked = np.flatnonzero(classes.scores.any(axis=1))
    scores = ranked(classes.scores[asked], candidates.scores[asked, None])
    own = np.repeat(candidates.boxes[asked, None], scores.shape[1], axis=1)
    better = own.astype(np.float32) if classes.boxes is None else classes.boxes[asked]
    rles = candidates.rles
    masks = None if rles is None else [rles[index] for index in asked.tolist()]
    return detections_of(scores, better, masks, ids)


def _unscored(boxes: npt.NDArray[np.float64]) -> Candidates:
    """Return boxes (N, 4) XYWH that are ranked by their names alone."""
    return Candidates(np.ones(len(boxes)), boxes, None)


def _names(objects: Proposals, picture: Image, ids: Sequence[int | None]) -> Detections:
    """Return the objects of a picture, each with its most probable category, sure or not."""
    results = [dict(one) for one in replace(objects, classes=None).to_coco(picture.id)]
    shown = to_candidates(results, picture, objects.has_masks)
    assert objects.classes is not None
    best = objects.classes.scores.argmax(axis=1)
    categories = [-1 if ids[k] is None else ids[k] for k in best.tolist()]
    scores = objects.classes.label_scores.astype(np.float64)
    return Detections(np.array(categories, np.int64), scores, shown.boxes, shown.rles)


def _within(boxes: npt.NDArray[np.float64], picture: Image) -> npt.NDArray[np.float64]:
    """Return (N, 4) XYWH cut to the picture."""
    limit = np.array([picture.width, picture.height], np.float64)
    low = np.clip(boxes[:, :2], 0, limit)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, limit)
    return np.concatenate([low, high - low], axis=1)
