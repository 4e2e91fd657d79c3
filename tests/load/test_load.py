"""Memory, handles and numbers: what does not grow, does not vary, and is always finite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deepmask import DeepMask
from tests.load.many import SIZES, answer, by_threads, differing, grows, picture, run_many
from tests.runtime.square_model import write_square_model

HEIGHT, WIDTH = 60, 80
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
PICTURES = {
    "gray": np.full((HEIGHT, WIDTH, 3), 127, np.uint8),
    "black": np.zeros((HEIGHT, WIDTH, 3), np.uint8),
    "white": np.full((HEIGHT, WIDTH, 3), 255, np.uint8),
    "saturated": 255 * (RNG.integers(0, 2, (HEIGHT, WIDTH, 3)) > 0).astype(np.uint8),
    "noise": NOISE,
    "line": NOISE[:1],
    "pixel": NOISE[:1, :1],
}


@pytest.fixture(scope="module")
def shipped() -> Iterator[DeepMask]:
    with DeepMask.load(device="cpu", threads=1) as model:
        yield model


def bits(model: DeepMask, image: npt.NDArray[np.uint8]) -> tuple[Any, ...]:
    """Everything a result says, and its masks' logits, to the last bit."""
    found, windows = model(image, proposals=20), model.windows(image, proposals=20)
    arrays = (found.scores, found.boxes, windows.logits, windows.boxes)
    return *(array.tobytes() for array in arrays), str(found.rles())


@pytest.mark.parametrize("picture", list(PICTURES))
def test_any_picture_gets_valid_proposals(shipped: DeepMask, picture: str) -> None:
    image = PICTURES[picture]
    found = shipped(image, proposals=20)
    assert 0 < len(found) <= 20
    assert np.isfinite(shipped.windows(image, proposals=20).logits).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (np.diff(found.scores) <= 0).all()
    x, y, width, height = found.boxes.T
    assert (found.boxes >= 0).all()
    assert ((x + width <= image.shape[1]) & (y + height <= image.shape[0])).all()
    assert (found.areas <= width * height).all()


def test_the_number_of_threads_changes_no_bit(shipped: DeepMask) -> None:
    with DeepMask.load(device="cpu", threads=3) as model:
        for name in ("noise", "saturated"):
            assert bits(model, PICTURES[name]) == bits(shipped, PICTURES[name])


def test_what_came_before_changes_no_bit(shipped: DeepMask) -> None:
    """Other sizes and contents in between leave nothing behind."""
    alone = {name: bits(shipped, image) for name, image in PICTURES.items()}
    for name in ("noise", "pixel", "saturated", "noise"):
        assert bits(shipped, PICTURES[name]) == alone[name]
    assert alone["noise"] != alone["saturated"]


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


def test_threads_that_share_a_model_get_what_each_gets_alone(model: DeepMask, folder: Path) -> None:
    together = by_threads(model, IMAGES, threads=4)
    assert differing(model, together) == []
    for number in range(len(SIZES)):
        with DeepMask.load(folder, device="cpu", threads=1) as alone:
            assert answer(alone(picture(number), proposals=50)) == together[number]
    assert len(set(together)) == IMAGES
