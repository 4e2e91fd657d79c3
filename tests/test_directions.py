"""Imports go one way, between rooms, inside the runtime and between files.

Imports inside functions count; those for type checkers alone do not, as they never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: What each room may import, itself apart. `coco` has two modules of the runtime beside.
ROOMS: dict[str, set[str]] = {
    "runtime": set(),
    "coco": {"runtime.io", "runtime.errors"},
    "networks": {"runtime", "coco"},
    "evaluate": {"runtime", "coco"},
    "train": {"runtime", "coco", "networks", "evaluate"},
    "export": {"runtime", "coco", "networks", "train", "evaluate"},
    "benchmarks": {"runtime", "coco", "networks", "evaluate", "train", "export"},
}
#: The parts of the runtime from the bottom up: each may import those before it.
RUNTIME = (
    {"errors", "validation", "distribution", "progress"},
    {"io"},
    {"model"},
    {"views"},
    {"engines"},
    {"predict"},
    {"doctor"},
    {"cli", "triton_backend"},
)


@dataclass(frozen=True)
class Import:
    """`source` imports `target`, both names of modules without `deepmask.`, in a line of a file."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source} (line {self.line}) imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Return the file of every module of every room, and of `deepmask` itself."""
    found = {"": ROOT / "deepmask" / "__init__.py"}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> tuple[Import, ...]:
    """Return what every module imports of this project."""
    return tuple(one for name, path in modules().items() for one in imports_of(name, path))


def imports_of(name: str, path: Path) -> Iterator[Import]:
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        for written in written_names(node, name, path):
            target = nearest(written)
            if target is not None and target != name:
                yield Import(name, target, node.lineno)


def running(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom | ast.Call]:
    """Yield imports and calls, but for those under `if TYPE_CHECKING`."""
    match tree:
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            below: list[ast.AST] = [*tree.orelse]
        case _:
            below = [*ast.iter_child_nodes(tree)]
    if isinstance(tree, ast.Import | ast.ImportFrom | ast.Call):
        yield tree
    for child in below:
        yield from running(child)


def written_names(
    node: ast.Import | ast.ImportFrom | ast.Call, name: str, path: Path
) -> Iterator[str]:
    """Yield the full names of what a statement, or a call of `import_module`, imports."""
    match node:
        case ast.Import(names=names):
            yield from (one.name for one in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            if level:
                package = ["deepmask", *name.split(".")]
                package = package[: len(package) - level + (path.name == "__init__.py")]
                module = ".".join([*package, *([module] if module else [])])
            yield from (f"{module}.{one.name}" for one in names)
        case ast.Call(func=function, args=[ast.Constant(str(module)), *_]):
            called = function.attr if isinstance(function, ast.Attribute) else ""
            called = function.id if isinstance(function, ast.Name) else called
            if called in ("import_module", "__import__"):
                yield module


def nearest(written: str) -> str | None:
    """Return the module that a name such as `deepmask.runtime.io.rle.encode` is in.

    None for other projects, and for the version: whoever imports a room has loaded that already.
    """
    if written == "deepmask.__version__":
        return None
    parts = written.split(".")
    if parts[0] == "deepmask":
        parts = parts[1:]
    elif parts[0] != "benchmarks":
        return None
    while parts and ".".join(parts) not in modules():
        parts.pop()
    return ".".join(parts)


def is_under(module: str, folder: str) -> bool:
    return module == folder or module.startswith(folder + ".")


def test_imports_are_read() -> None:
    """Of every kind, in functions too."""
    found = {(one.source, one.target) for one in imports()}
    assert ("train.checkpoint", "runtime.io.atomic") in found
    assert ("runtime.cli.doctor", "runtime.engines.tensorrt.plan_cache") in found  # in a function
    assert ("", "runtime.predict.deepmask") in found
    assert ("benchmarks.conftest", "benchmarks.models") in found
    text = "from . import b\nfrom .c import d\nif TYPE_CHECKING:\n    import deepmask.runtime\n"
    text += "else:\n    import deepmask.coco\nimport_module('deepmask.train.run')\nimport numpy\n"
    name, written = "networks.dense.a", list[str]()
    for node in running(ast.parse(text)):
        written += written_names(node, name, Path("networks/dense/a.py"))
    assert written == [
        *("deepmask.networks.dense.b", "deepmask.networks.dense.c.d", "deepmask.coco"),
        *("deepmask.train.run", "numpy"),
    ]
    assert nearest("numpy.linalg") is None
    assert nearest("deepmask.runtime.io.rle.encode") == "runtime.io.rle"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_below(room: str) -> None:
    allowed = {room, *ROOMS[room]}
    wrong = [
        str(one)
        for one in imports()
        if is_under(one.source, room)
        and one.target  # `deepmask` itself: the public names, which the next test has
        and not any(is_under(one.target, other) for other in allowed)
    ]
    assert wrong == []


def test_only_benchmarks_import_the_public_names() -> None:
    """`deepmask/__init__.py` imports the runtime, so in a room that would be a circle."""
    wrong = [
        str(one) for one in imports() if not one.target and not is_under(one.source, "benchmarks")
    ]
    assert wrong == []


def test_the_parts_of_the_runtime_import_only_those_below() -> None:
    floors = {part: floor for floor, parts in enumerate(RUNTIME) for part in parts}
    present = {name.split(".")[1] for name in modules() if name.startswith("runtime.")}
    assert present == set(floors)
    wrong = []
    for one in imports():
        if one.source.startswith("runtime.") and one.target.startswith("runtime."):
            source, target = one.source.split(".")[1], one.target.split(".")[1]
            # The lowest parts are single files, which may import each other.
            is_below = floors[target] < floors[source] or floors[source] == floors[target] == 0
            if source != target and not is_below:
                wrong.append(str(one))
    assert wrong == []


def test_no_files_import_each_other_in_a_circle() -> None:
    below: dict[str, set[str]] = {name: set() for name in modules()}
    for one in imports():
        below[one.source].add(one.target)
    # Take away what imports nothing that is left, or is not imported by it, until nothing changes.
    while free := {
        name
        for name, targets in below.items()
        if not targets & below.keys() or not any(name in others for others in below.values())
    }:
        for name in free:
            del below[name]
    assert {name: sorted(targets & below.keys()) for name, targets in below.items()} == {}
