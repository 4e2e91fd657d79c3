"""However a process ends, nothing is left on the GPU, and nothing is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.square_model import write_square_model

_SCRIPT = """
import os, sys, threading
from pathlib import Path
import numpy
from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.cuda import open_device
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from tests.runtime.fake_tensorrt import fake_library, fake_plans
from tests.stand_in.driver import StandIn
folder = Path(sys.argv[1])
manifest = load_manifest(folder)
library = fake_library(StandIn())
engine = TensorRTEngine(manifest, fake_plans(manifest, folder), library, open_device())
model = DeepMask(manifest, engine, Choice("tensorrt", "cuda"))
image = numpy.zeros((60, 70, 3), numpy.uint8)
model(image)
"""
_ENDS = {
    "left open": "",
    "closed": "model.close()",
    # With its copy done: a real driver waits for it where memory is freed, this one complains.
    "with a tensor left": "tensor = engine.upload(image.astype(numpy.float32)); "
    "engine.fetch(tensor)",
    "by a code": "sys.exit(3)",
    "by an error": "1 / 0",
    "after a thread": "thread = threading.Thread(target=model, args=(image,)); "
    "thread.start(); thread.join()",
    "beside a thread": "thread = threading.Thread(target=model, args=(image,)); thread.start()",
}

_FORK = """
import os, sys
from deepmask.runtime.engines.tensorrt.cuda import open_device
device = open_device()
with device.active():
    held = [device.allocate(100), device.pin(100), device.stream()]
    held.append(held[2].record())
    held[2].synchronize()
pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
held.clear()
try:
    open_device()
except Exception as error:
    sys.exit(0 if "fork" in str(error) else str(error))
"""


def test_a_forked_process_ends_quietly() -> None:
    """It gives nothing back, for CUDA does not survive a fork, and its parent does."""
    done = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("end", list(_ENDS))
def test_a_process_ends_quietly(end: str, tmp_path: Path) -> None:
    folder = write_square_model(tmp_path / "squares")
    script = _SCRIPT + _ENDS[end]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=300
    )
    code = {"by a code": 3, "by an error": 1}.get(end, 0)
    said = [line for line in done.stderr.splitlines() if end != "by an error" or "stand-in" in line]
    assert (done.returncode, said) == (code, [])
