"""Where proposals come from: a results file, or a model that makes them now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmask.evaluate.annotations import Picture
from deepmask.evaluate.matching import Candidates
from deepmask.evaluate.results import ResultsFile
from deepmask.runtime.manifest import sha256_of


class FileSource:
    """Proposals that were made before, by anything that writes COCO results."""

    def __init__(self, path: Path, pictures: Mapping[int, Picture], limit: int) -> None:
        self._path = path
        self._limit = limit
        self._file = ResultsFile(path, pictures)
        self.has_masks = self._file.has_masks

    def images(self) -> set[int]:
        """Ids of the images it has proposals for."""
        return self._file.images()

    def propose(self, picture: Picture) -> tuple[Candidates, None]:
        """The proposals of an image; none if the file has none."""
        return self._file.candidates(picture.id, self._limit), None

    def about(self) -> dict[str, Any]:
        """What `run.json` keeps of it."""
        return {
            "default_name": self._path.stem,
            "proposals_json": self._path.name,
            "sha256": sha256_of(self._path),
            "proposals": self._limit,
        }
