"""Lower precisions emulated in float32, compared with numpy's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.emulate import FORMS, FP16, FP16_SUMS, TF32, emulate, rounded
from benchmarks.emulate_sums import STEP

Array = npt.NDArray[np.float32]
RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(8, 3 * STEP, 1, 1)).astype(np.float32)
SECOND = RNG.normal(size=(4, 8, 1, 1)).astype(np.float32)
SIZE = [1, 3 * STEP, 2, 2]


def graph() -> onnx.ModelProto:
    """Two convolutions, and a square between them."""
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "a"),
        helper.make_node("Mul", ["a", "a"], ["b"], "b"),
        helper.make_node("Conv", ["b", "second"], ["y"], "y"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", SIZE), ("y", [1, 4, 2, 2]))
    ]
    weights = [numpy_helper.from_array(a, n) for a, n in ((FIRST, "first"), (SECOND, "second"))]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: Array) -> Array:
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Array = session.run(None, {"x": x})[0]
    return found


def half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def layer(x: Array, weight: Array, sums: bool) -> Array:
    """A 1×1 convolution; with `sums`, what is summed so far is rounded after each step."""
    total = np.zeros((1, len(weight), *x.shape[2:]), np.float32)
    step = STEP if sums else x.shape[1]
    for start in range(0, x.shape[1], step):
        part = slice(start, start + step)
        made = np.einsum("oc,bchw->bohw", weight[:, part, 0, 0], x[:, part])
        total = half(total + made) if sums else made.astype(np.float32)
    return total


def expected(x: Array, form: str) -> Array:
    kept = half if form != TF32 else lambda values: values
    a = kept(layer(half(x), half(FIRST), form == FP16_SUMS))
    b = kept(a * a)
    return kept(layer(half(b), half(SECOND), False))


def test_ten_bits_are_those_of_float16() -> None:
    values = RNG.normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(rounded(values), half(values))
    assert rounded(np.array([1e20], np.float32))[0] == pytest.approx(1e20, rel=2**-11)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_computes_as_it_says(form: str) -> None:
    x, model = RNG.normal(size=SIZE).astype(np.float32), graph()
    plain = run(model, x)
    emulate(model, form, spared=[])
    found, wanted = run(model, x), expected(x, form)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-2)
    assert abs(found - wanted).mean() < 0.3 * abs(plain - wanted).mean()


def test_layers_that_are_spared_stay_in_float32() -> None:
    x, model = RNG.normal(size=SIZE).astype(np.float32), graph()
    plain = run(model, x)
    emulate(model, FP16, spared=["a", "b", "y"])
    np.testing.assert_array_equal(run(model, x), plain)
