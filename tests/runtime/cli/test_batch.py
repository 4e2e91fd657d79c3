"""A folder's images overlap, and come out in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from threading import Barrier
from time import sleep
from typing import Any

import pytest
from PIL import Image

from deepmask import DeepMask, Proposals, read_image
from deepmask.runtime.cli.batch import IN_WORK, Outcome, Settings, run_batch
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.results import ResultsWriter

Batch = Callable[..., Generator[Outcome, None, None]]


@pytest.fixture
def paths(scene: Callable[..., Any], tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{index}.png" for index in range(4)]
    for index, path in enumerate(made):
        Image.fromarray(scene(index, 60, 70 + 10 * index, objects=2).image).save(path)
    return made


@pytest.fixture
def batch(model: DeepMask, paths: list[Path], tmp_path: Path) -> Batch:
    """Run the pictures; `before` is told of each of them before it is answered."""
    manifest = model.manifest
    settings = Settings(20, manifest.views.scales, manifest.threshold, 1.0, 1333, 10**6)

    def run(before: Callable[[Any], object]) -> Generator[Outcome, None, None]:
        def watched(image: Any, **options: Any) -> Proposals:
            before(image)
            return model(image, **options)

        watching: Any = watched
        with ResultsWriter(tmp_path / "found.json") as writer:
            yield from run_batch(watching, paths, [None] * 4, settings, writer)

    return run


def test_two_images_are_in_work_at_once(batch: Batch, paths: list[Path]) -> None:
    """Each call waits for another one to begin: alone, none would end."""
    together = Barrier(IN_WORK, timeout=60)
    outcomes = list(batch(lambda image: together.wait()))
    assert [outcome.path for outcome in outcomes] == paths
    assert not any(outcome.error for outcome in outcomes)


def test_results_in_order(model: DeepMask, batch: Batch, paths: list[Path], tmp_path: Path) -> None:
    """In the order of the paths, whichever is ready first, and a failure is its image's only."""

    def before(image: Any) -> None:
        if image.shape[1] == 80:
            raise EngineError("out of order")

    errors = [outcome.error for outcome in batch(before)]
    assert errors == ["", f"{paths[1]}: out of order", "", ""]
    found = json.loads((tmp_path / "found.json").read_text())
    expected = []
    for image_id, path in ((1, paths[0]), (3, paths[2]), (4, paths[3])):
        expected += model(read_image(path), proposals=20, overlap=1.0).to_coco(image_id)
    assert found == expected


def test_stopping_early_waits_for_what_is_in_work(batch: Batch) -> None:
    """Nothing runs on once the batch is closed: the model may then be closed."""
    begun: list[Any] = []
    outcomes = batch(begun.append)
    next(outcomes)
    outcomes.close()
    count = len(begun)
    assert count <= IN_WORK
    sleep(0.2)
    assert len(begun) == count
