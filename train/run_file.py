"""Keep what a run was asked to do in its folder, so that `--resume` needs no other options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmask.runtime.io.atomic import atomic_write, remove_stale
from deepmask.train.errors import TrainUsageError

NAME = "run.json"
FORMAT = "deepmask-train/1"
#: More bytes than any run's options take.
_LARGEST = 1_000_000


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the options of a run by name; paths become absolute. Raises `OSError`."""
    content = {"format": FORMAT, **{name: _plain(value) for name, value in settings.items()}}
    with atomic_write(folder / NAME) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")
    remove_stale(folder / NAME)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the options that a run was started with; empty where the folder has none.

    Raises `TrainUsageError` for a file that `write_settings` did not write.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size < _LARGEST else None
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise TrainUsageError(
            f"{path}: not what deepmask-train writes: remove it and give the run's options again"
        )
    return {name: value for name, value in content.items() if _is_plain(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _is_plain(value: Any) -> bool:
    """Tell whether an option can have this value: what the options say of it comes later."""
    if isinstance(value, list):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, str | int | float)
