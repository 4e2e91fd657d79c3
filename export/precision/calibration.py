"""What each graph is fed while its ranges are measured: what the runtime will feed it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from deepmask.runtime.engines.base import Engine
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.pyramid import Level, plan_pyramid, render_level

Feed = dict[str, NDArray[Any]]


def trunk_feeds(files: Sequence[Path], manifest: Manifest) -> Iterator[Feed]:
    """Every canvas of every photograph's pyramid, gray border and all."""
    for path in _watched(files, "calibrating trunk"):
        for _, canvas in _canvases(path, manifest):
            yield {"image": canvas}


def later_feeds(
    name: str, inputs: Sequence[str], files: Sequence[Path], manifest: Manifest, engine: Engine
) -> Iterator[Feed]:
    """What the float32 trunk makes of the same canvases, by the names of a later graph's `inputs`.

    `engine` runs the float32 graphs. Locations are such that every cell that a window can hold is
    in one of theirs.
    """
    for path in _watched(files, f"calibrating {name}"):
        for level, canvas in _canvases(path, manifest):
            made = engine.run("trunk", {"image": engine.upload(canvas)})
            feed: Feed = {key: engine.fetch(made[key]) for key in inputs if key in made}
            if "locations" in inputs:
                feed["locations"] = covering(level, manifest.patch // manifest.stride)
            yield feed


def _canvases(path: Path, manifest: Manifest) -> Iterator[tuple[Level, NDArray[np.float32]]]:
    image = read_image(path)
    height, width = image.shape[:2]
    for level in plan_pyramid(height, width, manifest.scales.factors(), manifest):
        yield level, render_level(image, level, manifest)


def covering(level: Level, cells: int) -> NDArray[np.int64]:
    """Locations (N, 2) of windows of `cells` cells a side that hold what a level's windows hold."""
    rows, cols = ([*range(0, count - 1, cells), count - 1] for count in (level.rows, level.cols))
    return np.array(list(itertools.product(rows, cols)), np.int64)


def _watched(files: Sequence[Path], label: str) -> Iterator[Path]:
    """The same files; on a terminal, with a progress bar and the time left."""
    if not sys.stderr.isatty():
        yield from files
        return
    with click.progressbar(files, label=label, show_pos=True, file=sys.stderr) as progress:
        yield from progress
