"""Paint a view on an engine's device: the picture goes there once, as bytes, and is resized there.

Resizing is linear, rows and columns apart, so a view is two matrix products: R · picture · C. A
sample of the view is the mean of the pixels that an interval of the picture covers: for shrinking
the sample's own extent (OpenCV's INTER_AREA), for enlarging an interval of one pixel around its
centre (INTER_LINEAR). The host gives intervals, the graph makes R and C of them, so that next to
nothing is uploaded. Samples are rounded as OpenCV rounds; they differ from its own by at most one
gray level.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from deepmask.runtime.model.manifest import Views
from deepmask.runtime.model.onnx_writer import FLOAT, UINT8, Graph
from deepmask.runtime.views.views import View, shrinks

#: Names of the graph's inputs. `picture` is (H, W, 3) uint8; the others are `intervals`.
PICTURE, DOWN, ACROSS = "picture", "down", "across"
#: Numbers of each interval.
NUMBERS = 4


def intervals(
    size: tuple[int, int], view: View, views: Views
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what each row and each column of a view's canvas covers of a picture.

    size  (height, width) of the picture.
    Both are (canvas side, 4): start and stop in pixels, the weight of a whole pixel, and 1; four
    zeros beside the scaled picture.
    """
    shrunk = shrinks(size, view)
    down = _along(size[0], view.height, view.canvas_height, views.border, shrunk)
    return down, _along(size[1], view.width, view.canvas_width, views.border, shrunk)


def _along(
    pixels: int, samples: int, canvas: int, border: int, shrunk: bool
) -> npt.NDArray[np.float32]:
    scale = pixels / samples
    number = np.arange(samples)
    if shrunk:
        start, length = number * scale, scale
    else:
        start, length = np.clip((number + 0.5) * scale - 0.5, 0, pixels - 1), 1.0
    found = np.zeros((canvas, NUMBERS), np.float32)
    weight, inside = np.full(samples, 1 / length), np.ones(samples)
    found[border : border + samples] = np.stack([start, start + length, weight, inside], axis=1)
    return found


@functools.cache
def view_graph(fill: float, output: str, name: str = "views") -> bytes:
    """Return the ONNX graph that paints canvases: `output` is (1, 3, canvas height, canvas width).

    fill  gray value beside the scaled picture, see `Views`.
    """
    graph = Graph(name)
    graph.input(PICTURE, UINT8, ("H", "W", 3))
    graph.input(DOWN, FLOAT, ("height", NUMBERS))
    graph.input(ACROSS, FLOAT, ("width", NUMBERS))
    one = graph.constant(np.float32(1))
    size = graph.node("Shape", PICTURE)
    weights, within = [], []
    for axis, given in enumerate((DOWN, ACROSS)):
        length = graph.node("Gather", size, graph.constant(np.int64(axis)))
        zero, step = graph.constant(np.int64(0)), graph.constant(np.int64(1))
        first = graph.node("Cast", graph.node("Range", zero, length, step), to=FLOAT)
        start, stop, weight, inside = (
            graph.node("Gather", given, graph.constant(np.array([column])), axis=1)
            for column in range(NUMBERS)
        )
        end = graph.node("Min", stop, graph.node("Add", first, one))
        shared = graph.node("Relu", graph.node("Sub", end, graph.node("Max", start, first)))
        weights.append(graph.node("Mul", shared, weight))
        within.append(inside)
    planes = graph.node("Transpose", graph.node("Cast", PICTURE, to=FLOAT), perm=[2, 0, 1])
    rows = graph.node("MatMul", weights[0], planes)
    samples = graph.node("MatMul", rows, graph.node("Transpose", weights[1], perm=[1, 0]))
    rounded = graph.node("Floor", graph.node("Add", samples, graph.constant(np.float32(0.5))))
    inside = graph.node("MatMul", within[0], graph.node("Transpose", within[1], perm=[1, 0]))
    beside = graph.node("Sub", one, inside)
    filled = graph.node("Mul", beside, graph.constant(np.float32(fill)))
    painted = graph.node("Add", rounded, filled)
    graph.output(
        output,
        graph.node("Unsqueeze", painted, graph.constant(np.zeros(1, np.int64))),
        FLOAT,
        (1, 3, "height", "width"),
    )
    return graph.model()
