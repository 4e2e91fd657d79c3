"""What is installed: from a wheel, from a source archive, and in a container."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("coco", "networks", "train", "export", "runtime", "evaluate")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
#: What the image is built from.
COPIED = [
    name
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    for name in line.split()[:-1]
]


def needed() -> set[str]:
    """The files that an installation must have, by their names in it."""
    files = {f"deepmask/{path.name}" for path in (ROOT / "deepmask").glob("*.py")}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".py", ".cpp", ".onnx") or path.name == "model.json":
                files.add(f"deepmask/{path.relative_to(ROOT).as_posix()}")
    return {*files, "deepmask/py.typed"}


def copy_source(folder: Path) -> Path:
    """Copy what the image is built from."""
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder)
    return folder


def build(what: str, folder: Path, out: Path) -> Path:
    """Call setuptools as pip does, with what is installed here; return the archive."""
    pytest.importorskip("setuptools")
    out.mkdir()
    code = f"import sys; from setuptools.build_meta import {what}; print({what}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_wheel_and_a_source_archive_have_everything(tmp_path: Path) -> None:
    source = copy_source(tmp_path / "source")
    wheel = build("build_wheel", source, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert needed() <= set(archive.namelist())
        entries = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        commands = archive.read(entries[0]).decode()
    entry_points = ConfigParser()
    entry_points.read_string(commands)
    assert set(entry_points["console_scripts"]) == {
        *("deepmask-train", "deepmask-export", "deepmask-trt-run", "deepmask-eval"),
        "deepmask-doctor",
    }
    assert set(entry_points["pyinstaller40"]) == {"hook-dirs"}
    sources = build("build_sdist", source, tmp_path / "sdist")
    with tarfile.open(sources) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    again = build("build_wheel", unpacked, tmp_path / "again")
    with zipfile.ZipFile(again) as archive:
        assert needed() <= set(archive.namelist())


def test_the_image_is_small_and_has_no_root() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}
    [user] = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(user) > 0
    assert DOCKERFILE.index("USER") > DOCKERFILE.rindex("COPY")
    assert "--read-only" in DOCKERFILE
    [command] = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]$', DOCKERFILE, re.MULTILINE)
    assert f"{command} = " in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_image_is_built_from_what_is_there() -> None:
    assert {"deepmask", *ROOMS} <= set(COPIED)
    assert [name for name in COPIED if not (ROOT / name).exists()] == []
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignore[0] == "*"
    assert {one[1:] for one in ignore if one.startswith("!")} == set(COPIED)
    assert any(fnmatch.fnmatch("x/__pycache__", one) for one in ignore[1:])


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_dockerfile_passes_its_linter(tmp_path: Path) -> None:
    def lint(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["hadolint", file], capture_output=True, text=True, check=False)

    done = lint(ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE.replace("python:3.13-slim", "python"))
    assert lint(worse).returncode != 0
