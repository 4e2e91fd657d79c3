"""Print the arithmetic of the thesis' networks beside its times: `python -m benchmarks.thesis`.

GFLOP of the exported graphs, run without values, on the seven scales of a 640×480 image with 1000
masks; a multiply-add is two operations, and only convolutions and matrix products count. The times
are the thesis' (tables 3.1 to 3.3): a COCO image on its GPU, every mask of every scale for all but
SharpMask's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.flops import total_of_views
from benchmarks.scenes import COCO
from deepmask.networks.config import NetworkConfig
from deepmask.networks.dense.graphs import DenseGraph, manifest_of
from deepmask.networks.families import build, dense_model, describe
from deepmask.networks.presets import PRESETS
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.views import View, plan_views

MASKS = 1000
#: Seconds of mask and score branch for a COCO image by preset; None where the thesis has no time.
#: The rows of table 3.1 give the mask branch alone.
SECONDS: Mapping[str, float | None] = {
    "deepmask-vgg-a": 1.59,
    "w160-p4-d8-vgg": 0.58,
    "w160-p4-d39": 0.58,
    "w112-p4-d39": 0.31,
    "w112-p3-d21": 0.75,
    "w112-p3-d21-f128": 0.33,
    "deepmask-ours-head-a": 0.51,
    "deepmask-ours-head-b": 0.50,
    "deepmask-ours": 0.46,
    "sharpmask": 0.76,
    "deepmask-r18": None,
    "sharpmask-r18": None,
}


def gflop(config: NetworkConfig) -> dict[str, float]:
    """Return the GFLOP of each stage for one 640×480 image and `MASKS` masks, at its own scales."""
    dense = dense_model(build(config).eval())
    manifest = manifest_of(dense, describe(config), name="", about={})
    factors = manifest.views.scales.factors()
    views = plan_views(COCO.height, COCO.width, factors, manifest.views)
    return {
        graph.name: 1e-9 * total_of_views(_flop_of(graph, manifest), graph.per, views, MASKS)
        for graph in dense.main.graphs
    }


def table() -> str:
    """Return a row for each network: millions of parameters, GFLOP, and the thesis' seconds."""
    rows: list[str] = []
    for preset, seconds in SECONDS.items():
        config = PRESETS[preset].config
        found = gflop(config)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in build(config).parameters()) / 1e6
        head = ["", "M param.", *found, "GFLOP", "thesis, s"]
        if not rows:
            rows.append(f"{head[0]:<22}" + "".join(f"{one:>10}" for one in head[1:]))
        figures = [size, *found.values(), sum(found.values())]
        time = "-" if seconds is None else f"{seconds:.2f}"
        rows.append(f"{preset:<22}" + "".join(f"{one:>10.1f}" for one in figures) + f"{time:>10}")
    return "\n".join(rows)


def _flop_of(graph: DenseGraph, manifest: Manifest) -> Callable[[View, int], int]:
    """Count a graph's operations over a view and so many windows: shapes without values."""
    module = graph.module.to("meta")

    def count(view: View, windows: int) -> int:
        inputs = [
            torch.empty(
                [axis_size(axis, view, manifest, windows) for axis in spec.axes],
                dtype=getattr(torch, spec.dtype),
                device="meta",
            )
            for spec in graph.inputs.values()
        ]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(*inputs)
        return int(counter.get_total_flops())

    return count


if __name__ == "__main__":
    print(table())
