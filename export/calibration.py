"""What each graph is fed while its ranges are measured: what the runtime will feed it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from deepmask.runtime.engines import Engine
from deepmask.runtime.images import read_image
from deepmask.runtime.manifest import Manifest
from deepmask.runtime.pyramid import plan_pyramid, render_level

Feed = dict[str, NDArray[Any]]


def trunk_feeds(files: Sequence[Path], manifest: Manifest) -> Iterator[Feed]:
    """Every canvas of every photograph's pyramid, gray border and all."""
    for path in _watched(files, "calibrating trunk"):
        yield from _canvases(path, manifest)


def later_feeds(
    name: str, inputs: Sequence[str], files: Sequence[Path], manifest: Manifest, engine: Engine
) -> Iterator[Feed]:
    """What the float32 trunk makes of the same canvases, by the names of a later graph's `inputs`.

    `engine` runs the float32 graphs. Where a graph asks for locations it gets one: its ranges are
    those of whole maps.
    """
    for path in _watched(files, f"calibrating {name}"):
        for feed in _canvases(path, manifest):
            made = engine.run("trunk", {"image": engine.upload(feed["image"])})
            known = {key: engine.fetch(tensor) for key, tensor in made.items()}
            known["locations"] = np.zeros((1, 2), np.int64)
            yield {key: known[key] for key in inputs}


def _canvases(path: Path, manifest: Manifest) -> Iterator[Feed]:
    image = read_image(path)
    height, width = image.shape[:2]
    for level in plan_pyramid(height, width, manifest.scales.factors(), manifest):
        yield {"image": render_level(image, level, manifest)}


def _watched(files: Sequence[Path], label: str) -> Iterator[Path]:
    """The same files; on a terminal, with a progress bar and the time left."""
    if not sys.stderr.isatty():
        yield from files
        return
    with click.progressbar(files, label=label, show_pos=True, file=sys.stderr) as progress:
        yield from progress
