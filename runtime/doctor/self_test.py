"""Try a model on every engine that is there, and compare each with ONNX Runtime on the CPU.

The figures, and what failed, fit one screen and one JSON file that a user can send.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepmask.runtime.errors import one_line
from deepmask.runtime.predict.deepmask import DeepMask
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.select import select_best
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.views.views import plan_views

Picture = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]

#: Windows whose masks are compared, and proposals that are to be found again.
WINDOWS, WANTED, SEARCHED = 32, 50, 75
#: Two masks, or boxes, are the same from this IoU on, and a model from this share of them.
SAME, ENOUGH, ROUGHLY_ENOUGH = 0.9, 0.9, 0.7
#: Largest difference of a stage's output, in standard deviations of what is expected: int8's.
TOLERANCE, ROUGH_TOLERANCE = 0.2, 2.0
#: How often a picture is timed, and in how many sizes the model is tried: on a GPU, and on a CPU,
#: where each picture takes a fifth of a second or more, and no plan depends on its size.
TIMES, FEW_TIMES = 20, 5
FEW_SIZES = 6
#: Heights and widths, from one pixel to a strip.
SIZES = [(1, 1), (1, 300), (300, 1), *[(20 + 31 * k % 290, 20 + 53 * k % 310) for k in range(17)]]

_EXIT = """
import sys, numpy
from deepmask.runtime.predict.deepmask import DeepMask
folder, engine, device, cache, *exact = sys.argv[1:]
chosen = dict.fromkeys(exact, False)
model = DeepMask.load(folder, engine=engine, device=device, cache=cache or None, **chosen)
model(numpy.full((64, 64, 3), 127, numpy.uint8), proposals=1)
"""


@dataclass(frozen=True)
class Way:
    """A way to run the model: its name, what loads it, and arguments of a process that does.

    rough  whether it rounds to bfloat16: fewer masks must be found again, outputs may differ more.
    """

    name: str
    load: Callable[[], DeepMask]
    process: Sequence[str] = ()
    rough: bool = False


@dataclass
class Result:
    """What became of a way; `failed` has one line for everything that is not as it should be.

    stages    root mean square of each output's difference, in standard deviations of the CPU's.
    found     share of the CPU's best masks that are among its own best.
    seconds   median time of each stage of a picture of 480 × 640, and of the whole.
    memory    bytes of this process before loading, after it, and at the end.
    gpu_free  bytes that are free on the GPU, after loading and at the end; none without one.
    """

    name: str
    engine: str = ""
    load_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    found: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    memory: list[int] = field(default_factory=list)
    gpu_free: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def drawn(seed: int, height: int = 480, width: int = 640) -> Picture:
    """Draw ellipses on a soft ground, the same for a seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 196, (6, 8, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (1 + int(rng.integers(1 + width // 5)), 1 + int(rng.integers(1 + height // 5)))
        colour = rng.integers(0, 256, 3).tolist()
        cv2.ellipse(picture, centre, axes, float(rng.integers(180)), 0, 360, colour, -1)
    return picture.astype(np.uint8)


def self_test(
    reference: Callable[[], DeepMask],
    ways: Iterable[Way],
    photographs: Sequence[Picture] = (),
    tell: Callable[[str], None] = lambda line: None,
    times: int | None = None,
) -> list[Result]:
    """Try each way; `reference` loads the model on the CPU, `tell` is given lines of progress.

    times  how often a picture is timed; by default `TIMES`, on a CPU `FEW_TIMES`.
    """
    pictures = [*(drawn(seed, 240 + 60 * seed, 320) for seed in range(5)), *photographs]
    with reference() as model:
        expected = [(_outputs(model, one), model(one, proposals=WANTED)) for one in pictures]
    results = []
    for way in ways:
        tell(f"trying {way.name}")
        result = Result(way.name)
        results.append(result)
        try:
            _try(way, result, pictures, expected, times)
        except Exception as error:  # whatever a library raises is what this is to find
            result.failed.append(one_line(error))
    return results


def as_record(results: Sequence[Result], machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return all figures for a JSON file."""
    return {"format": "deepmask-self-test/1", **machine, "ways": [asdict(one) for one in results]}


def as_lines(results: Sequence[Result]) -> list[str]:
    """Return the figures for a person: two lines a way, and what failed."""
    lines = []
    for one in results:
        worst = max(one.stages, key=lambda name: one.stages[name], default="")
        total = one.seconds.get("all", 0.0)
        lines.append(f"{one.name:<24}{'FAILED' if one.failed else 'right':<8}{one.engine}")
        if one.stages:
            lines.append(
                f"  proposals found again {one.found:.0%}, largest deviation "
                f"{one.stages[worst]:.1e} ({worst}); {1e3 * total:.0f} ms a picture, "
                f"loaded in {one.load_seconds:.1f} s"
            )
        lines += [f"  {text}" for text in one.failed]
    return lines


def _try(
    way: Way,
    result: Result,
    pictures: Sequence[Picture],
    expected: Sequence[Any],
    times: int | None,
) -> None:
    result.memory.append(_memory())
    start = time.perf_counter()
    with way.load() as model:
        result.load_seconds = time.perf_counter() - start
        result.engine = model.engine.description
        result.memory.append(_memory())
        _note_gpu(model, result)
        _compare(model, result, pictures, expected, way.rough)
        _try_threads(model, result)
        on_gpu = model.choice.device != "cpu"
        for seed, size in enumerate(SIZES if on_gpu else SIZES[:FEW_SIZES]):
            found = model(drawn(seed, *size), proposals=20)
            if found.image_size != size or not np.isfinite(found.scores).all():
                result.failed.append(f"a picture of {size[0]} × {size[1]} fails")
        _time(model, result, times or (TIMES if on_gpu else FEW_TIMES))
        gc.collect()
        _note_gpu(model, result)
    gc.collect()
    result.memory.append(_memory())
    if way.process:
        _try_exit(way, result)


def _compare(
    model: DeepMask,
    result: Result,
    pictures: Sequence[Picture],
    expected: Sequence[Any],
    rough: bool,
) -> None:
    hits: list[bool] = []
    for picture, (outputs, proposals) in zip(pictures, expected, strict=True):
        for name, array in _outputs(model, picture, outputs["windows"]).items():
            if name != "windows":
                worst = max(result.stages.get(name, 0.0), _deviation(array, outputs.get(name)))
                result.stages[name] = worst
        same = proposals.ious(model(picture, proposals=SEARCHED)) >= SAME
        hits += same[proposals.areas > 0].any(axis=1).tolist()
    result.found = float(np.mean(hits)) if hits else 1.0
    if result.found < (ROUGHLY_ENOUGH if rough else ENOUGH):
        result.failed.append(f"{result.found:.0%} of the CPU's proposals are found again")
    most = ROUGH_TOLERANCE if rough else TOLERANCE
    far = {name: value for name, value in result.stages.items() if not value <= most}
    result.failed += [f"{name} deviates by {value:.2g}" for name, value in far.items()]


def _outputs(model: DeepMask, picture: Picture, windows: Any = None) -> dict[str, Any]:
    """Return what the stages make of a picture, by name, and the windows whose masks are there."""
    network, timer = Network(model.manifest, model.engine), StageTimer(model.engine)
    height, width = picture.shape[:2]
    factors = model.manifest.views.scales.factors()
    views = plan_views(height, width, factors, model.manifest.views)
    view = views[len(views) // 2]
    tensors = network.run_view(network.picture(picture, timer), view, timer)
    maps = network.score_maps([tensors], [view])
    windows = windows or select_best(maps, WINDOWS)
    masks, ranks = network.masks(windows, [tensors], timer)
    found: dict[str, Any] = {name: model.engine.fetch(one) for name, one in tensors.items()}
    found |= {"windows": windows}
    if model.manifest.has_masks:
        found["mask"] = np.asarray(masks, np.float32)
    if model.manifest.box_stages:
        quarter = np.array([0, 0, width / 2, height / 2])
        boxes = np.stack([2 * quarter, quarter, quarter + quarter[[2, 3, 0, 1]] / 2])
        found["class"] = model.classify(picture, boxes).scores
    return found if ranks is None else {**found, "rank": ranks}


def _deviation(found: Array, expected: Array | None) -> float:
    if expected is None or found.shape != expected.shape:
        return float("inf")
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    scale = max(float(np.std(expected)), 1e-6)
    return float(np.sqrt(np.mean(np.square(found.astype(np.float64) - expected))) / scale)


def _try_threads(model: DeepMask, result: Result) -> None:
    picture = drawn(0, 200, 260)
    alone = model(picture, proposals=30).to_coco(1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model(picture, proposals=30).to_coco(1), range(4)))
    if found != [alone] * 4:
        result.failed.append("four threads at once find other masks than one")


def _time(model: DeepMask, result: Result, times: int) -> None:
    picture = drawn(1)
    model(picture)
    taken: list[dict[str, float]] = []
    for _ in range(times):
        start = time.perf_counter()
        seconds = dict(model(picture).seconds)
        taken.append({**seconds, "all": time.perf_counter() - start})
    result.seconds = {name: statistics.median(one[name] for one in taken) for name in taken[0]}


def _try_exit(way: Way, result: Result) -> None:
    """Let another process load the model, run it, and end without closing it."""
    done = subprocess.run(
        [sys.executable, "-c", _EXIT, *way.process],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode or done.stderr.strip():
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        result.failed.append(f"a process ends with code {done.returncode}, and says: {said[:200]}")


def _note_gpu(model: DeepMask, result: Result) -> None:
    if model.choice.device.startswith("cuda") and model.choice.engine.startswith("tensorrt"):
        from deepmask.runtime.engines.device import gpu_index
        from deepmask.runtime.engines.tensorrt.cuda import open_device

        device = open_device(gpu_index(model.choice.device))
        with device.active():
            result.gpu_free.append(device.free())


def _memory() -> int:
    """Return the bytes that this process holds, as Linux tells it; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096
    except OSError:
        return 0
