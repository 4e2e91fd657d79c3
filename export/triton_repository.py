"""A model repository for NVIDIA Triton: the folder that `tritonserver --model-repository` serves.

REPOSITORY/NAME/config.pbtxt describes requests and answers (see `runtime.triton`), and each export
is a further version beside the others: REPOSITORY/NAME/1/, 2/, …, of which Triton serves the last.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from deepmask.export.errors import ExportUsageError
from deepmask.runtime.io.atomic import NEW, SUFFIX, remove_stale, staging_folder
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.triton_backend import INPUTS, MODEL, OPTIONAL, outputs_of

#: Tensors of a request or an answer: Triton's type, and sizes (-1 for any).
Table: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]

CONFIG = "config.pbtxt"
_MODEL_PY = '''"""Served by Triton's Python backend, in whose environment deepmask is installed."""

from deepmask.runtime.triton_backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def write_repository(folder: Path, repository: Path) -> Path:
    """Add an exported model folder to a model repository; returns the folder of the new version.

    It appears whole: a server that watches the repository never sees half of it. A config.pbtxt
    that is there stays as it is, with what was added to it. Raises `ExportUsageError` where the
    model's name is in use for another kind of model.
    """
    manifest = load_manifest(folder)
    name = servable_name(manifest.name)
    require_ours(repository, name)
    place = repository / name
    place.mkdir(parents=True, exist_ok=True)
    versions = [int(path.name) for path in place.iterdir() if path.name.isdecimal()]
    version = 1 + max(versions, default=0)
    target = place / str(version)
    with staging_folder(target) as work:
        stage = work / NEW
        shutil.copytree(folder, stage / MODEL, ignore=shutil.ignore_patterns(RECORD))
        (stage / "model.py").write_text(_MODEL_PY, encoding="utf-8")
        if not (place / CONFIG).exists():
            written = stage / CONFIG
            outputs = outputs_of(manifest.has_masks, manifest.categories is not None)
            written.write_text(config(name, outputs), encoding="utf-8")
            written.replace(place / CONFIG)
        stage.replace(target)
    remove_stale(target)
    return target


def require_ours(repository: Path, name: str) -> None:
    """Raise `ExportUsageError` if a repository has another kind of model under that name."""
    place = repository / name
    if place.exists() and not _is_ours(place, name):
        raise ExportUsageError(f"{place} is another kind of model: move it away, or give --name")


def _is_ours(place: Path, name: str) -> bool:
    """Whether a version is ours, or there is none yet: an export may have been killed before it."""
    if not place.is_dir():
        return False
    if any(_holds(path, _MODEL_PY) for path in place.glob("*/model.py")):
        return True
    whole = {path.name for path in place.iterdir() if path.suffix != SUFFIX}
    written = [
        config(name, outputs_of(masks, names)) for masks in (True, False) for names in (True, False)
    ]
    return not whole or (
        whole == {CONFIG} and any(_holds(place / CONFIG, text) for text in written)
    )


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text


def servable_name(name: str) -> str:
    """Return a model's name as Triton and file systems take it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".-") or "deepmask"


def config(name: str, outputs: Table) -> str:
    """Return the text of config.pbtxt: Triton's `ModelConfig` message."""
    return (
        f'name: "{name}"\n'
        'backend: "python"\n'
        "max_batch_size: 0\n"
        f"input [\n{_tensors(INPUTS)}\n]\n"
        f"output [\n{_tensors(outputs)}\n]\n"
    )


def _tensors(table: Table) -> str:
    lines = []
    for name, (kind, sizes) in table.items():
        dims = ", ".join(map(str, sizes))
        optional = " optional: true" if name in OPTIONAL else ""
        lines.append(f'  {{ name: "{name}" data_type: {kind} dims: [ {dims} ]{optional} }}')
    return ",\n".join(lines)
