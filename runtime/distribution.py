"""Name the pip distribution of this project in one place, for install hints and its metadata."""

from __future__ import annotations

#: On PyPI the name of the import package, `deepmask`, belongs to another project.
NAME = "deepmask-trt"


def pip_install(extra: str = "") -> str:
    """Return the command that installs this project, with one of pyproject.toml's extras."""
    return f"pip install '{NAME}[{extra}]'" if extra else f"pip install {NAME}"
