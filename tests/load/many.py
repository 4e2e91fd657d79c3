"""Send many images through one process; measure what it holds, and whether answers stay the same.

`python -m tests.load [--images 2000]` is the long form.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask import DeepMask, Proposals

#: Sizes that come by turns: engines keep memory for each that they have seen.
SIZES = ((64, 96), (96, 64), (80, 80), (50, 130))
#: Bytes by which a process may grow after the first tenth of its images, however many they are.
MOST_GROWTH = 16_000_000


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes of memory, and open files."""

    memory: int
    handles: int


def held() -> Held:
    """Return what this process holds now, as Linux tells it."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Held(pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir())))


def grows(course: Sequence[Held]) -> bool:
    """Whether the last of several measurements holds more than the first, beyond `MOST_GROWTH`."""
    first, last = course[0], course[-1]
    return last.handles > first.handles or last.memory - first.memory > MOST_GROWTH


def picture(number: int) -> npt.NDArray[np.uint8]:
    """Draw one of the images: squares on gray at random places."""
    rng = np.random.default_rng(number)
    height, width = SIZES[number % len(SIZES)]
    image = rng.integers(120, 136, (height, width, 3)).astype(np.uint8)
    y, x = rng.integers(0, height - 32), rng.integers(0, width - 32)
    image[y : y + 32, x : x + 32] = rng.integers(0, 256, 3)
    return image


def answer(found: Proposals) -> tuple[bytes, str]:
    """Return what must be the same: scores to the last bit, and every mask."""
    return found.scores.tobytes(), str(found.rles())


def run_many(model: DeepMask, images: int, every: int) -> Iterator[Held]:
    """Run images 0, 1, … through one model; yield what is held after each `every` of them."""
    for number in range(images):
        answer(model(picture(number), proposals=50))
        if (number + 1) % every == 0:
            yield held()


def differing(model: DeepMask, others: list[tuple[bytes, str]]) -> list[int]:
    """Return the numbers of the images whose answer is not the one in `others`."""
    return [
        number
        for number, other in enumerate(others)
        if answer(model(picture(number), proposals=50)) != other
    ]


def by_threads(model: DeepMask, images: int, threads: int) -> list[tuple[bytes, str]]:
    """Return the answers of threads that share one model, in the order of the images."""
    with ThreadPoolExecutor(threads) as pool:
        numbers = range(images)
        return list(pool.map(lambda n: answer(model(picture(n), proposals=50)), numbers))
