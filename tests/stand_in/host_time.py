"""Measure what a picture costs the host: python -m tests.stand_in.host_time IMAGE...

The shipped model is run through the real pycuda and our own engine. What the graphs compute and
copy is left out of the time: processor ms of one thread, the least and the median of some calls.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

from deepmask import DeepMask, read_image
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt.cuda import open_device
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import shipped_model
from tests.runtime.fake_tensorrt import Places, fake_library, real_plans
from tests.stand_in.build import environment
from tests.stand_in.driver import StandIn

TIMES = 15
_INSIDE = "DEEPMASK_STAND_IN"


class Timed(StandIn):
    """The driver, with the seconds of what is done in TensorRT's place."""

    seconds = 0.0

    def queue(self, handle: int, work: Callable[[], None], places: Places) -> None:
        def timed() -> None:
            start = time.thread_time()
            work()
            self.seconds += time.thread_time() - start

        super().queue(handle, timed, places)


def host_time(paths: list[str]) -> None:
    """Print the processor time of each picture, without names and with them."""
    driver, folder = Timed(), shipped_model()
    manifest = load_manifest(folder)
    plans: Mapping[str, bytes] = real_plans(manifest, folder, 1024)
    engine = TensorRTEngine(manifest, plans, fake_library(driver), open_device())
    with DeepMask(manifest, engine, Choice("tensorrt", "cuda"), threads=1) as model:
        for path in paths:
            image = read_image(path)
            for labels in (False, True):
                found = []
                for _ in range(TIMES):
                    start, driver.seconds = time.thread_time(), 0.0
                    model(image, labels=labels)
                    found.append(1e3 * (time.thread_time() - start - driver.seconds))
                named = "with names" if labels else "without"
                print(f"{path}: {named} {min(found):.1f} ms, median {median(found):.1f}")


if __name__ == "__main__":
    if _INSIDE not in os.environ:
        command = [sys.executable, "-m", "tests.stand_in.host_time", *sys.argv[1:]]
        environ = {**environment(), _INSIDE: "1"}
        sys.exit(subprocess.run(command, env=environ).returncode)
    host_time(sys.argv[1:])
