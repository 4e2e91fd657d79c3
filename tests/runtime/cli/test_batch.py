"""A folder's images overlap, and come out in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from PIL import Image

from deepmask import DeepMask, Proposals, read_image
from deepmask.runtime.cli.batch import IN_WORK, Settings, run_batch
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.results import ResultsWriter


@pytest.fixture
def paths(scene: Callable[..., Any], tmp_path: Path) -> list[Path]:
    """Four pictures of different widths."""
    made = [tmp_path / f"{index}.png" for index in range(4)]
    for index, path in enumerate(made):
        Image.fromarray(scene(index, 60, 70 + 10 * index, objects=2).image).save(path)
    return made


@pytest.fixture
def settings(model: DeepMask) -> Settings:
    """Few proposals."""
    manifest = model.manifest
    return Settings(20, manifest.views.scales, manifest.threshold, 1.0, 1333, 10**6, 5)


class Watched:
    """A model that is told of every call before it is answered."""

    def __init__(self, model: DeepMask, before: Callable[[Any], object]) -> None:
        self._model, self._before = model, before

    def __call__(self, image: Any, **options: Any) -> Proposals:
        self._before(image)
        return self._model(image, **options)


def test_two_images_are_in_work_at_once(
    model: DeepMask, paths: list[Path], settings: Settings, tmp_path: Path
) -> None:
    """Each call waits for another one to begin: alone, none would end."""
    together = Barrier(IN_WORK, timeout=60)
    watched: Any = Watched(model, lambda image: together.wait())
    with ResultsWriter(tmp_path / "found.json") as writer:
        outcomes = list(run_batch(watched, paths, [None] * 4, settings, writer))
    assert [outcome.path for outcome in outcomes] == paths
    assert not any(outcome.error for outcome in outcomes)


def test_results_are_those_of_one_image_after_another(
    model: DeepMask, paths: list[Path], settings: Settings, tmp_path: Path
) -> None:
    """In the order of the paths, whichever is ready first, and a failure is its image's only."""

    def before(image: Any) -> None:
        if image.shape[1] == 80:
            raise EngineError("out of order")

    watched: Any = Watched(model, before)
    with ResultsWriter(tmp_path / "found.json") as writer:
        outcomes = list(run_batch(watched, paths, [None] * 4, settings, writer))
    assert [outcome.error for outcome in outcomes] == ["", f"{paths[1]}: out of order", "", ""]
    found = json.loads((tmp_path / "found.json").read_text())
    expected = []
    for image_id, path in ((1, paths[0]), (3, paths[2]), (4, paths[3])):
        image = read_image(path)
        expected += model(image, proposals=20, overlap=1.0).to_coco(image_id)
    assert found == expected


def test_stopping_early_waits_for_what_is_in_work(
    model: DeepMask, paths: list[Path], settings: Settings, tmp_path: Path
) -> None:
    """Nothing runs on once the batch is closed: the model may then be closed."""
    begun: list[Any] = []
    watched: Any = Watched(model, begun.append)
    with ResultsWriter(tmp_path / "found.json") as writer:
        outcomes = run_batch(watched, paths, [None] * 4, settings, writer)
        next(outcomes)
        outcomes.close()  # waits
        count = len(begun)
    assert count <= IN_WORK
    assert len(begun) == count
