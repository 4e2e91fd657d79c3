"""What may not be read or written ends a command in one line, before any work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="permissions are others there")

#: Whoever may do everything here runs the commands as nobody.
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
AS_NOBODY = ("setpriv", "--reuid=65534", "--clear-groups") if IS_ROOT else ()

COMMANDS: dict[str, list[str]] = {
    "results": ["deepmask-trt-run", "a.png", "--out", "locked/p.json"],
    "results in a new folder": ["deepmask-trt-run", "a.png", "--out", "locked/new/p.json"],
    "overlay": ["deepmask-trt-run", "a.png", "--overlay", "locked/o.png"],
    "overlays": ["deepmask-trt-run", "a.png", "--overlay", "locked/new"],
    "page": ["deepmask-trt-run", "a.png", "--html", "locked/report.html"],
    "model": ["deepmask-trt-run", "a.png", "--model", "locked/model"],
    "image": ["deepmask-trt-run", "locked/a.png"],
    "folder": ["deepmask-trt-run", "locked"],
    "another's file": ["deepmask-trt-run", "a.png", "--out", "secret.json"],
    "doctor": ["deepmask-doctor", "--model", "locked/model"],
    "evaluation": [
        *("deepmask-eval", "--annotations", "labels.json", "--images", "."),
        *("--out", "locked/eval"),
    ],
    "export": ["deepmask-export", "a.pt", "--out", "locked/model"],
    "checkpoint": ["deepmask-export", "locked/a.pt"],
    "run": [
        *("deepmask-train", "--train-annotations", "labels.json", "--train-images", "."),
        *("--init", "random", "--out", "locked/run"),
    ],
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder in which `locked` and `secret.json` are for nobody."""
    folder = Path(tempfile.mkdtemp(prefix="deepmask-permissions-"))
    folder.chmod(0o755)
    Image.new("RGB", (60, 50)).save(folder / "a.png")
    for name in ("labels.json", "a.pt", "secret.json"):
        (folder / name).write_text("{}")
    (folder / "locked").mkdir()
    shutil.copy(folder / "a.png", folder / "locked")
    for locked in ("locked", "secret.json"):
        (folder / locked).chmod(0)
    yield folder
    for locked in ("locked", "secret.json"):
        (folder / locked).chmod(0o700)
    shutil.rmtree(folder)


def run(*command: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AS_NOBODY, *command], cwd=place, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", COMMANDS)
def test_it_ends_in_one_line(place: Path, what: str) -> None:
    try:
        started = run(sys.executable, "-c", "import deepmask", place=place).returncode
    except OSError:
        started = 1
    if started:
        pytest.skip("nobody may run this environment's Python")
    done = run(*COMMANDS[what], place=place)
    assert done.returncode in (1, 2)
    errors = [line for line in done.stderr.splitlines() if "onnxruntime" not in line]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith("Error: ")
    assert any(word in errors[0] for word in ("ermission denied", "not readable"))
    assert {path.name for path in place.iterdir()} == {
        *("a.png", "a.pt", "labels.json", "locked", "secret.json")
    }
