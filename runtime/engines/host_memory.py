"""Memory that engines take on a CPU."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

#: Least and most memory for the windows of one run. 1000 masks take as long by 16 MiB as by 96, and
#: 100 to 200 MiB less. Every run reads the stage's weights: it is worth as many bytes of windows.
_LEAST, _MOST = 16 << 20, 96 << 20


def window_bytes(files: Iterable[Path]) -> int:
    """Return how much memory the windows of one run of a stage may take, by the stages' files."""
    largest = max((file.stat().st_size for file in files), default=0)
    return min(max(_LEAST, largest), _MOST)


def return_freed() -> None:
    """Give memory that was freed back to the system, where the C library has a call for it.

    Libraries need two or three times a graph's weights while they load it. glibc keeps what they
    free for later, in pieces that an engine's large maps do not fit.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(ctypes.c_size_t(0))
