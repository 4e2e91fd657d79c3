"""ONNX Runtime, on the CPU or on CUDA."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deepmask.runtime.engines.base import Buffer, DeviceError, Engine, EngineError, check_names
from deepmask.runtime.engines.host_memory import return_freed, window_bytes
from deepmask.runtime.engines.threads import cores_available
from deepmask.runtime.errors import one_line
from deepmask.runtime.model.manifest import Manifest, Stage

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
#: Microseconds that a thread out of work spins before it sleeps: from one operator to the next.
_SPIN_US = "100"
_QUIET = 4  # onnxruntime's log severity "fatal": its errors are raised as well as logged

ort.set_default_logger_severity(_QUIET)
ort.disable_telemetry_events()  # builds for Windows have them


def _end_at_once() -> None:
    """Let a child process end without onnxruntime's last clean-up.

    That waits for threads of the parent, which `fork` does not copy. Python itself is done by then.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit") and hasattr(libc, "__cxa_atexit"):  # glibc; last come, first called
        libc.on_exit(libc._exit, None)
        getattr(libc, "__cxa_atexit")(libc.fflush, None, None)


if sys.platform == "linux":
    os.register_at_fork(after_in_child=_end_at_once)


def missing_cuda() -> str:
    """Say why CUDA cannot be used; "" if this onnxruntime was built with it."""
    if _PROVIDERS["cuda"] in ort.get_available_providers():
        return ""
    return "this onnxruntime has no CUDA (pip install onnxruntime-gpu in its place)"


class OnnxRuntimeEngine(Engine):
    """The stages as sessions of one device. Tensors are `OrtValue`s of that device."""

    def __init__(self, manifest: Manifest, folder: Path, device: str, threads: int) -> None:
        """Load the stages; see `open_engine`."""
        self._device = device
        self._stages = {stage.name: stage for stage in manifest.stages}
        count = threads or cores_available()
        self._sessions = {
            name: _open_session(folder / stage.file, stage, device, count)
            for name, stage in self._stages.items()
        }
        if device == "cpu":
            self.window_bytes = window_bytes(folder / one.file for one in manifest.window_stages)
            self.waiting_bytes = 0
            return_freed()
        where = "CUDA" if device == "cuda" else f"CPU, {count} thread{'s' * (count > 1)}"
        self.description = f"onnxruntime {ort.__version__} on {where}"

    def send(self, buffer: Buffer) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(buffer.array, self._device, 0)

    def run(self, stage: str, inputs: Mapping[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        session, outputs = self._sessions[stage], list(self._stages[stage].outputs)
        binding = session.io_binding()
        for name in self._stages[stage].inputs:
            binding.bind_ortvalue_input(name, inputs[name])
        for name in outputs:
            binding.bind_output(name, self._device)
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's errors share no base class
            raise EngineError(f"onnxruntime failed in stage {stage}: {one_line(error)}") from error
        return dict(zip(outputs, binding.get_outputs(), strict=True))

    def shape(self, tensor: ort.OrtValue) -> tuple[int, ...]:
        return tuple(tensor.shape())

    @contextmanager
    def fetched(self, tensors: Sequence[ort.OrtValue]) -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [tensor.numpy() for tensor in tensors]

    def close(self) -> None:
        self._sessions.clear()


def _open_session(path: Path, stage: Stage, device: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan for each shape: more memory, no less time
    # Each graph has threads of its own. Left to spin when its run is over, they take the cores from
    # the next graph's.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if device == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # the CUDA libraries that pip installed beside it
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[_PROVIDERS[device]],
            # Where there is nothing to fall back to, it would print a box and load the file again.
            enable_fallback=device != "cpu",
        )
    except Exception as error:  # onnxruntime's errors share no base class
        raise EngineError(f"{path}: onnxruntime cannot load it: {one_line(error)}") from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        raise DeviceError(
            "onnxruntime could not start CUDA on this machine (driver, CUDA or cuDNN libraries)"
        )
    found = [tensor.name for tensor in session.get_inputs()]
    made = [tensor.name for tensor in session.get_outputs()]
    check_names(path, stage, found, made)
    return session
