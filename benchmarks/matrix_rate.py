"""Measure the machine's rate of matrix products, to hold a graph's arithmetic against."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

#: Side of the square float32 matrices: 17 GFLOP a product, far beyond any cache.
SIDE = 2048
_SECONDS = 1.5


def matrix_rates(threads: int) -> dict[str, float]:
    """Return GFLOP/s of a large float32 matrix product in each library, on so many CPU threads.

    Takes the best of repeated products: what the machine can do, not what it did on average.
    """
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((SIDE, SIDE)).astype(np.float32) for _ in range(2))
    products = {
        "onnxruntime": _onnxruntime(left, right, threads),
        "torch": _torch(left, right, threads),
    }
    return {name: _best_rate(product) for name, product in products.items()}


def _best_rate(product: Callable[[], object]) -> float:
    product()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - start)
    return 2e-9 * SIDE**3 / best


def _onnxruntime(
    left: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    right: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    threads: int,
) -> Callable[[], object]:
    """Multiply by a constant, as the graphs do, so that it is packed once."""
    shape = [SIDE, SIDE]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(
        onnx.ModelProto.SerializeToString(model), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"left": left})


def _torch(
    left: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    right: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    threads: int,
) -> Callable[[], object]:
    torch.set_num_threads(threads)
    a, b = torch.from_numpy(left), torch.from_numpy(right)
    return lambda: a @ b
