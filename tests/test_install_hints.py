"""Every hint to install this project names its distribution and extras that exist."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepmask import __version__
from deepmask.runtime import distribution
from deepmask.runtime.doctor import system_info

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".cfg", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
#: `deepmask-trt[cpu,eval]` or `.[cpu]`, wherever they stand; `{` begins a name filled in later.
REQUIREMENT = re.compile(r"""(\bdeepmask[\w-]*|["' ]\.)\[([^]{}]+)\]""")
#: A project name after `pip install` and its options, with or without an extra.
INSTALLED = re.compile(r"pip install (?:-\S+ )*[\"'`]?(deepmask[\w-]*)")


def texts() -> Iterator[tuple[Path, str]]:
    for folder, below in ((ROOT, "*"), (ROOT / ".github", "**/*"), *rooms()):
        for path in sorted(folder.glob(below)):
            if path.is_file() and path.suffix in SUFFIXES and path.name != Path(__file__).name:
                yield path.relative_to(ROOT), path.read_text(encoding="utf-8")


def rooms() -> Iterator[tuple[Path, str]]:
    names = "benchmarks coco deepmask docs evaluate examples export networks runtime tests train"
    return ((ROOT / name, "**/*") for name in names.split())


def declared() -> tuple[str, set[str]]:
    """Return the distribution's name and its extras, as pyproject.toml has them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = text.split("[project.optional-dependencies]\n")[1].split("\n[")[0]
    name = re.search(r'^name = "(.+)"$', text, re.MULTILINE)
    assert name
    return name[1], set(re.findall(r"^([\w-]+) = \[", extras, re.MULTILINE))


def test_the_name_is_that_of_the_metadata() -> None:
    name, extras = declared()
    assert name == distribution.NAME
    assert {"cpu", "gpu", "openvino", "tensorrt", "train", "export", "eval"} <= extras
    assert importlib.metadata.version(name) == __version__


def test_every_hint_installs_this_project() -> None:
    name, extras = declared()
    found = []
    for path, text in texts():
        for given, list_of_extras in REQUIREMENT.findall(text):
            found.append((path, given, list_of_extras))
            assert given.strip("\"' ") in (name, "."), f"{path}: {given}[{list_of_extras}]"
            unknown = {one.strip() for one in list_of_extras.split(",")} - extras
            assert not unknown, f"{path}: {given}[{list_of_extras}]"
        assert set(INSTALLED.findall(text)) <= {name}, f"{path}: pip install of another name"
    assert len(found) > 15


def test_every_call_for_a_hint_names_an_extra() -> None:
    name, extras = declared()
    found = set()
    for path, text in texts():
        for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
            match node:
                case (
                    ast.Call(func=ast.Name("pip_install"), args=[ast.Constant(str(extra))])
                    | ast.Call(
                        func=ast.Name("run_command"), args=[_, _, ast.Constant(str(extra)), *_]
                    )
                ):
                    assert extra in extras, f"{path}:{node.lineno}"
                    found.add(extra)
    assert {"cpu", "openvino", "eval", "export"} <= found
    assert distribution.pip_install("cpu") == f"pip install '{name}[cpu]'"


def test_a_checkout_that_is_not_installed_says_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the hints alone would fetch the project from PyPI, without what is in the checkout."""
    assert system_info.project_version() == __version__
    monkeypatch.setattr(distribution, "NAME", "no-such-distribution")
    told = system_info.project_version()
    assert told == f"not installed: pip install -e {shlex.quote(str(ROOT))}"
    assert system_info.requirement("numpy") == "numpy"
