"""Predict on paper how long a picture takes on GPUs that are not here.

`python -m benchmarks.paper_latency [MODEL] --height 480 --width 640` counts the arithmetic and the
bytes of every node of the graphs by shape inference, measures the host's stages on this machine's
processor, and prints a table. A node takes the longer of its arithmetic at a share of the card's
peak and its bytes at a share of the card's bandwidth, or a kernel's least time; elementwise nodes
belong to the kernel before them. None of it is measured on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log, prod
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx

from benchmarks.flops import inferred, node_multiply_adds, without_weights
from benchmarks.scenes import draw_picture
from deepmask.runtime.cli.main import Command, run_command
from deepmask.runtime.engines.tensorrt.graphs import view_stage
from deepmask.runtime.io.images import read_image
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import WINDOWS, Manifest, Stage
from deepmask.runtime.model.shipped import find_model
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.distinct import distinct_first
from deepmask.runtime.predict.encode import encode_masks
from deepmask.runtime.predict.soft_nms import demote_duplicates
from deepmask.runtime.views.grids import axis_size
from deepmask.runtime.views.view_graph import ACROSS, DOWN, PICTURE
from deepmask.runtime.views.views import View, plan_views


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet: dense TFLOP/s with and without tensor cores, GB/s, PCIe GB/s."""

    name: str
    fp32: float
    tf32: float
    fp16: float
    bandwidth: float
    pcie: float


#: From NVIDIA's data sheets; those without TF32 compute it in float32. PCIe: three quarters of its
#: nominal rate, as pinned copies reach. Orin shares its memory with the processor.
CARDS = (
    Card("T4", 8.1, 8.1, 65, 320, 12),
    Card("L4", 30.3, 60, 121, 300, 24),
    Card("A10", 31.2, 62.5, 125, 600, 24),
    Card("A100", 19.5, 156, 312, 1555, 24),
    Card("H100", 67, 495, 989, 3350, 48),
    Card("Orin", 5.3, 27, 54, 204, 60),
)
#: Shares of peak rate and bandwidth that a batch of one is taken to reach.
REACHED, STREAMED = 0.35, 0.7
#: Seconds of the shortest kernel, and of the host for one run of a plan (with the real pycuda, and
#: TensorRT's calls stubbed: 2.8 ms for 16 runs).
KERNEL, ENQUEUE = 4e-6, 175e-6
#: Processor seconds of the host beside what `host_seconds` measures: asking the engine, copies from
#: and to pinned memory, selecting. `python -m tests.stand_in.host_time` shows so much more,
#: at a load average of 17.
BESIDE = 7.2e-3
#: Nodes that are part of the kernel before them, or cost nothing.
_FUSED = {
    *(
        "Relu",
        "Clip",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Sigmoid",
        "Cast",
        "Identity",
        "Constant",
        "Shape",
    ),
    *(
        "Reshape",
        "Unsqueeze",
        "Squeeze",
        "Flatten",
        "QuantizeLinear",
        "DequantizeLinear",
        "Min",
        "Max",
    ),
    *("Floor", "Sqrt", "Equal", "Where", "ConstantOfShape", "Expand", "Range"),
}


@dataclass(frozen=True)
class Work:
    """A kernel: multiply-adds, and values that it reads and writes."""

    multiply_adds: int
    values: int

    def seconds(self, card: Card, rate: float, value_bytes: int) -> float:
        """Return its time at `rate` TFLOP/s with values of so many bytes."""
        arithmetic = 2 * self.multiply_adds / (rate * 1e12 * REACHED)
        return max(
            arithmetic, self.values * value_bytes / (card.bandwidth * 1e9 * STREAMED), KERNEL
        )


