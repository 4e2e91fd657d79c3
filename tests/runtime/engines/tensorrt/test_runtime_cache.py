"""Kernels that TensorRT for RTX compiles when a graph first runs: kept, compared, and dropped."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.choose import Choice
from deepmask.runtime.engines.tensorrt import plan_store, runtime_cache
from deepmask.runtime.engines.tensorrt.device import Gpu
from deepmask.runtime.engines.tensorrt.engine import TensorRTEngine
from deepmask.runtime.engines.tensorrt.runtime_cache import KernelFolder
from deepmask.runtime.model.manifest import GRAPHS, load_manifest
from tests.runtime.damage import put_a_folder, truncate
from tests.runtime.fake_gpu import FAKE, FakeDevice
from tests.runtime.fake_tensorrt import (
    FakeEngine,
    FakeRuntimeCache,
    FakeRuntimeConfig,
    fake_library,
    fake_plans,
)

IMAGE = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)


@dataclass
class Machine:
    """A model, a cache folder and a GPU; `load` starts anew, as another process would."""

    folder: Path
    cache: Path
    flavour: str = "tensorrt-rtx"
    gpu: Gpu = FAKE
    max_side: int = 320
    device: FakeDevice = field(default_factory=FakeDevice)
    lines: list[str] = field(default_factory=list)

    def load(self) -> DeepMask:
        self.device = FakeDevice()
        self.device.gpu = self.gpu
        self.lines = []
        manifest = load_manifest(self.folder)
        plans = fake_plans(manifest, self.folder, self.max_side)
        kept = KernelFolder(self.cache, self.lines.append)
        library = fake_library(self.device, self.flavour)
        engine = TensorRTEngine(manifest, plans, library, self.device, kept)
        return DeepMask(manifest, engine, Choice(self.flavour, "cuda"))

    def run(self) -> int:
        """One image in a new process: how many times something was compiled."""
        with self.load() as model:
            model(IMAGE)
        return self.device.calls["compile"]

    def files(self) -> list[Path]:
        return sorted(self.cache.glob("*.kernels"))


@pytest.fixture
def machine(model_folder: Path, tmp_path: Path) -> Machine:
    return Machine(model_folder, tmp_path / "cache")


def test_the_second_start_compiles_nothing(machine: Machine, model: DeepMask) -> None:
    assert machine.run() >= 3
    assert machine.lines == [
        f"kernels of engine {name}: compiling, there are none yet" for name in GRAPHS
    ]
    assert len(machine.files()) == 3
    before = [path.read_bytes() for path in machine.files()]
    with machine.load() as again:
        assert_array_equal(again(IMAGE).logits, model(IMAGE).logits)
    assert machine.device.calls["compile"] == 0
    assert machine.lines == []
    assert [path.read_bytes() for path in machine.files()] == before


def test_tensorrt_itself_compiles_when_it_builds(machine: Machine) -> None:
    machine.flavour = "tensorrt"
    assert machine.run() == 0
    assert machine.files() == []


def test_they_are_kept_as_soon_as_a_graph_has_run(machine: Machine) -> None:
    """Not only at the end, which a process that is killed does not come to."""
    model = machine.load()
    model(IMAGE)
    assert len(machine.files()) == 3
    compiled = machine.device.calls["compile"]
    again = replace(machine)
    assert again.run() == 0 < compiled
    model.close()


def test_what_is_compiled_later_is_kept_at_the_end(machine: Machine) -> None:
    """TensorRT compiles for the shapes that come in the background, while simpler kernels run."""
    for end in (DeepMask.close, collected):
        model = machine.load()
        model(IMAGE)
        graph = model.engine._graphs["trunk"]  # type: ignore[attr-defined]
        count = len(graph._kernels._cache.compiled)
        graph._kernels._cache.compiled.add(90 + count)
        del graph
        end(model)
        del model
        gc.collect()
        with machine.load() as again:
            graph = again.engine._graphs["trunk"]  # type: ignore[attr-defined]
            assert 90 + count in graph._kernels._cache.compiled
            del graph


def collected(model: DeepMask) -> None:
    """Nobody closed it."""


def test_nothing_is_written_that_is_there(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for an image like those before it."""
    written: list[Path] = []
    write = runtime_cache.write_whole

    def noted(path: Path, content: bytes) -> None:
        written.append(path)
        write(path, content)

    monkeypatch.setattr(runtime_cache, "write_whole", noted)
    with machine.load() as model:
        model(IMAGE)
        count = len(written)
        model(IMAGE)
        assert len(written) == count >= 3
    assert len(written) == count
    machine.run()
    assert len(written) == count


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def put_foreign(path: Path) -> None:
    path.write_bytes(b"x" * 5000)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate, "{} was changed or cut short"),
        (change, "{} was changed or cut short"),
        (empty, "{} was changed or cut short"),
        (put_foreign, "{} was changed or cut short"),
        (put_a_folder, "{} cannot be read (Is a directory)"),
    ],
)
def test_a_broken_file_is_told_and_made_again(
    machine: Machine, damage: Callable[[Path], None], told: str
) -> None:
    machine.run()
    path = next(path for path in machine.files() if of_trunk(machine, path))
    content = path.read_bytes()
    damage(path)
    assert machine.run() > 0
    assert machine.lines[0] == f"kernels of engine trunk: compiling again, {told.format(path)}"
    if path.is_dir():
        assert machine.lines[1].startswith(f"Warning: {path} cannot be written (Is a directory): ")
        assert machine.lines[1].endswith("--cache")
        assert len(machine.lines) == 2  # once, however often it is tried
    else:
        assert path.read_bytes() == content
        assert machine.run() == 0


