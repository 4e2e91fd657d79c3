"""The examples that need nothing but their library, run as they stand. Triton's: tests/export."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmask import DeepMask, read_image
from tests.runtime.square_model import write_square_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_ray_data_gives_every_image_its_results(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    _, images = drawn
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "broken.png").write_text("no picture")
    model = write_square_model(tmp_path / "squares")
    script = ROOT / "examples" / "ray_data.py"
    command: list[str | Path] = [sys.executable, script, folder, tmp_path / "out"]
    done = subprocess.run(
        [*command, "--model", model, "--proposals", "20", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = (tmp_path / "out").glob("*.json")
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert len(rows) == 7
    with DeepMask.load(model, device="cpu", threads=1) as alone:
        for row in rows:
            if row["path"].endswith("broken.png"):
                assert "not an image that can be read" in row["error"]
                continue
            found = alone(read_image(row["path"]), proposals=20)
            assert json.loads(row["results"]) == found.to_coco(row["image_id"])
