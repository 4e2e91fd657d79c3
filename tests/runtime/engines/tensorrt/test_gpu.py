"""TensorRT on a real GPU, compared with ONNX Runtime on the CPU; skipped where there is none."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from deepmask import DeepMask, Proposals
from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.engines.choose import choose
from deepmask.runtime.engines.tensorrt.cuda import open_device
from deepmask.runtime.model.manifest import Manifest
from deepmask.runtime.views.grids import location_counts
from deepmask.runtime.views.views import View, plan_views, render_view

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

pytestmark = pytest.mark.gpu

PRESETS = (
    *("deepmask-vgg-a", "deepmask-full", "deepmask-r18", "w160-p4-d8-vgg", "w160-p4-d39"),
    *("w112-p4-d39", "w112-p3-d21", "w112-p3-d21-f128", "deepmask-ours", "deepmask-ours-head-a"),
    *("deepmask-ours-head-b", "sharpmask", "sharpmask-constant", "sharpmask-r18", "fpn-lite"),
    *("fpn-masks-5x5", "fpn-masks-7x7", "fpn-masks", "fpn-masks-28x28"),
    *("fast-rcnn", "fast-rcnn-lite", "rpn", "rpn-lite", "retinanet", "retinanet-lite"),
    *("faster-rcnn", "faster-rcnn-lite"),
)
#: Accepted root mean square of the difference, in standard deviations of what is expected.
TOLERANCES = {"fp32": 1e-3, "tf32": 2e-2, "fp16": 2e-2, "int8-symmetric": 0.15}


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def flavour(request: pytest.FixtureRequest) -> str:
    """An engine that can run here."""
    try:
        choose(request.param)
    except EngineError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def shipped(flavour: str, cache: Path) -> Iterator[DeepMask]:
    with DeepMask.load(engine=flavour, cache=cache) as model:
        yield model


def picture(seed: int, height: int = 480, width: int = 640) -> Picture:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def deviation(found: Array, expected: Array) -> float:
    """Root mean square of the difference, in standard deviations of `expected`."""
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())


def outputs(engine: Engine, manifest: Manifest, image: Picture) -> dict[str, Array]:
    """Everything that the stages make of one view of an image, and of windows spread over it."""
    height, width = image.shape[:2]
    [view] = plan_views(height, width, (0.5,), manifest.views)
    (name,) = manifest.stages[0].with_role("image")
    made: dict[str, Any] = {name: engine.upload(render_view(image, view, manifest.views))}
    for stage in manifest.view_stages:
        made |= engine.run(stage.name, {key: made[key] for key in stage.inputs})
    found = {key: value for key, value in made.items() if key != name}
    for chain in manifest.chains:
        name = chain.tensor("locations")
        places = engine.upload(spread_windows(view, manifest, chain.grids[0], name))
        given = {**made, name: places}
        for stage in chain.stages:
            given |= engine.run(stage.name, {key: given[key] for key in stage.inputs})
            found |= {f"{stage.name}: {output}": given[output] for output in stage.outputs}
    return {name: engine.fetch(found[name]) for name in sorted(found)}


def spread_windows(view: View, manifest: Manifest, grid: int, name: str) -> npt.NDArray[np.int64]:
    """Forty locations of a grid, with as many columns as the tensor `name` has."""
    rows, cols = location_counts(view, manifest.grids[grid])
    spread = np.linspace(0, rows * cols - 1, 40).astype(np.int64)
    places = np.stack([np.full(40, grid), spread // cols, spread % cols], axis=1)
    stage = next(one for one in manifest.window_stages if name in one.inputs)
    return np.ascontiguousarray(places[:, -int(stage.inputs[name].axes[1]) :], np.int64)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """A preset with random weights as a model folder of some precision."""
    pytest.importorskip("torch", reason="presets are exported with torch")
    import torch

    from deepmask.export.exporter import export_model
    from deepmask.export.options import ExportOptions
    from deepmask.networks.families import build
    from deepmask.networks.presets import PRESETS as NETWORKS
    from deepmask.train.checkpoint import Checkpoint, save_checkpoint

    folder = tmp_path_factory.mktemp("exports")
    (photographs := folder / "photographs").mkdir()
    for seed in range(10):
        cv2.imwrite(str(photographs / f"{seed}.png"), picture(seed, 240, 320))

    def export(preset: str, precision: str) -> Path:
        out = folder / f"{preset}-{precision}"
        if not out.is_dir():
            torch.manual_seed(0)
            network = build(NETWORKS[preset].config)
            checkpoint = folder / f"{preset}.pt"
            save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), checkpoint)
            measured = None if precision == "fp32" else photographs
            options = ExportOptions(precision=precision, photographs=measured)
            export_model(checkpoint, out, options)
        return out

    return export


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(TOLERANCES))
@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_in_every_precision(
    preset: str, precision: str, flavour: str, cache: Path, exported: Callable[[str, str], Path]
) -> None:
    rounded = precision == "tf32"
    folder, image = exported(preset, "fp32" if rounded else precision), picture(99)
    with DeepMask.load(folder, engine="onnxruntime", device="cpu") as model:
        expected = outputs(model.engine, model.manifest, image)
    with DeepMask.load(folder, engine=flavour, cache=cache, tf32=rounded) as model:
        found = outputs(model.engine, model.manifest, image)
    errors = {name: deviation(found[name], expected[name]) for name in expected}
    assert max(errors.values()) < TOLERANCES[precision], errors


def test_views_are_painted_as_by_the_cpu(shipped: DeepMask) -> None:
    views = shipped.manifest.views
    for seed, size in enumerate([(480, 640), (700, 500), (33, 1200), (1500, 1100)]):
        image = picture(seed, *size)
        [view] = plan_views(*size, (1.0,), views)
        engine = shipped.engine
        canvas = engine.fetch(engine.canvas(engine.picture(image), view, views))
        assert np.abs(canvas - render_view(image, view, views)).max() <= 1


def test_proposals_are_those_of_the_cpu(shipped: DeepMask) -> None:
    image = picture(3)
    found = shipped(image, proposals=150)
    with DeepMask.load(engine="onnxruntime", device="cpu") as model:
        expected = model(image, proposals=100)
    assert_found_again(expected, found)


def assert_found_again(expected: Proposals, found: Proposals) -> None:
    """At least 95 of 100 have a mask of IoU 0.95: views differ by a gray level, TF32 rounds."""
    masks = [found.masks(index) for index in range(len(found))]

    def again(mask: npt.NDArray[np.bool_]) -> bool:
        return any((mask & one).sum() >= 0.95 * (mask | one).sum() for one in masks)

    assert sum(again(expected.masks(index)) for index in range(100)) >= 95


def test_a_hundred_sizes_through_the_same_plans(shipped: DeepMask) -> None:
    """From one pixel to the limit and beyond; the second fifty take no more memory."""
    device, rng = open_device(), np.random.default_rng(0)
    shipped(picture(0, 1333, 1333))
    sizes = [(1, 1), (1, 1333), (2000, 30), *np.exp(rng.uniform(0, 7.4, (97, 2))).astype(int) + 1]
    free = []
    for index, (height, width) in enumerate(sizes):
        proposals = shipped(picture(index, int(height), int(width)), proposals=20)
        assert proposals.image_size == (height, width)
        assert np.isfinite(proposals.scores).all()
        with device.active():
            free.append(device.free())
    assert min(free[50:]) >= min(free[:50]) - (64 << 20)


def test_four_threads_get_four_equal_results(shipped: DeepMask) -> None:
    start = time.perf_counter()
    seconds = shipped(picture(0)).seconds  # on the GPU's clock
    assert 0 < seconds["score"] < time.perf_counter() - start
    images = [picture(seed, 300 + 40 * seed, 400) for seed in range(4)]
    expected = [shipped(image, proposals=50).to_coco(1) for image in images]
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            same = list(pool.map(lambda _: shipped(images[0], proposals=50).to_coco(1), range(4)))
            each = list(pool.map(lambda image: shipped(image, proposals=50).to_coco(1), images))
        assert same == [expected[0]] * 4
        assert each == expected
        shipped(picture(1, 200, 900))  # whatever was in the memory in between


def loader(folder: Path, flavour: str, cache: Path, lines: list[str]) -> Callable[[], DeepMask]:
    options: dict[str, Any] = {"engine": flavour, "cache": cache, "report": lines.append}
    return partial(DeepMask.load, folder, max_side=320, **options)


@pytest.mark.parametrize("damage", ["cut short", "foreign", "empty"])
def test_corrupted_caches(damage: str, flavour: str, tmp_path: Path, model_folder: Path) -> None:
    lines: list[str] = []
    load = loader(model_folder, flavour, tmp_path, lines)
    with load() as model:
        expected = model(picture(0, 200, 240), proposals=50).scores
    lines.clear()
    plan = sorted(tmp_path.glob("*.plan"))[0]
    content = plan.read_bytes()
    damaged = {"cut short": content[:-100], "foreign": b"x" * 5000, "empty": b""}[damage]
    plan.write_bytes(damaged)
    with load() as model:
        found = model(picture(0, 200, 240), proposals=50).scores
    assert float(abs(found - expected).max()) < 1e-4  # other kernels may have been faster
    assert any("building again" in line and plan.name in line for line in lines)
    assert plan.read_bytes() != damaged


def test_kernels_are_kept_and_taken(flavour: str, tmp_path: Path, model_folder: Path) -> None:
    """By TensorRT for RTX; a second start compiles none of them again, and finds the same."""
    if flavour != "tensorrt-rtx":
        pytest.skip("TensorRT compiles when it builds")

    lines: list[str] = []
    load = loader(model_folder, flavour, tmp_path, lines)
    found = []
    for compiled in (True, False):
        lines.clear()
        with load() as model:
            found.append(model(picture(0, 200, 240), proposals=50).to_coco(1))
        assert any(": compiling" in line for line in lines) == compiled
        plans, kernels = list(tmp_path.glob("*.plan")), list(tmp_path.glob("*.kernels"))
        assert len(kernels) == len(plans) in (3, 4)  # the graph that resizes has not all GPUs
    assert found[0] == found[1]
    path = sorted(tmp_path.glob("*.kernels"))[0]
    path.write_bytes(path.read_bytes()[:-100])
    with load() as model:
        assert len(model(picture(0, 200, 240), proposals=50)) == 50
    assert any(str(path) in line and "compiling, " in line for line in lines)


def test_out_of_memory_is_one_line(flavour: str, cache: Path) -> None:
    """On a GPU that something else has filled; when it is gone, all is well."""
    device = open_device()
    with DeepMask.load(engine=flavour, cache=cache) as model:
        model(picture(0, 100, 100), proposals=5)
        with device.active():
            filler = device.allocate(device.free() - (100 << 20))
        with pytest.raises(EngineError) as caught:
            model(picture(0, 1333, 1333), proposals=5)
        text = str(caught.value)
        del caught, filler
        assert "\n" not in text
        assert "GPU memory" in text
        assert len(model(picture(0, 1333, 1333), proposals=5)) == 5


def test_onnxruntime_on_cuda_agrees(shipped: DeepMask) -> None:
    try:
        other = DeepMask.load(engine="onnxruntime", device="cuda")
    except EngineError as error:
        pytest.skip(str(error))
    with other:
        image = picture(7)
        assert_found_again(other(image, proposals=100), shipped(image, proposals=150))
        assert_found_again(shipped(image, proposals=100), other(image, proposals=150))


def test_torch_shares_the_context(shipped: DeepMask) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    values = torch.ones(1000, device="cuda")
    first = shipped(picture(0), proposals=20).to_coco(1)
    assert float(values.sum()) == 1000
    assert shipped(picture(0), proposals=20).to_coco(1) == first
    assert float((values * 2).sum()) == 2000


@pytest.mark.parametrize("end", ["", "; model.close()", "; sys.exit(3)", "; 1 / 0"])
def test_the_interpreter_exits_quietly(end: str, flavour: str, cache: Path, shipped: Any) -> None:
    """Closed or not, and after an error: nothing is left for CUDA to complain of."""
    code = (
        "import sys, numpy; from deepmask import DeepMask; "
        f"model = DeepMask.load(engine={flavour!r}, cache={str(cache)!r}); "
        f"model(numpy.zeros((90, 90, 3), 'uint8')){end}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == {"; sys.exit(3)": 3, "; 1 / 0": 1}.get(end, 0)
    assert [line for line in done.stderr.splitlines() if "Warning" in line or "CUDA" in line] == []


def test_commands_take_tensorrt(flavour: str, cache: Path, tmp_path: Path, shipped: Any) -> None:
    if choose().engine != flavour:
        pytest.skip(f"auto takes {choose().engine} here")
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    command = [str(Path(sys.executable).with_name("deepmask-trt-run")), "a.png", "--cache"]
    done = subprocess.run([*command, str(cache)], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "building" in done.stderr) == (0, False)
    assert f"engine  {flavour} " in done.stdout
