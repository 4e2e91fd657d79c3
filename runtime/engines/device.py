"""Name devices: "auto", "cpu", "cuda" for the first GPU, "cuda:1" for the second."""

from __future__ import annotations

import re

#: What a user may give, in words.
ACCEPTED = "auto, cpu, cuda or cuda:N (N from 0, in CUDA's order)"
_DEVICE = re.compile(r"auto|cpu|cuda(?::(\d{1,3}))?")


def is_device(text: str) -> bool:
    """Return whether a text names a device."""
    return _DEVICE.fullmatch(text) is not None


def gpu_index(device: str) -> int:
    """Return the number of a GPU among those that CUDA shows: 0 for "cuda", 1 for "cuda:1"."""
    match = _DEVICE.fullmatch(device)
    return int(match[1] or 0) if match else 0
