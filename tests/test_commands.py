"""What all commands have in common, as they are installed; and where click may be."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import deepmask

COMMANDS = (
    ("deepmask-trt-run",),
    ("deepmask-doctor",),
    ("deepmask-eval",),
    ("deepmask-eval", "compare"),
    ("deepmask-eval", "merge"),
    ("deepmask-export",),
    ("deepmask-train",),
)
ROOMS = ("coco", "deepmask", "evaluate", "export", "networks", "runtime", "train")

every_command = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@every_command
def test_help_has_two_names_and_fits_a_terminal(command: tuple[str, ...]) -> None:
    short, long = run(*command, "-h"), run(*command, "--help")
    assert (short.returncode, short.stderr) == (0, "")
    assert short.stdout == long.stdout
    assert short.stdout.startswith(f"Usage: {' '.join(command)} [OPTIONS]")
    assert max(map(len, short.stdout.splitlines())) <= 100
    assert "Most " not in short.stdout


@every_command
def test_version(command: tuple[str, ...]) -> None:
    done = run(*command, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{command[0]} {deepmask.__version__}\n"


@every_command
def test_an_unknown_option_is_one_line(command: tuple[str, ...]) -> None:
    done = run(*command, "--colour", "red")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: No such option '--colour'") or "--colour" in done.stderr
    assert done.stderr.endswith(f"({command[0]} --help explains)\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@every_command
def test_a_full_standard_output_is_told(command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*command, "-h"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is cut short (No space left on device)\n"


@pytest.mark.skipif(os.name == "nt", reason="a pipe breaks in another way there")
@every_command
def test_a_closed_standard_output_is_told(command: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*command, "-h"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1
    assert done.stderr == "Error: standard output is cut short (Broken pipe)\n"


def test_only_command_lines_import_click() -> None:
    """Everything else can be called from Python, and says nothing on its own."""
    checkout = Path(__file__).parents[1]
    found = set()
    for room in ROOMS:
        for path in (checkout / room).rglob("*.py"):
            place = path.relative_to(checkout)
            is_cli = place.name.startswith("cli") or place.parent == Path("runtime", "cli")
            if not is_cli and "click" in set(_imported(path)):
                found.add(place.as_posix())
    assert found == set()


def test_no_library_needs_a_command_line() -> None:
    """Outside of the command lines nothing imports them."""
    checkout = Path(__file__).parents[1]
    for room in ROOMS:
        for path in (checkout / room).rglob("*.py"):
            place = path.relative_to(checkout)
            if place.name.startswith("cli") or place.parent == Path("runtime", "cli"):
                continue
            told = [
                line for line in path.read_text().splitlines() if "deepmask.runtime.cli" in line
            ]
            assert not any(line.lstrip().startswith(("import ", "from ")) for line in told), place


def _imported(path: Path) -> Iterator[str]:
    """The top-level names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
