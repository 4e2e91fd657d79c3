"""How many threads are taken where nobody says."""

from __future__ import annotations

import os


def cores_available() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
