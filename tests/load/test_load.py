"""The short form of `tests.load`: memory and handles do not grow, answers are the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmask import DeepMask
from tests.load.many import (
    MOST_GROWTH,
    SIZES,
    Held,
    answer,
    by_threads,
    differing,
    grows,
    picture,
    run_many,
)
from tests.runtime.square_model import write_square_model

IMAGES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[DeepMask]:
    with DeepMask.load(folder, device="cpu", threads=1) as model:
        yield model


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory as Linux tells it")
def test_memory_and_handles_are_flat(model: DeepMask) -> None:
    """A leak of 100 kB an image would show."""
    course = list(run_many(model, 5 * IMAGES, every=IMAGES))
    assert not grows(course), course
    assert course[-1].handles == course[0].handles


def test_growth_is_told() -> None:
    assert not grows([Held(0, 5), Held(MOST_GROWTH, 5)])
    assert grows([Held(0, 5), Held(MOST_GROWTH + 1, 5)])
    assert grows([Held(0, 5), Held(0, 6)])


def test_threads_that_share_a_model_get_what_each_gets_alone(model: DeepMask, folder: Path) -> None:
    together = by_threads(model, IMAGES, threads=4)
    assert differing(model, together) == []
    for number in range(len(SIZES)):
        with DeepMask.load(folder, device="cpu", threads=1) as alone:
            assert answer(alone(picture(number), proposals=50)) == together[number]
    assert len(set(together)) == IMAGES
