"""The models that come with the package, found by their names."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from deepmask.runtime.model.manifest import ModelFolderError

#: The one that is used where none is named.
SHIPPED_MODEL = "fpn-lite"


def shipped_names() -> list[str]:
    """Return the names of the models that came with the package, in order."""
    return sorted(path.parent.name for path in _folder().glob("*/model.json"))


def shipped_model(name: str = SHIPPED_MODEL) -> Path:
    """Return the folder of a model that came with the package; raises `ModelFolderError`."""
    if name not in shipped_names():
        raise ModelFolderError(
            "no model came with this installation; name a folder written by deepmask-export "
            "(--model DIR)"
        )
    return _folder() / name


def find_model(wanted: str | Path | None = None) -> Path:
    """Return the folder of a model: a path that exists, or the name of a shipped model.

    None stands for the default one. Raises `ModelFolderError` for what is neither.
    """
    if wanted is None:
        return shipped_model()
    path, names = Path(wanted), shipped_names()
    if path.exists():
        return path
    if str(wanted) in names:
        return shipped_model(str(wanted))
    choices = ", ".join([*names, "or a folder" if names else "a folder"])
    raise ModelFolderError(
        f"{wanted}: no such folder, and no shipped model of that name: "
        f"give {choices} written by deepmask-export"
    )


def _folder() -> Path:
    return Path(str(resources.files("deepmask.runtime"))) / "shipped"
