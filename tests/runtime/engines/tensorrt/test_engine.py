"""The TensorRT engine on a GPU that is not there: results, copies, waits, memory, threads, faults.

The fakes hold real bytes and do queued work only when it is waited for; see `fake_gpu`.
"""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.tensorrt.loaded_plan import LoadedPlan
from deepmask.runtime.engines.tensorrt.pool import PATIENCE, rounded
from deepmask.runtime.engines.tensorrt.profile import WINDOWS
from deepmask.runtime.engines.tensorrt.thread_context import ThreadContext
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.select import Selection
from deepmask.runtime.views.grids import map_shape
from deepmask.runtime.views.views import canvas_shape, plan_views
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import FakeContext, FakeEngine, Picture, load, picture
from tests.runtime.square_model import MASK_SIZE, write_square_model

Patch = pytest.MonkeyPatch


def assert_same(first: DeepMask, second: DeepMask, image: Picture, count: int = 300) -> None:
    one, other = first(image, proposals=count), second(image, proposals=count)
    assert one.scores.tolist() == other.scores.tolist()
    assert one.rles() == other.rles()


def test_results_are_those_of_onnxruntime(fake: DeepMask, model: DeepMask) -> None:
    """Image after image, of several sizes, through the same memory."""
    for seed, size in enumerate([(90, 120), (40, 33), (90, 120), (150, 70), (1, 1)]):
        assert_same(fake, model, picture(seed, *size))


@pytest.mark.parametrize("own", [None, 0])
def test_memory_is_enough_where_its_size_is_not_told(
    fake: DeepMask, device: FakeDevice, model: DeepMask, monkeypatch: Patch, own: int | None
) -> None:
    """TensorRT answers 0 where it fails: what the profile needs at most is taken. Where that is
    nothing too, some memory is lent all the same: a context without any would not run."""
    lent: list[tuple[int, int, int]] = []
    ask, lend = FakeContext.update_device_memory_size_for_shapes, FakeContext.set_device_memory

    def failing(context: FakeContext) -> int:
        ask(context)
        context.laid_out = own
        if own is None:
            context.laid_out = context.engine.get_device_memory_size_for_profile_v2(context.profile)
        return 0

    def noted(context: FakeContext, address: int, size: int) -> None:
        lend(context, address, size)
        assert size > 0
        assert context.laid_out is not None
        lent.append((context.laid_out, size, len(device.memory[address])))

    monkeypatch.setattr(FakeContext, "update_device_memory_size_for_shapes", failing)
    monkeypatch.setattr(FakeContext, "set_device_memory", noted)
    if own == 0:
        monkeypatch.setattr(FakeEngine, "get_device_memory_size_for_profile_v2", lambda *_: 0)
    assert_same(fake, model, picture(0), 30)
    assert lent
    assert all(asked <= size <= there for asked, size, there in lent)


def test_memory_is_taken_for_the_shapes_that_come(fake: DeepMask, monkeypatch: Patch) -> None:
    """Not for the largest of a profile."""
    asked, lent = list[int](), list[int]()
    ask, lend = FakeContext.update_device_memory_size_for_shapes, FakeContext.set_device_memory

    def noted(context: FakeContext) -> int:
        asked.append(ask(context))
        return asked[-1]

    def noted_too(context: FakeContext, address: int, size: int) -> None:
        lend(context, address, size)
        lent.append(size)

    monkeypatch.setattr(FakeContext, "update_device_memory_size_for_shapes", noted)
    monkeypatch.setattr(FakeContext, "set_device_memory", noted_too)
    fake(picture(0))
    assert lent[-1] == max(lent) == rounded(max(asked))


def test_a_larger_block_may_be_made_of_the_smaller_one(device: FakeDevice) -> None:
    with device.active():
        thread = ThreadContext(device, {})
        thread._scratch_of(1 << 20)
        device.capacity = device.live + (1 << 20)
        assert thread._scratch_of(2 << 20).size == 2 << 20


def test_codes_stay_on_the_device(tmp_path: Path, device: FakeDevice, model: DeepMask) -> None:
    """A mask stage that reads `code`: it is neither fetched nor uploaded."""
    with load(write_square_model(tmp_path / "code", through_code=True), device) as fake:
        assert_same(fake, model, picture(5, 40, 50))
    assert device.sizes["download"] < device.sizes["upload"]


