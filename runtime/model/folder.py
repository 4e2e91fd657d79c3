"""Read and write a model folder: `model.json` and the ONNX files it names."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepmask.runtime.io.atomic import atomic_write
from deepmask.runtime.io.checksum import sha256_of
from deepmask.runtime.model.graph_file import check_graph_file
from deepmask.runtime.model.manifest import Manifest, ModelFolderError, Stage
from deepmask.runtime.model.parse import FORMAT, parse_manifest
from deepmask.runtime.validation import ContentError

MANIFEST_NAME = "model.json"
#: Largest `model.json` that is read, in bytes.
MANIFEST_LIMIT = 1 << 20
#: A graph file is smaller, in bytes: protobuf's own limit on one message.
GRAPH_LIMIT = 1 << 31


def load_manifest(folder: Path) -> Manifest:
    """Read and check a model folder.

    Raises `ModelFolderError` for a folder, file, key, type, range, tensor, file name or checksum
    that is not as it must be. File names are confined to the folder, and each graph must be
    complete in itself (see `graph_file`).
    """
    manifest = read_manifest(folder)
    stages = [*manifest.stages, *(manifest.coarse.stages if manifest.coarse else ())]
    # Stages may share a file; a second checksum for it is wrong, and found to be.
    for file, checksum in dict.fromkeys((stage.file, stage.sha256) for stage in stages):
        _check_file(folder / file, checksum)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read and check `model.json` alone; raises `ModelFolderError`."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder}: no {MANIFEST_NAME} there; a model is a folder written by deepmask-export"
        )
    try:
        return parse_manifest(_read_json(path))
    except (ModelFolderError, ContentError) as error:
        raise ModelFolderError(f"{path}: {error}") from error


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `model.json` into `folder`; it appears whole or not at all."""
    content = {"format": FORMAT, **asdict(manifest, dict_factory=_without_none)}
    with atomic_write(folder / MANIFEST_NAME) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def _without_none(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def with_checksums(manifest: Manifest, folder: Path) -> Manifest:
    """Return the manifest with the checksums that its files have in `folder`."""

    def checked(stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return tuple(replace(one, sha256=sha256_of(folder / one.file)) for one in stages)

    coarse = manifest.coarse
    if coarse is not None:
        coarse = replace(coarse, stages=checked(coarse.stages))
    return replace(manifest, stages=checked(manifest.stages), coarse=coarse)


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ModelFolderError(f"over {MANIFEST_LIMIT >> 20} MiB, not a model description")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, OSError) as error:
        raise ModelFolderError(f"not readable as JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ModelFolderError(
            f"format is {found!r:.60}, this version reads {FORMAT!r}; export the checkpoint again"
        )
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _check_file(path: Path, checksum: str) -> None:
    if not path.is_file():
        raise ModelFolderError(
            f"{path}: missing; the folder is incomplete, export or copy it again"
        )
    try:
        size = path.stat().st_size
        if not 0 < size < GRAPH_LIMIT:
            raise ModelFolderError(f"{path}: has {size} bytes, which no graph has")
        if sha256_of(path) != checksum:
            raise ModelFolderError(
                f"{path}: its SHA-256 is not the one in {MANIFEST_NAME}; "
                "the file was changed or cut short, export or copy it again"
            )
        check_graph_file(path)
    except OSError as error:
        raise ModelFolderError(f"{path}: cannot be read ({error.strerror})") from error
    except ContentError as error:
        raise ModelFolderError(f"{path}: {error}") from error
