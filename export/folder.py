"""The folder an export ends in: it appears whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepmask.export.errors import ExportUsageError
from deepmask.runtime.io.atomic import NEW, OLD, remove_stale, staging_folder
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.io.written import RECORD, Written, remember
from deepmask.runtime.model.folder import MANIFEST_NAME, read_manifest
from deepmask.runtime.model.manifest import ModelFolderError


def require_replaceable(folder: Path, force: bool = False) -> None:
    """Raise `ExportUsageError` unless `folder` is new, empty or a model folder and nothing more.

    force  also a model folder that was changed since it was exported.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise ExportUsageError(f"{folder} is a file: give --out a folder")
    names = {path.name for path in folder.iterdir()} - {RECORD}
    if not names:
        return
    try:
        written = {MANIFEST_NAME, *read_manifest(folder).files()}
    except ModelFolderError as error:
        raise ExportUsageError(
            f"{folder} exists and is no exported model ({error}): give another --out"
        ) from error
    if strangers := sorted(names - written):
        raise ExportUsageError(
            f"{folder} also holds {strangers[0]}, which no export wrote: move it away, "
            "or give another --out"
        )
    known = Written()
    for name in () if force else sorted(names):
        if not known.has(folder / name):
            raise ExportUsageError(
                f"{folder / name} was changed since it was exported, or exported by another "
                "version: give another --out, or --force to replace the model"
            )


@contextmanager
def staged(folder: Path, force: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when the block ends well.

    Its files are remembered as written here. When the block raises, the new folder is removed and
    `folder` is as it was. `force` is that of `require_replaceable`.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(folder) as place:
        stage = place / NEW
        stage.mkdir()
        yield stage
        for path in sorted(stage.iterdir()):
            remember(path, sha256_of(path))
        require_replaceable(folder, force)
        _swap(stage, folder, place / OLD)
    remove_stale(folder)  # only now: a killed swap may have left the old model there


def _swap(stage: Path, folder: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.replace(old)
        stage.replace(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise
