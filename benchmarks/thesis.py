"""The arithmetic of the thesis' networks beside its times: `python -m benchmarks.thesis`.

GFLOP of the exported graphs, run without values, on the seven scales of a 640×480 image with 1000
masks; a multiply-add is two operations, and only convolutions and matrix products count. The times
are the thesis' (tables 3.1 to 3.3): a COCO image on its GPU, every mask of the pyramid for all but
SharpMask's rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.scenes import COCO
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.describe import describe
from deepmask.networks.dense.graphs import graph_sources, skip_width
from deepmask.networks.families import build
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.presets import PRESETS
from deepmask.runtime.model.manifest import GRAPHS, TENSORS, Graph
from deepmask.runtime.views.pyramid import Level, plan_pyramid

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


def gflop(config: DeepMaskConfig) -> dict[str, float]:
    """GFLOP of each graph for one 640×480 image and `MASKS` masks, at the network's own scales."""
    network = build(config).eval()
    assert isinstance(network, DeepMaskNetwork)
    sources = graph_sources(network, "dilated", dense_mask=False)
    graphs = {name: Graph("", "", sources[name].inputs, sources[name].outputs) for name in GRAPHS}
    manifest = describe(config, graphs, name="", weights="fp32", opset=0, parity={})
    levels = plan_pyramid(COCO.height, COCO.width, manifest.scales.factors(), manifest)
    total = dict.fromkeys(GRAPHS, 0)
    one_window = 0
    for name in GRAPHS:
        module = sources[name].module.to("meta")
        for level in levels:
            one, two = (
                _flop(module, [_empty(key, level, n, config) for key in sources[name].inputs])
                for n in (1, 2)
            )
            one_window = two - one  # 0 but for masks
            total[name] += one - one_window  # what all windows of a level share
    total["mask"] += MASKS * one_window
    return {name: 1e-9 * count for name, count in total.items()}


def table() -> str:
    """A row for each network: millions of parameters, GFLOP, and the thesis' seconds."""
    head = ["", "M param.", *GRAPHS, "GFLOP", "thesis, s"]
    rows = [f"{head[0]:<22}" + "".join(f"{one:>10}" for one in head[1:])]
    for preset, seconds in SECONDS.items():
        config = PRESETS[preset].config
        assert isinstance(config, DeepMaskConfig)
        found = gflop(config)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in build(config).parameters()) / 1e6
        figures = [size, *found.values(), sum(found.values())]
        time = "-" if seconds is None else f"{seconds:.2f}"
        rows.append(f"{preset:<22}" + "".join(f"{one:>10.1f}" for one in figures) + f"{time:>10}")
    return "\n".join(rows)


def _flop(module: torch.nn.Module, inputs: list[torch.Tensor]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return int(counter.get_total_flops())


def _empty(name: str, level: Level, windows: int, config: DeepMaskConfig) -> torch.Tensor:
    """An input of a graph at one level: a shape and a type, without values."""
    sizes = {
        "height": level.canvas_height,
        "width": level.canvas_width,
        "h": level.canvas_height // config.stride,
        "w": level.canvas_width // config.stride,
        "rows": level.rows,
        "cols": level.cols,
        "n": windows,
        "channels": config.features,
        "code": config.rank,
        "skips": skip_width(config),
    }
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in TENSORS[name].axes]
    return torch.empty(shape, dtype=getattr(torch, TENSORS[name].dtype), device="meta")


if __name__ == "__main__":
    print(table())
