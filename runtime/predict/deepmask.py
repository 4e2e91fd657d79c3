"""DeepMask at run time: an image in, ranked masks out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import resources
from math import log
from pathlib import Path
from threading import Lock
from types import TracebackType

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.engines.choose import Building, Choice, choose, open_engine
from deepmask.runtime.engines.threads import cores_available
from deepmask.runtime.model.manifest import Manifest, ModelFolderError, Scales, load_manifest
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.paste import Placement
from deepmask.runtime.predict.proposals import Proposals
from deepmask.runtime.predict.select import Selection, select_best, weigh_scales
from deepmask.runtime.predict.soft_nms import POOL, demote_duplicates
from deepmask.runtime.predict.stage_timer import Clock
from deepmask.runtime.views.geometry import WindowGrid
from deepmask.runtime.views.pyramid import MAX_SIDE, Level, plan_pyramid

SHIPPED_MODEL = "sharpmask-r18"
#: Stages of one image, in the order they happen.
STAGES = ("decode", "pyramid", "trunk", "score", "select", "mask", "encode")

#: Most pixels that the canvases of an image may have together; a photograph of `MAX_SIDE`, zoomed
#: twice, has half of it. A model's description must not decide how much memory is taken.
_MAX_AREA = 128_000_000


class DeepMask:
    """An exported model on an engine. Calls from several threads are allowed.

    A context manager; `close` gives the engine's memory back.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        choice: Choice,
        *,
        threads: int = 1,
        turns: bool = False,
    ) -> None:
        """From parts; `load` is the usual way.

        `threads` encode an image's masks; `turns` keeps to one network at a time.
        """
        self.manifest = manifest
        self.engine = engine
        self.choice = choice
        self._threads = threads
        self._turn: AbstractContextManager[object] = Lock() if turns else nullcontext()

    @staticmethod
    def load(
        folder: str | Path | None = None,
        *,
        engine: str = "auto",
        device: str = "auto",
        threads: int = 0,
        coarse: bool = False,
        max_side: int = MAX_SIDE,
        cache: str | Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> DeepMask:
        """Load an exported model folder, or the shipped model.

        `engine` is one of `engines.ENGINES`, `device` auto, cpu or cuda; only `auto` falls back,
        and `.choice.reason` says why. `openvino-bf16` computes in bfloat16 what the model has in
        float32. `threads` are the CPU's, 0 means one per core; with more than one, and on OpenVINO
        in any case, calls take turns with the network, for two at once would push each other out
        of the caches. `coarse` leaves out the refinement of a SharpMask model: blunter masks with
        the same scores, sooner.

        TensorRT builds engines once, in minutes: for images of up to the `max_side` that calls will
        ask for, kept in the folder `cache` (by default among the user's caches); `report` is told
        what is built and why. Raises `ModelFolderError` or `EngineError`.
        """
        path = shipped_model() if folder is None else Path(folder)
        manifest = load_manifest(path)
        wanted = choose(engine, device, manifest.precision)
        if coarse:
            manifest = manifest.coarse_form()
        building = Building(max_side, None if cache is None else Path(cache), report)
        opened, choice = open_engine(wanted, manifest, path, threads, building)
        turns = choice.device == "cpu" and threads != 1
        count = threads or cores_available()
        return DeepMask(manifest, opened, choice, threads=count, turns=turns)

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        *,
        proposals: int = 1000,
        scales: Scales | None = None,
        threshold: float | None = None,
        overlap: float | None = None,
        max_side: int = MAX_SIDE,
    ) -> Proposals:
        """The best proposals of an image, (H, W, 3) uint8 RGB.

        proposals   how many; fewer come back if the pyramid has fewer locations.
        scales      of the pyramid, default the model's own.
        threshold   probability above which a pixel belongs to a mask, default the model's own.
        overlap     IoU with a better proposal above which a near-duplicate is ranked lower, default
                    the model's own; 1 leaves the network's order (see `rank.py`).
        max_side    longest side that scale 1 may have, in pixels.

        All scales are scored first, and only the best locations go through the mask graph; this is
        exact (DeepMask §3.3 computes every mask and then ranks).

        `.seconds` of the result has the time of each stage. On a GPU, trunk and score are timed by
        its own clock, uploads included, while the host already paints the next scale: the stages
        then overlap, and their sum is more than the time that has passed.
        """
        limit = self.manifest.overlap if overlap is None else overlap
        _check_call(image, proposals, threshold, limit, max_side)
        clock = Clock(self.engine)
        height, width = image.shape[:2]
        factors = (scales or self.manifest.scales).factors()
        levels = plan_pyramid(height, width, factors, self.manifest, max_side)
        _check_area(levels)
        network = Network(self.manifest, self.engine)
        with self._turn:
            maps = [network.run_level(image, level, clock) for level in levels]
            scores = network.scores(maps, levels)
            with clock.host("select"):
                scores = weigh_scales(scores, levels, self.manifest.scale_prior)
                selection = select_best(scores, max(proposals, POOL) if limit < 1 else proposals)
                placement = self._placement(selection, levels, height, width)
            with clock.host("mask"):
                logits = network.masks(selection, maps)
        probability = 1 / (1 + np.exp(-selection.logit.astype(np.float64)))
        cut = self.manifest.threshold if threshold is None else threshold
        found = Proposals(
            probability.astype(np.float32),
            logits,
            placement,
            log(cut / (1 - cut)),
            clock.seconds(),
            self._threads,
        )
        return _diverse(found, limit, proposals, clock) if limit < 1 else found

    def close(self) -> None:
        """Give back the engine's memory."""
        self.engine.close()

    def __enter__(self) -> DeepMask:
        """The model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _placement(
        self, selection: Selection, levels: Sequence[Level], height: int, width: int
    ) -> Placement:
        grid = WindowGrid(self.manifest.patch, self.manifest.stride, self.manifest.mask_size)
        ratio_y = np.array([level.ratio_y for level in levels])[selection.level]
        ratio_x = np.array([level.ratio_x for level in levels])[selection.level]
        return Placement(selection.row, selection.col, ratio_y, ratio_x, height, width, grid)


def shipped_model() -> Path:
    """The folder of the model that came with the package; raises `ModelFolderError` without one."""
    folder = Path(str(resources.files("deepmask.runtime"))) / "shipped" / SHIPPED_MODEL
    if not folder.is_dir():
        raise ModelFolderError(
            "no model came with this installation; name a folder written by deepmask-export "
            "(--model DIR)"
        )
    return folder


def _diverse(found: Proposals, overlap: float, count: int, clock: Clock) -> Proposals:
    """The best `count` after near-duplicates have moved down."""
    with clock.host("encode"):
        boxes = found.boxes
    with clock.host("select"):
        order, scores = demote_duplicates(found.scores, boxes, overlap)
    found.seconds = clock.seconds()
    return found.ranked(order[:count], scores[:count])


def _check_area(levels: Sequence[Level]) -> None:
    area = sum(level.canvas_height * level.canvas_width for level in levels)
    if area > _MAX_AREA:
        raise EngineError(
            f"the scales of this image have {area / 1e6:.0f} megapixels, at most "
            f"{_MAX_AREA / 1e6:g} are searched: fewer or smaller --scales, or a smaller --max-side"
        )


def _check_call(
    image: npt.NDArray[np.uint8],
    proposals: int,
    threshold: float | None,
    overlap: float,
    max_side: int,
) -> None:
    found = (getattr(image, "shape", None), getattr(image, "dtype", type(image).__name__))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"image is {found[1]} {found[0]}, expected uint8 (H, W, 3), RGB")
    if image.size == 0:
        raise ValueError(f"image has no pixels: {found[0]}")
    if proposals < 1 or max_side < 1:
        raise ValueError(f"proposals {proposals} and max_side {max_side} must be at least 1")
    if threshold is not None and not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold}, expected a probability between 0 and 1")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}, expected an IoU, 0 to 1")
