"""Every call of TensorRT that the project makes fits the real bindings, of each version accepted.

The bindings are NVIDIA's own wheels, without the libraries behind them, which are gigabytes.
"""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.stand_in.build import CannotBuild, bindings
from tests.stand_in.signatures import Checked, CheckedModule


def fits(*arguments: str) -> None:
    command = [sys.executable, "-m", "tests.stand_in.calls", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("requirement", ["==10.3.0", "==10.16.1.11", ">=11,<12"])
def test_every_call_fits_tensorrt(requirement: str) -> None:
    """The oldest with every function that is used, the oldest accepted by default, the newest."""
    try:
        given = bindings(requirement, int(requirement.strip("=><")[:2]))
    except CannotBuild as error:
        pytest.skip(str(error))
    fits("tensorrt", *given)


def test_every_call_fits_tensorrt_for_rtx() -> None:
    pytest.importorskip("tensorrt_rtx")
    fits("tensorrt-rtx")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("set_device_memory", ("address", 1)),
        ("set_device_memory", (1, 1, 1)),
        ("set_input_shape", ("image",)),
        ("set_input_shape", ("image", 3)),
        ("execute_async_v3", (None,)),
    ],
)
def test_what_does_not_fit_is_found(name: str, given: tuple[Any, ...]) -> None:
    trt: ModuleType = pytest.importorskip("tensorrt_rtx")
    context = Checked(trt.IExecutionContext, {}, CheckedModule(trt, {}).seen)
    with pytest.raises(AssertionError, match="fits none of"):
        getattr(context, name)(*given)
    with pytest.raises(AttributeError):
        _ = context.execute_async_v4
