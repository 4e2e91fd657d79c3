"""How much memory the engines of a CPU take, and give back."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from deepmask.runtime.engines.host_memory import return_freed, window_bytes

BLOCKS, BLOCK = 1000, 60_000  # below what glibc gives a mapping of its own


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], 16 << 20),
        ([5, 1000], 16 << 20),
        ([5, 40 << 20, 30 << 20], 40 << 20),
        ([200 << 20], 96 << 20),
    ],
)
def test_windows_take_as_many_bytes_as_the_largest_stage(
    tmp_path: Path, sizes: list[int], expected: int
) -> None:
    files = [tmp_path / f"{index}.onnx" for index in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        with file.open("wb") as stream:
            stream.truncate(size)
    assert window_bytes(files) == expected


def resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) << 10


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc"
)
def test_freed_memory_goes_back() -> None:
    """All blocks but the last, which keeps the heap as high as it is."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        libc.free(block)
    before = resident()
    return_freed()
    assert before - resident() > BLOCKS * BLOCK // 2
    libc.free(blocks[-1])


def test_nothing_happens_where_there_is_no_such_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    return_freed()
