"""What the package says of itself: licence, authors, Python versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from pathlib import Path

from deepmask.runtime import distribution

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("coco", "networks", "train", "export", "runtime", "evaluate")
#: Of the Apache License 2.0 as the Apache Software Foundation publishes it.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def test_the_licence_is_the_published_text() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_installed_metadata_has_licence_authors_and_versions() -> None:
    metadata = importlib.metadata.metadata(distribution.NAME)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Author"] == "the DeepMask for deployment developers"
    assert metadata["Requires-Python"] == ">=3.10"
    classifiers = metadata.get_all("Classifier") or []
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)}
    assert {*versions, "Typing :: Typed"} <= set(classifiers)
    # PyPI refuses a licence expression with a licence classifier beside it.
    assert not [one for one in classifiers if one.startswith("License ::")]


def test_every_folder_of_modules_is_installed() -> None:
    """A checkout has them all; an installation has those that `pyproject.toml` lists."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r"^packages = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    listed = set(re.findall(r'"(.+?)"', match[1]))
    files = [path for room in ROOMS for path in (ROOT / room).rglob("__init__.py")]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in files}
    own = {f"deepmask.{path.parent.name}" for path in (ROOT / "deepmask").glob("*/__init__.py")}
    assert listed == {"deepmask", *own, *(f"deepmask.{one}" for one in folders)}


def test_pyinstaller_is_given_the_hooks() -> None:
    """What the hook collects was tried: a frozen program ran the shipped model."""
    (point,) = importlib.metadata.distribution(distribution.NAME).entry_points.select(
        group="pyinstaller40"
    )
    (folder,) = point.load()()
    assert [path.name for path in Path(folder).glob("hook-*.py")] == ["hook-deepmask.py"]
