"""Tell PyInstaller what a frozen program needs, so that no flag has to."""

from __future__ import annotations

from pathlib import Path


def hook_folders() -> list[str]:
    """Return the folder of PyInstaller's hooks: the entry point `pyinstaller40`."""
    return [str(Path(__file__).parent)]