def kernels(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> list[Work]:
    """Return the work of a graph for inputs of these shapes, node by node."""
    graph = without_weights(model)
    known = inferred(graph, shapes)
    found = []
    for node in graph.graph.node:
        if node.op_type in _FUSED or not node.output[0]:
            continue
        names = [*dict.fromkeys(node.input), *node.output]
        if node.op_type in ("Gather", "GatherElements", "GatherND"):  # reads what it writes
            names = [*node.output, *node.output, *node.input[1:]]
        values = sum(prod(known.get(name, ())) for name in names if name)
        found.append(Work(node_multiply_adds(node, known), values))
    return found


def stage_work(
    folder: Path, manifest: Manifest, size: tuple[int, int], windows: int
) -> dict[str, list[list[Work]]]:
    """Return the runs of each stage for a picture, and the kernels of each run."""
    views = plan_views(*size, manifest.views.scales.factors(), manifest.views)
    painting, content = view_stage(manifest)
    resize = onnx.load_from_string(content)
    runs: dict[str, list[list[Work]]] = {painting.name: []}
    for view in views:
        shapes = {
            PICTURE: (*size, 3),
            DOWN: (view.canvas_height, 4),
            ACROSS: (view.canvas_width, 4),
        }
        runs[painting.name].append(kernels(resize, shapes))
    share = windows // (len(manifest.chains) * len(views))
    for stage in manifest.stages:
        model = onnx.load(folder / stage.file)
        count = share if stage.per == WINDOWS else 1
        runs[stage.name] = [kernels(model, _shapes(stage, v, manifest, count)) for v in views]
    return runs


def host_seconds(model: DeepMask, image: np.ndarray[Any, Any]) -> dict[str, float]:
    """Measure what the host does with a picture's windows: processor seconds, the best of many."""
    windows = model.windows(image)
    size = (image.shape[0], image.shape[1])
    chances = 1 / (1 + np.exp(-windows.selection.logit.astype(np.float64)))
    least: dict[str, float] = {}

    def timed(name: str, start: float) -> float:
        now = time.thread_time()
        least[name] = min(least.get(name, np.inf), now - start)
        return time.thread_time()

    half = windows.logits.astype(np.float16)
    bound = log(model.manifest.threshold / (1 - model.manifest.threshold))
    for _ in range(25):
        start = time.thread_time()
        masks, boxes = encode_masks(half, bound, windows.boxes, size)
        start = timed("encode, one thread", start)
        order, _ = demote_duplicates(chances.astype(np.float32), boxes, model.manifest.overlap)
        start = timed("soft-NMS", start)
        distinct_first([masks[index] for index in order])
        timed("distinct", start)
    return least


def predicted(
    runs: dict[str, list[list[Work]]], card: Card, precision: str, size: tuple[int, int], down: int
) -> dict[str, float]:
    """Return the seconds of each stage on a card; precision: "fp32", "tf32" or "fp16".

    down  bytes that come back.
    """
    rate, value_bytes = getattr(card, precision), 2 if precision == "fp16" else 4
    found = {"upload": 10e-6 + 3 * prod(size) / (card.pcie * 1e9)}
    for name, of_stage in runs.items():
        gpu = sum(work.seconds(card, rate, value_bytes) for run in of_stage for work in run)
        found[name] = max(gpu, len(of_stage) * ENQUEUE)
    found["download"] = 20e-6 + down / (card.pcie * 1e9)
    return found


def _shapes(
    stage: Stage, view: View, manifest: Manifest, windows: int
) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(axis_size(axis, view, manifest, windows) for axis in spec.axes)
        for name, spec in stage.inputs.items()
    }


def table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * lines[0].count(" | ") + "---|", *lines[1:]])


@click.command(cls=Command)
@click.argument("model", required=False)
@click.option("--image", type=click.Path(exists=True), help="Picture for the host's stages.")
@click.option("--height", default=480, show_default=True, help="Of a drawn one, without --image.")
@click.option("--width", default=640, show_default=True)
@click.option("--windows", default=1000, show_default=True, help="Masks of a picture.")
@click.option("--threads", default=2, show_default=True, help="That encode masks.")
def command(
    model: str | None, image: str | None, height: int, width: int, windows: int, threads: int
) -> None:
    """Print predicted times of one picture, decoded, in ms, on several cards."""
    folder = find_model(model)
    manifest = load_manifest(folder)
    picture = draw_picture(height, width) if image is None else read_image(image)
    size = (picture.shape[0], picture.shape[1])
    runs = stage_work(folder, manifest, size, windows)
    gflop = {
        name: 2e-9 * sum(work.multiply_adds for run in of_stage for work in run)
        for name, of_stage in runs.items()
    }
    click.echo("GFLOP: " + ", ".join(f"{name} {value:.1f}" for name, value in gflop.items()))
    with DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1) as loaded:
        host = host_seconds(loaded, picture)
    click.echo(
        "host, ms: " + ", ".join(f"{name} {1e3 * value:.1f}" for name, value in host.items())
    )
    encode, *rest = host.values()
    on_host = encode / threads + sum(rest) + BESIDE
    down = 2 * windows * manifest.mask_size**2 + 100_000
    rows = [["card", "precision", "upload", *runs, "download", "host", "sum", "GPU's share"]]
    for card in CARDS:
        for precision in ("fp32", "tf32", "fp16"):
            stages = predicted(runs, card, precision, size, down)
            total = sum(stages.values()) + on_host
            times = [f"{1e3 * value:.1f}" for value in (*stages.values(), on_host, total)]
            share = f"{100 * sum(stages.values()) / total:.0f} %"
            rows.append([card.name, precision, *times, share])
    click.echo(table(rows))


if __name__ == "__main__":
    run_command(command, "python -m benchmarks.paper_latency", "bench")
