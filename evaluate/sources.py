"""Give an image's proposals from a results file, or from a model that makes them now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmask.coco.annotations import Image
from deepmask.coco.errors import LabelError
from deepmask.coco.pictures import read_picture
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.proposals_json import ResultsFile, to_candidates
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.checksum import sha256_of

if TYPE_CHECKING:
    from deepmask.runtime.model.manifest import Scales
    from deepmask.runtime.predict.deepmask import DeepMask


class FileSource:
    """Take proposals from a COCO results file."""

    def __init__(self, path: Path, pictures: Mapping[int, Image], limit: int) -> None:
        """Index the file; `limit` is how many proposals of an image to take."""
        self._path = path
        self._limit = limit
        self._file = ResultsFile(path, pictures)
        self.has_masks = self._file.has_masks

    def images(self) -> set[int]:
        """Return the ids of the images that the file has proposals for."""
        return self._file.images()

    def propose(self, picture: Image) -> tuple[Candidates, None]:
        """Return an image's proposals; none if the file has none."""
        return self._file.candidates(picture.id, self._limit), None

    def about(self) -> dict[str, Any]:
        """Return what `run.json` keeps of this source."""
        digest = sha256_of(self._path)
        return {"proposals_json": self._path.name, "sha256": digest, "proposals": self._limit}


class ModelSource:
    """Make proposals with an exported model, image by image."""

    has_masks = True

    def __init__(
        self,
        model: DeepMask,
        images: Path,
        *,
        proposals: int,
        scales: Scales,
        threshold: float,
        overlap: float,
    ) -> None:
        """`images` is the folder that file names of the annotations are relative to."""
        self._propose = partial(
            model, proposals=proposals, scales=scales, threshold=threshold, overlap=overlap
        )
        self._manifest = model.manifest
        self._images = images
        self._warm = False

    def propose(self, picture: Image) -> tuple[Candidates, float | None]:
        """Return an image's proposals and the seconds they took; the first image is not timed."""
        start = time.perf_counter()
        try:
            image = read_picture(picture, self._images)
            results = self._propose(image).to_coco(picture.id)
        except (LabelError, EngineError) as error:
            raise EvalError(f"image {picture.id}: {error}") from None
        seconds = time.perf_counter() - start
        timed, self._warm = self._warm, True
        candidates = to_candidates([dict(result) for result in results], picture, True)
        return candidates, seconds if timed else None

    def about(self) -> dict[str, Any]:
        """Return what `run.json` keeps of this source."""
        manifest, given = self._manifest, self._propose.keywords
        return {
            "model": manifest.name,
            "precision": manifest.precision,
            "graphs": {stage.name: stage.sha256 for stage in manifest.stages},
            **given,
            "scales": asdict(given["scales"]),
            "scale_prior": manifest.scale_prior,
        }
