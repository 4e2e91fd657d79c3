"""Kernels that TensorRT for RTX compiles when a stage first runs: kept, compared, and dropped."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.tensorrt import plan_cache, runtime_cache
from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.plan_cache import write_whole
from deepmask.runtime.model.folder import load_manifest
from tests.runtime.fake_gpu import FAKE, FakeDevice
from tests.runtime.fake_tensorrt import (
    FakeEngine,
    FakeRuntimeCache,
    FakeRuntimeConfig,
    load,
    picture,
)

Patch = pytest.MonkeyPatch

IMAGE = picture(0)
STAGES = ("trunk", "score", "mask")
NONE_YET = [f"kernels of {name}: compiling, there are none yet" for name in STAGES]


@dataclass
class Machine:
    """A model, a cache folder and a GPU; `load` starts anew, as another process would."""

    folder: Path
    cache: Path
    flavour: str = "tensorrt-rtx"
    gpu: Gpu = FAKE
    device: FakeDevice = field(default_factory=FakeDevice)
    lines: list[str] = field(default_factory=list)

    def load(self) -> DeepMask:
        self.device, self.lines = FakeDevice(), []
        self.device.gpu = self.gpu
        kept = (self.cache, self.lines.append)
        return load(self.folder, self.device, self.flavour, 320, *kept)

    def run(self) -> int:
        """One image in a new process: how many times something was compiled."""
        with self.load() as model:
            model(IMAGE)
        return self.device.calls["compile"]

    def files(self) -> list[Path]:
        return sorted(self.cache.glob("*.kernels"))

    def of_trunk(self) -> Path:
        graph = load_manifest(self.folder).stage("trunk").sha256
        return next(path for path in self.files() if path.name.startswith(graph[:16]))


@pytest.fixture
def machine(model_folder: Path, tmp_path: Path) -> Machine:
    return Machine(model_folder, tmp_path / "cache")


def test_the_second_start_compiles_nothing(machine: Machine, model: DeepMask) -> None:
    assert machine.run() >= 3
    assert machine.lines == NONE_YET
    before = {path: path.read_bytes() for path in machine.files()}
    assert len(before) == 3
    with machine.load() as again:
        assert again(IMAGE).to_coco(1) == model(IMAGE).to_coco(1)
    assert machine.device.calls["compile"] == 0
    assert machine.lines == []
    assert {path: path.read_bytes() for path in machine.files()} == before
    assert plan_cache.files(machine.cache) == machine.files()
    plan_cache.clear(machine.cache)
    assert machine.files() == []
    assert replace(machine, flavour="tensorrt").run() == 0  # which compiles when it builds
    assert machine.files() == []


def test_they_are_kept_as_soon_as_a_stage_has_run(machine: Machine) -> None:
    """Not only at the end, which a process that is killed does not come to."""
    model = machine.load()
    model(IMAGE)
    assert len(machine.files()) == 3
    assert replace(machine).run() == 0 < machine.device.calls["compile"]
    model.close()


def compiled(model: DeepMask) -> set[int]:
    found: set[int] = model.engine._plans["trunk"]._cache._cache.compiled  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("closes", [True, False])
def test_what_is_compiled_later_is_kept_at_the_end(machine: Machine, closes: bool) -> None:
    """TensorRT compiles for the shapes that come in the background, while simpler kernels run."""
    model = machine.load()
    model(IMAGE)
    compiled(model).add(90)
    if closes:
        model.close()
    del model
    gc.collect()
    with machine.load() as again:
        assert 90 in compiled(again)


def test_nothing_is_written_twice(machine: Machine, monkeypatch: Patch) -> None:
    written: list[Path] = []

    def noted(path: Path, content: bytes) -> None:
        written.append(path)
        write_whole(path, content)

    monkeypatch.setattr(runtime_cache, "write_whole", noted)
    with machine.load() as model:
        model(IMAGE)
        count = len(written)
        model(IMAGE)
        assert len(written) == count >= 3
    machine.run()
    assert len(written) == count


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 5000),
        put_a_folder,
    ],
)
def test_broken_files_are_made_again(machine: Machine, damage: Callable[[Path], object]) -> None:
    machine.run()
    path = machine.of_trunk()
    content = path.read_bytes()
    damage(path)
    assert machine.run() > 0
    if path.is_dir():
        told = f"kernels of trunk: compiling, {path} cannot be read (Is a directory)"
        warning = f"Warning: {path} cannot be written (Is a directory): "
        assert machine.lines[0] == told
        assert machine.lines[1].startswith(warning)
        assert machine.lines[1].endswith("--cache")
        assert len(machine.lines) == 2  # once, however often it is tried
    else:
        assert machine.lines == [f"kernels of trunk: compiling, {path} was changed or cut short"]
        assert path.read_bytes() == content
        assert machine.run() == 0


def test_what_tensorrt_does_not_take_is_made_again(machine: Machine, monkeypatch: Patch) -> None:
    """It compares more than we can see."""
    machine.run()
    monkeypatch.setattr(FakeRuntimeCache, "ENVIRONMENT", "another one")
    assert machine.run() > 0
    assert machine.lines[0].startswith("kernels of trunk: compiling, TensorRT does not take those")
    assert machine.run() == 0


@pytest.mark.parametrize(
    "other", [{"name": "NVIDIA L4"}, {"driver": "13.0"}, {"compute_capability": "12.0"}]
)
def test_each_gpu_and_driver_has_its_own(machine: Machine, other: dict[str, Any]) -> None:
    """Of those that share a folder, and plans, none writes over another's."""
    machine.run()
    there = replace(machine, gpu=replace(FAKE, **other))
    assert there.run() > 0
    assert there.lines == NONE_YET
    assert machine.run() == there.run() == 0
    assert len(machine.files()) == 6


@pytest.mark.parametrize("method", ["create_runtime_cache", "set_runtime_cache", ""])
def test_without_a_runtime_cache_it_runs_and_says_so(
    machine: Machine, model: DeepMask, monkeypatch: Patch, method: str
) -> None:
    kind = FakeRuntimeConfig if method else FakeEngine
    answer = False if method == "set_runtime_cache" else None
    monkeypatch.setattr(kind, method or "create_runtime_config", lambda *_: answer)
    with machine.load() as loaded:
        assert len(loaded(IMAGE))
    assert machine.lines[0] == "Warning: kernels of trunk are compiled again each time"
    assert machine.files() == []
