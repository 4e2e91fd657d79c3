"""Calls after a model is closed, while it is closed, and in a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.predict.lifetime import Lifetime

IMAGE = np.full((60, 80, 3), 127, np.uint8)


def test_a_closed_model_says_so(model_folder: Path) -> None:
    model = DeepMask.load(model_folder, engine="onnxruntime", device="cpu", threads=1)
    model(IMAGE, proposals=1)
    for _ in range(2):
        model.close()
    for call in (model, model.windows):
        with pytest.raises(EngineError, match="this model is closed: load it again"):
            call(IMAGE, proposals=1)


def test_closing_waits_for_calls_under_way() -> None:
    freed: list[bool] = []
    lifetime, started, go_on = Lifetime(lambda: freed.append(True)), Event(), Event()

    def call() -> None:
        with lifetime.call():
            started.set()
            go_on.wait(10)
            assert not freed

    thread = Thread(target=call)
    thread.start()
    started.wait(10)
    lifetime.end()
    assert not freed
    with pytest.raises(EngineError, match="closed"), lifetime.call():
        pass
    go_on.set()
    thread.join()
    lifetime.end()
    assert freed == [True]


def test_threads_below_0_are_refused() -> None:
    with pytest.raises(ValueError, match="threads is -1: give 0 for one per core"):
        DeepMask.load(threads=-1)


FORKED = """
import os, sys, time, numpy
from deepmask import DeepMask
model = DeepMask.load(sys.argv[1], engine=sys.argv[2], device="cpu", threads=2)
image = numpy.full((60, 80, 3), 127, numpy.uint8)
before = model(image, proposals=3).scores
child = os.fork()
if not child:
    what = sys.argv[3]
    if what == "call":
        try:
            model(image)
        except Exception as error:
            print(error, flush=True)
            sys.exit(7)
    if what == "with":
        with model:
            pass
    if what == "close":
        model.close()
    if what == "delete":
        del model
    if what == "leave":
        os._exit(7)
    sys.exit(7)
end = time.monotonic() + 30
while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        assert os.waitstatus_to_exitcode(status) == 7
        assert (model(image, proposals=3).scores == before).all()
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    sys.exit("the child hangs")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("what", ["call", "with", "close", "delete", "end", "leave"])
def test_a_child_process_ends(model_folder: Path, engine: str, what: str) -> None:
    pytest.importorskip(engine)
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(model_folder), engine, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = "this model was loaded before the process was forked: load it after the fork\n"
    assert done.stdout == (said if what == "call" else "")
