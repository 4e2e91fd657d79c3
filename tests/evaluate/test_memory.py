"""How much memory the installed command takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.evaluate.scenes import labelled_set, proposals, write

PEAK = """
import resource, sys
from deepmask.evaluate.cli import main
sys.argv = ["deepmask-eval", *sys.argv[1:]]
try:
    main()
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def peak_megabytes(folder: Path, images: int) -> float:
    """Peak resident memory of evaluating so many small images with 100 masks each."""
    folder.mkdir()
    labels = labelled_set(1, images=images, objects=4)
    write(folder / "labels.json", labels)
    write(folder / "results.json", proposals(1, labels, each=10, noise=80))
    arguments: list[Any] = [
        *("--annotations", folder / "labels.json"),
        *("--proposals-json", folder / "results.json", "--out", folder / "out"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return int(done.stderr.split("peak ")[1]) / unit


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    few = peak_megabytes(tmp_path / "few", 20)
    many = peak_megabytes(tmp_path / "many", 200)
    size = (tmp_path / "many/results.json").stat().st_size / (1 << 20)
    assert size > 3, "the results would fit anyway"
    assert many - few < 12, f"{few:.0f} MB for 20 images, {many:.0f} MB for 200"
