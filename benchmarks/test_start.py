"""Time the start of a process to its first result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.measure import measure, run_child
from benchmarks.models import Candidate
from benchmarks.scenes import COCO, write_picture


@pytest.mark.benchmark(group="start")
def test_first_result(
    recorded: BenchmarkFixture, model: Candidate, cpu_engine: str, threads: int, tmp_path: Path
) -> None:
    """Time Python itself, imports, loading the model, and the first image."""
    picture = write_picture(tmp_path / "picture.jpg", COCO.height, COCO.width)
    arguments = [str(model.folder), str(picture), "--engine", cpu_engine, "--threads", str(threads)]
    found = measure(recorded, lambda: run_child(arguments), budget=5)
    recorded.extra_info |= {
        "what": f"process start to first result, {model.name}, {cpu_engine}",
        "facts": {
            key: round(float(np.median([one[key] for one in found])), 3)
            for key in ("import_s", "load_s", "first_image_s")
        },
    }


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize(
    "module",
    [
        "deepmask.runtime.predict.deepmask",
        "onnxruntime",
        "deepmask.runtime.engines.openvino",
    ],
)
def test_import(recorded: BenchmarkFixture, module: str) -> None:
    """Time an import, Python's own start included."""
    pytest.importorskip(module)
    code = f"import {module}"
    command = [sys.executable, "-c", code]
    measure(recorded, lambda: subprocess.run(command, check=True), budget=3)
    recorded.extra_info |= {"what": f"python -c '{code}'", "facts": {}}