def of_trunk(machine: Machine, path: Path) -> bool:
    return path.name.startswith(load_manifest(machine.folder).graphs["trunk"].sha256[:16])


def test_kernels_of_another_plan_are_told_and_made_again(machine: Machine) -> None:
    """Built for larger images, say: it has the same name."""
    machine.run()
    names = machine.files()
    machine.max_side = 640
    assert machine.run() > 0
    assert all(line.endswith(".kernels is of another plan") for line in machine.lines)
    assert len(machine.lines) == 3
    assert machine.files() == names
    assert machine.run() == 0


def test_what_tensorrt_does_not_take_is_told_and_made_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compares more than we can see."""
    machine.run()
    monkeypatch.setattr(FakeRuntimeCache, "ENVIRONMENT", "another one")
    assert machine.run() > 0
    told = "kernels of engine trunk: compiling again, TensorRT does not take those in "
    assert machine.lines[0].startswith(told)
    assert machine.run() == 0


@pytest.mark.parametrize(
    "other", [{"name": "NVIDIA L4"}, {"driver": "13.0"}, {"compute_capability": (12, 0)}]
)
def test_each_gpu_and_driver_has_its_own(machine: Machine, other: dict[str, Any]) -> None:
    """Of those that share a folder, and plans, none writes over another's."""
    machine.run()
    there = replace(machine, gpu=replace(FAKE, **other))
    assert there.run() > 0
    assert there.lines[0] == "kernels of engine trunk: compiling, there are none yet"
    assert machine.run() == there.run() == 0
    assert len(machine.files()) == 6


@pytest.mark.parametrize(
    ("kind", "method", "answer"),
    [
        (FakeEngine, "create_runtime_config", None),
        (FakeRuntimeConfig, "create_runtime_cache", None),
        (FakeRuntimeConfig, "set_runtime_cache", False),
    ],
)
def test_without_a_runtime_cache_it_runs_and_says_so(
    machine: Machine,
    model: DeepMask,
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    method: str,
    answer: object,
) -> None:
    monkeypatch.setattr(kind, method, lambda *_: answer)
    with machine.load() as loaded:
        assert_array_equal(loaded(IMAGE).logits, model(IMAGE).logits)
    assert machine.lines[0] == (
        "Warning: kernels of engine trunk are compiled again each time: it gave no reason"
    )
    assert machine.files() == []


def test_a_cache_that_cannot_be_written_is_told(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    machine.cache = tmp_path / "file" / "cache"
    assert machine.run() > 0
    assert len(machine.lines) == 6  # of each graph: neither read nor written
    assert sum("cannot be written (Not a directory)" in line for line in machine.lines) == 3


def test_they_are_counted_and_cleared_with_the_engines(machine: Machine) -> None:
    machine.run()
    assert plan_store.files(machine.cache) == machine.files()
    plan_store.clear(machine.cache)
    assert machine.files() == []


def test_the_engine_that_is_opened_keeps_them(machine: Machine) -> None:
    """As `DeepMask.load` opens it, where its engines are kept; and at the interpreter's end."""
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from deepmask import DeepMask\n"
        "from deepmask.runtime.engines.tensorrt import cuda, flavours, plan_cache\n"
        "from tests.runtime.fake_gpu import FakeDevice\n"
        "from tests.runtime.fake_tensorrt import fake_library, fake_plans\n"
        "device = FakeDevice()\n"
        "cuda.open_device = lambda: device\n"
        "flavours.load_library = lambda flavour: fake_library(device, flavour)\n"
        "plan_cache.engine_plans = lambda model, folder, *_, **__: fake_plans(model, folder)\n"
        "model = DeepMask.load(Path(sys.argv[1]), engine='tensorrt-rtx', cache=Path(sys.argv[2]))\n"
        "model(np.full((40, 40, 3), 127, np.uint8))\n"
        "model.engine._graphs['trunk']._kernels._cache.compiled.add(77)\n"
        "print(device.calls['compile'])"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code, machine.folder, machine.cache],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[4],
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(int(done.stdout))
    assert said[0] >= 3
    assert said[1] == 0
    assert any(b"77" in path.read_bytes()[64:] for path in machine.files())