def test_one_image_counted(fake: DeepMask, device: FakeDevice, monkeypatch: Patch) -> None:
    """Copies, bytes, waits and allocations of an image, exactly; none is allocated the next time.

    Each view's canvas and the chosen windows' locations go up, each view's scores and the masks
    come down, and the host waits twice: for all views' scores and for all masks.
    """
    chosen: list[Selection] = []
    original = Network.masks

    def noted(network: Network, selection: Selection, *rest: Any) -> Any:
        chosen.append(selection)
        return original(network, selection, *rest)

    monkeypatch.setattr(Network, "masks", noted)
    image, count = picture(0), 200
    fake(image, proposals=count, overlap=1)  # allocates
    device.reset()
    fake(image, proposals=count, overlap=1)

    manifest = fake.manifest
    views = plan_views(90, 120, manifest.views.scales.factors(), manifest.views)
    used = len(set(chosen[-1].view.tolist()))  # views that windows were chosen from
    assert 1 < used <= len(views) == 7
    assert device.calls == {
        "upload": len(views) + used,
        "run": 2 * len(views) + used,
        "download": len(views) + used,
        "synchronize": 2,
        # Start and end of the picture's coming, and of resizing and two stages in each view; the
        # end of each upload and of both downloads.
        "event": 2 + 6 * len(views) + len(views) + used + 2,
    }
    canvases = sum(4 * np.prod(canvas_shape(view)) for view in views)
    shapes = [map_shape(view, manifest.grids[0], manifest.views.border) for view in views]
    assert device.sizes["upload"] == canvases + count * 2 * 8
    scores = sum(4 * np.prod(shape) for shape in shapes)
    assert device.sizes["download"] == scores + count * MASK_SIZE**2 * 4


def test_many_masks_come_in_few_parts(
    fake: DeepMask, device: FakeDevice, model: DeepMask, monkeypatch: Patch
) -> None:
    """What waits on the device is bounded, and a plan gets no more windows than it takes."""
    assert fake.engine.most_windows == WINDOWS[-1]
    monkeypatch.setattr(fake.engine, "waiting_bytes", 40 * MASK_SIZE**2 * 4)
    monkeypatch.setattr(fake.engine, "most_windows", 30)
    image = picture(1)
    assert_same(fake, model, image, 200)
    device.reset()
    fake(image, proposals=200, overlap=1)
    assert 200 / 40 <= device.calls["synchronize"] - 1 <= 200 / 20


def test_memory_does_not_grow(fake: DeepMask, device: FakeDevice, model_folder: Path) -> None:
    """After pictures of many sizes, a few of one size leave what that size needs, and no more."""
    other = FakeDevice()
    with load(model_folder, other) as fresh:
        fresh(picture(0, 100, 120))
        rng = np.random.default_rng(0)
        for seed in range(12):
            size = int(rng.integers(1, 100)), int(rng.integers(1, 120))
            fake(picture(seed, *size), proposals=50)
        for _ in range(PATIENCE // 2 + 1):
            fake(picture(0, 100, 120))
            fresh(picture(0, 100, 120))
        assert device.live == other.live
        assert device.pinned_bytes == other.pinned_bytes
        assert device.most <= 2 * other.most


def test_all_memory_is_given_back(model_folder: Path, device: FakeDevice) -> None:
    model = load(model_folder, device)
    model(picture(0))
    tensor = model.engine.upload(np.ones((3, 4), np.float32))
    assert device.live > 512
    model.close()
    model.close()
    assert device.live == 512
    del tensor, model
    gc.collect()
    assert device.live == 0
    assert device.pinned_bytes == 0


def test_plans_go_all_the_same(model_folder: Path, device: FakeDevice, monkeypatch: Patch) -> None:
    model = load(model_folder, device)
    plans = model.engine._plans  # type: ignore[attr-defined]
    monkeypatch.setattr(LoadedPlan, "keep_kernels", Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        model.close()
    assert plans == {}


def test_four_threads_get_what_one_gets(fake: DeepMask, device: FakeDevice) -> None:
    images = [picture(seed, 60 + 10 * seed, 80) for seed in range(4)]
    expected = [fake(image, proposals=40).to_coco(1) for image in images]
    alone, streams = device.live, device.calls["stream"]
    start = threading.Barrier(4)

    def run(index: int) -> list[Any]:
        start.wait()
        return [fake(image, proposals=40).to_coco(1) for image in images[index:] + images[:index]]

    with ThreadPoolExecutor(4) as pool:
        for index, results in enumerate(pool.map(run, range(4))):
            assert results == expected[index:] + expected[:index]
    assert device.calls["stream"] == streams + 4
    gc.collect()
    assert device.live == alone
    assert len(fake.engine._threads) == 1  # type: ignore[attr-defined]


def test_stages_are_timed_by_the_device(model_folder: Path, device: FakeDevice) -> None:
    """The fake's clock counts pieces of work: a run for each of seven views."""
    with load(model_folder, device, "tensorrt-rtx") as model:
        assert model.engine.description == "tensorrt-rtx 10.99.0 on Fake GPU"
        seconds = model(picture(0), proposals=10).seconds
    assert (seconds["trunk"], seconds["score"]) == (7, 7)
    assert 0 < seconds["mask"] < 14


def test_each_view_keeps_its_context(fake: DeepMask, monkeypatch: Patch) -> None:
    """One for each plan and profile, made once: no profile is ever switched."""
    switched: list[int] = []
    original = FakeContext.set_optimization_profile_async

    def noted(context: FakeContext, index: int, stream: int) -> bool:
        switched.append(index)
        return original(context, index, stream)

    monkeypatch.setattr(FakeContext, "set_optimization_profile_async", noted)
    fake(picture(0, 480, 640), scales=Scales(-2, -0.5, 0.5))
    assert len(set(switched)) > 2
    assert len(switched) <= 3 * len(set(switched))
    before = len(switched)
    fake(picture(1, 480, 640), scales=Scales(-2, -0.5, 0.5))
    assert len(switched) == before
