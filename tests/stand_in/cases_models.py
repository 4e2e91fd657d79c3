"""Whole models through the real pycuda: what they find, ask of the driver, and leave behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.doctor.self_test import Way, self_test
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.pool import PATIENCE
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.model.shipped import shipped_model
from tests.runtime.fake_tensorrt import Picture, picture, real_plans
from tests.runtime.square_model import write_square_model
from tests.stand_in.conftest import Load
from tests.stand_in.driver import ILLEGAL_ADDRESS, INVALID_VALUE, OUT_OF_MEMORY, StandIn

#: The shipped model on small views: it enlarges every picture.
SIDE = 256
#: Waits of the host and runs of plans for one picture of the shipped model.
MOST_WAITS, MOST_RUNS = 2, 10


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_model(tmp_path_factory.mktemp("models") / "squares")


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_square_model(tmp_path_factory.mktemp("models") / "refined", refined=True)


@pytest.fixture
def model(squares: Path, load: Load) -> Iterator[DeepMask]:
    with load(squares) as model:
        yield model


def on_cpu(folder: Path, coarse: bool = False) -> DeepMask:
    return DeepMask.load(folder, engine="onnxruntime", device="cpu", threads=1, coarse=coarse)


def assert_same(one: DeepMask, other: DeepMask, image: Picture, side: int | None = None) -> None:
    """Windows, masks and ranks are equal to the bit."""
    found = one.windows(image, proposals=60, max_side=side)
    expected = other.windows(image, proposals=60, max_side=side)
    for name in ("view", "grid", "row", "col", "logit"):
        assert_array_equal(getattr(found.selection, name), getattr(expected.selection, name))
    assert_array_equal(found.boxes, expected.boxes)
    assert_array_equal(found.logits, expected.logits)


def test_the_shipped_model_finds_what_it_finds_on_the_cpu(load: Load) -> None:
    """Of the same graphs; its int64 table stays on the device."""
    folder = shipped_model()
    with load(folder, max_side=SIDE) as model, on_cpu(folder) as other:
        for seed, size in enumerate([(60, 80), (1, 1), (33, 120)]):
            assert_same(model, other, picture(seed, *size), SIDE)


def test_a_picture_costs_few_waits_and_runs(load: Load, driver: StandIn) -> None:
    """The shipped model's proposals without names, of the graphs that TensorRT is given."""
    with load(shipped_model(), max_side=SIDE, plans_of=real_plans) as model:
        image = picture(0, 60, 80)
        model(image, max_side=SIDE, labels=False)
        names = ("cuStreamSynchronize", "cuMemAlloc", "cuMemHostAlloc")
        before, runs = [driver.count(name) for name in names], driver.enqueued
        found = model(image, max_side=SIDE, labels=False)
        waits, *allocated = (
            driver.count(name) - old for name, old in zip(names, before, strict=True)
        )
        assert len(found) > 100
        assert 0 < waits <= MOST_WAITS
        assert 0 < driver.enqueued - runs <= MOST_RUNS
        assert allocated == [0, 0]


def test_the_coarse_form_finds_what_it_finds_on_the_cpu(refined: Path, load: Load) -> None:
    with load(refined, form=Manifest.coarse_form) as model, on_cpu(refined, coarse=True) as other:
        for seed, size in enumerate([(90, 120), (1, 1), (40, 33)]):
            assert_same(model, other, picture(seed, *size))


def test_twenty_sizes_in_steady_memory(model: DeepMask, squares: Path, driver: StandIn) -> None:
    with on_cpu(squares) as other:
        for seed in range(20):
            assert_same(model, other, picture(seed, 5 + 37 * seed % 150, 5 + 53 * seed % 170))
    held = []
    for _ in range(3):
        for _ in range(PATIENCE):
            model(picture(0, 50, 60), proposals=20)
        held.append(driver.held[:2])
    assert held[1] == held[2]


def test_four_threads_get_what_one_gets(model: DeepMask, driver: StandIn) -> None:
    images = [picture(seed, 60 + 10 * seed, 80) for seed in range(4)]
    expected = [model(image, proposals=40).to_coco(1) for image in images]
    start = threading.Barrier(4)

    def run(index: int) -> list[object]:
        start.wait()
        order = images[index:] + images[:index]
        return [model(image, proposals=40).to_coco(1) for image in order]

    streams = driver.held[2]
    with ThreadPoolExecutor(4) as pool:
        for index, found in enumerate(pool.map(run, range(4))):
            assert found == expected[index:] + expected[:index]
    gc.collect()
    assert driver.held[2] == streams


def test_the_self_test_passes(squares: Path, load: Load) -> None:
    """And tells of the GPU's memory."""
    way = Way("tensorrt", lambda: load(squares, max_side=1024, plans_of=real_plans))
    [result] = self_test(lambda: on_cpu(squares), [way], times=1)
    assert result.failed == []
    assert result.found > 0.9
    assert len(result.gpu_free) == 2


def test_every_call_pushes_and_pops(model: DeepMask, driver: StandIn) -> None:
    pushed, popped = driver.count("cuCtxPushCurrent"), driver.count("cuCtxPopCurrent")
    model(picture(0))
    assert driver.count("cuCtxPushCurrent") - pushed == driver.count("cuCtxPopCurrent") - popped
    assert driver.count("cuCtxPushCurrent") > pushed


def failure(model: DeepMask, image: Picture) -> str:
    """The one line an image fails with; "" if it does not. What its frames held is gone."""
    text = ""
    try:
        model(image, proposals=20)
    except EngineError as error:
        text = str(error)
        error.__traceback__ = None
    assert "\n" not in text
    return text


def test_a_call_that_fails_harms_no_other_image(
    squares: Path, load: Load, driver: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each call of the driver in turn, from the first image of a thread on."""
    image = picture(0, 20, 30)
    with on_cpu(squares) as other:
        expected = other(image, proposals=20).to_coco(1)
    call = told = 0
    while True:
        call += 1
        with load(squares) as model:
            before = driver.calls
            with driver.failing(call, (OUT_OF_MEMORY, INVALID_VALUE)[call % 2]):
                text = failure(model, image)
            told += text != ""
            if driver.calls - before < call:
                break  # the image needs no more calls than this
            assert model(image, proposals=20).to_coco(1) == expected, f"call {call}: {text}"
    capfd.readouterr()  # pycuda tells of what could not be given back
    assert call > 50
    assert told > call / 3


def test_no_room_is_one_line_and_passes(model: DeepMask, driver: StandIn) -> None:
    expected = model(picture(0, 40, 40)).to_coco(1)
    with driver.capacity(driver.held[0] + (1 << 20)):
        text = failure(model, picture(1, 300, 300))
        assert text.startswith("out of GPU memory: ")
        assert "are free on Stand-in GPU; use a smaller --max-side" in text
        assert model(picture(0, 40, 40)).to_coco(1) == expected
    assert failure(model, picture(1, 300, 300)) == ""


def test_a_context_that_died_is_one_line(
    squares: Path, load: Load, driver: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    """After an illegal access every call fails: images and `close` say so, and nothing more."""
    image = picture(0, 40, 50)
    model = load(squares)
    model(image)
    with driver.failing(40, ILLEGAL_ADDRESS):
        assert failure(model, image).startswith("CUDA failed: ")
        assert failure(model, image).startswith("CUDA failed: ")
        with pytest.raises(EngineError, match="CUDA failed: "):
            model.close()
        del model
        gc.collect()
    capfd.readouterr()
