"""The folder an export ends in: it appears whole, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepmask.export.errors import ExportUsageError
from deepmask.runtime.io.atomic import NEW, OLD, sweep, workplace
from deepmask.runtime.model.manifest import FORMAT, MANIFEST_NAME

#: Masks of every location at once, for other tools: written if asked for, and in no manifest.
DENSE_MASK = "mask_dense.onnx"
#: Every file that an export may write; a folder with any other file in it is not replaced.
FILES = (
    MANIFEST_NAME,
    *("trunk.onnx", "score.onnx", "mask.onnx", DENSE_MASK),
    *("coarse_trunk.onnx", "coarse_mask.onnx"),
)


def require_replaceable(folder: Path) -> None:
    """Raise `ExportUsageError` unless `folder` is new, empty or a model folder and nothing more."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ExportUsageError(f"{folder} is a file: give --out a folder")
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if not _is_model(folder / MANIFEST_NAME):
        raise ExportUsageError(
            f"{folder} exists and is no exported model (no {MANIFEST_NAME} of one in it): "
            "give another --out"
        )
    if strangers := sorted(names - set(FILES)):
        raise ExportUsageError(
            f"{folder} also holds {strangers[0]}, which no export wrote: move it away, "
            "or give another --out"
        )


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block ends well.

    When the block raises, the new folder is removed and `folder` is as it was.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with workplace(folder) as place:
        stage = place / NEW
        stage.mkdir()
        yield stage
        require_replaceable(folder)
        _swap(stage, folder, place / OLD)
    sweep(folder)  # only now: a killed swap may have left the old model there


def _swap(stage: Path, folder: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.replace(old)
        stage.replace(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise


def _is_model(manifest: Path) -> bool:
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT
