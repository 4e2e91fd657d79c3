"""Default number of threads: the cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def cores_available(root: Path = _ROOT) -> int:
    """Return how many cores this process may use: its affinity, and a container's share of time.

    root  stands for / in tests.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(cores, _quota(root))))


def _quota(root: Path) -> float:
    """Return how many cores' time Linux' control groups give; infinity without a limit."""
    least = math.inf
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if not controllers:  # version 2
            for folder in _up(root / "sys/fs/cgroup", group):
                least = min(least, _share(*[*_read(folder / "cpu.max").split(), "", ""][:2]))
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct", controllers):
                for folder in _up(root / "sys/fs/cgroup" / mount, group):
                    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    least = min(least, _share(*(_read(folder / name).strip() for name in files)))
    return least


def _up(mount: Path, group: str) -> list[Path]:
    """Return the folders of a group and of those around it; in a container only some are there."""
    path = PurePosixPath(group.lstrip("/"))
    return [mount / part for part in (path, *path.parents)]


def _share(quota: str, period: str) -> float:
    if not (quota.isdecimal() and period.isdecimal() and int(quota) > 0 and int(period) > 0):
        return math.inf  # "max", -1, or no such file
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
