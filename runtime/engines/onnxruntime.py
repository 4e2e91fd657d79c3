"""ONNX Runtime, on the CPU or on CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from deepmask.runtime.engines.base import Buffer, DeviceError, Engine, EngineError, check_names
from deepmask.runtime.engines.device import gpu_index
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
    return "this onnxruntime has no CUDA (pip install 'onnxruntime-gpu[cuda,cudnn]' in its place)"


@functools.cache
def _load_cuda() -> None:
    """Load the CUDA libraries that pip installed beside it, once; what it prints is left out."""
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()


class OnnxRuntimeEngine(Engine):
    """The stages as sessions of one device. Tensors are `OrtValue`s of that device."""

    def __init__(
        self, manifest: Manifest, folder: Path, device: str, threads: int, tf32: bool = True
    ) -> None:
        """Load the stages; see `open_engine`."""
        self._device = device.partition(":")[0]
        self._index = gpu_index(device)
        self._stages = {stage.name: stage for stage in manifest.stages}
        count = threads or cores_available()
        provider = _PROVIDERS[self._device], self._options(tf32)
        self._sessions = {
            name: _open_session(folder / stage.file, stage, count, provider)
            for name, stage in self._stages.items()
        }
        if self._device == "cpu":
            self.window_bytes = window_bytes(folder / one.file for one in manifest.window_stages)
            self.waiting_bytes = 0
            return_freed()
        number = f" {self._index}" if self._index else ""
        where = (
            f"CUDA{number}" if self._device == "cuda" else f"CPU, {count} thread{'s' * (count > 1)}"
        )
        self.description = f"onnxruntime {ort.__version__} on {where}"

    def send(self, buffer: Buffer) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(buffer.array, self._device, self._index)

    def run(self, stage: str, inputs: Mapping[str, ort.OrtValue]) -> dict[str, ort.OrtValue]:
        session, outputs = self._sessions[stage], list(self._stages[stage].outputs)
        binding = session.io_binding()
        for name in self._stages[stage].inputs:
            binding.bind_ortvalue_input(name, inputs[name])
        for name in outputs:
            binding.bind_output(name, self._device, self._index)
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # onnxruntime's errors share no base class
            raise EngineError(f"onnxruntime failed in stage {stage}: {one_line(error)}") from error
        return dict(zip(outputs, binding.get_outputs(), strict=True))

    def shape(self, tensor: ort.OrtValue) -> tuple[int, ...]:
        return tuple(tensor.shape())

    @contextlib.contextmanager
    def fetched(self, tensors: Sequence[ort.OrtValue]) -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [tensor.numpy() for tensor in tensors]

    def close(self) -> None:
        self._sessions.clear()

    def _options(self, tf32: bool) -> dict[str, str]:
        """Options of the provider: what it does by itself is for networks of one shape."""
        if self._device == "cpu":
            return {}
        return {
            "device_id": str(self._index),
            # By default each convolution tries every kernel for every new size of a picture.
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": str(int(tf32)),
        }


def _open_session(
    path: Path, stage: Stage, threads: int, provider: tuple[str, dict[str, str]]
) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a plan for each shape: more memory, no less time
    # Each graph has threads of its own. Left to spin when its run is over, they take the cores from
    # the next graph's.
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    options.add_session_config_entry("session.force_spinning_stop", "1")
    on_gpu = provider[0] != _PROVIDERS["cpu"]
    if on_gpu:
        _load_cuda()
    try:
        session = ort.InferenceSession(
            str(path),
            options,
            providers=[provider],
            # Where there is nothing to fall back to, it would print a box and load the file again.
            enable_fallback=on_gpu,
        )
    except Exception as error:  # onnxruntime's errors share no base class
        raise EngineError(f"{path}: onnxruntime cannot load it: {one_line(error)}") from error
    session.disable_fallback()  # of runs: one that fails is told
    if session.get_providers()[0] != provider[0]:
        raise DeviceError(
            "onnxruntime could not start CUDA on this machine (driver, CUDA or cuDNN libraries)"
        )
    found = [tensor.name for tensor in session.get_inputs()]
    made = [tensor.name for tensor in session.get_outputs()]
    check_names(path, stage, found, made)
    return session
