"""Run one image in a process of its own, to time its start and to measure its peak memory.

`python -m benchmarks.cold_start MODEL IMAGE [--proposals N] [--threads N] [--max-side N]
[--engine E] [--device D]` prints one JSON object: seconds to import, to load and for the first
image, and peak memory in MiB. It imports nothing but the runtime, as an application would.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    begin = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--proposals", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--max-side", type=int)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()

    from deepmask import DeepMask, read_image

    imported = time.perf_counter()
    model = DeepMask.load(
        given.model, engine=given.engine, device=given.device, threads=given.threads
    )
    loaded = time.perf_counter()
    image = read_image(given.image)
    proposals = model(image, proposals=given.proposals, max_side=given.max_side)
    results = proposals.to_coco(image_id=1)
    done = time.perf_counter()
    json.dump(
        {
            "import_s": imported - begin,
            "load_s": loaded - imported,
            "first_image_s": done - loaded,
            "results": len(results),
            "peak_mib": _peak_mib(),
        },
        sys.stdout,
    )


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux getrusage also counts the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main()
