"""`DeepMask`: a picture in, ranked masks out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import Engine
from deepmask.runtime.engines.choose import Building, Choice, choose, open_engine
from deepmask.runtime.engines.threads import cores_available
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import Manifest, Scales
from deepmask.runtime.model.shipped import find_model
from deepmask.runtime.predict.call import Call, check_call, least_label_score, planned_views
from deepmask.runtime.predict.classes import Classes
from deepmask.runtime.predict.find_boxes import BoxFinder
from deepmask.runtime.predict.find_masks import MaskFinder, Windows
from deepmask.runtime.predict.label_boxes import BoxLabeller
from deepmask.runtime.predict.lifetime import Lifetime
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.proposals import Proposals
from deepmask.runtime.predict.stage_timer import StageTimer
from deepmask.runtime.progress import LOGGER, Progress, no_progress


class DeepMask:
    """An exported model on an engine: a context manager, which several threads may call.

    A process made by `fork` cannot use a model that was loaded before: load it after the fork.
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
        """Make a model from its parts; `load` is the usual way.

        threads  that encode an image's masks.
        turns    whether only one call at a time may use the network.
        """
        self.manifest = manifest
        self.engine = engine
        self.choice = choice
        self._network = Network(manifest, engine)
        self._labeller = BoxLabeller(manifest, engine)
        self._lifetime = Lifetime(engine.close)
        self._turn: AbstractContextManager[object] = Lock() if turns else nullcontext()
        parts = (self._network, self._labeller, self._turn)
        self._masks = MaskFinder(*parts, threads)
        self._finder = self._masks if manifest.has_masks else BoxFinder(*parts)

    @staticmethod
    def load(
        folder: str | Path | None = None,
        *,
        engine: str = "auto",
        device: str = "auto",
        threads: int = 0,
        coarse: bool = False,
        max_side: int | None = None,
        scales: Scales | None = None,
        zoom: int = 0,
        tf32: bool = True,
        fp16: bool = True,
        cache: str | Path | None = None,
        report: Callable[[str], None] = LOGGER.info,
        progress: Progress = no_progress,
    ) -> DeepMask:
        """Load an exported model folder, or a model that came with the package.

        folder   its path, or the name of a shipped model, "fpn-lite-int8"; by default "fpn-lite".
        engine   one of `engines.choose.ENGINES`; only "auto" falls back, and `.choice.reason` says
                 why. "openvino-bf16" computes in bfloat16 what the model has in float32.
        device   "auto", "cpu", "cuda" for the first GPU, "cuda:1" for the second.
        threads  of the CPU; 0 means one per core that this process may use. With more than one,
                 and on OpenVINO in any case, calls take turns with the network: two at once would
                 push each other out of the caches.
        coarse   leave out a SharpMask model's refinement: blunter masks, the same scores, sooner.
        max_side, scales, zoom, cache  for TensorRT, which builds plans once, in minutes: for the
                 largest `max_side` and `scales` that calls will ask for, at least the model's own,
                 and `zoom` larger ones; kept in the folder `cache` (by default among the user's).
        tf32     on GPUs that can (compute capability 8.0), round what float32 products multiply to
                 TF32, 10 bits. fp16: on TensorRT, compute in float16 if recall holds (`half`).
        report, progress  are told what is built and why, and how far each build has come.
        Raises `ModelFolderError` or `EngineError`.
        """
        if threads < 0:
            raise ValueError(f"threads is {threads}: give 0 for one per core, or a number above 0")
        path = find_model(folder)
        manifest = load_manifest(path)
        wanted = choose(engine, device, manifest.precision)
        if coarse:
            manifest = manifest.coarse_form()
        kept = None if cache is None else Path(cache)
        own = manifest.views.scales
        top = max(own.stop, (scales or own).zoomed(zoom).stop)
        building = Building(max_side or 0, top, tf32, fp16, kept, report, progress)
        opened, choice = open_engine(wanted, manifest, path, threads, building)
        turns = choice.device == "cpu" and threads != 1
        count = threads or cores_available()
        return DeepMask(manifest, opened, choice, threads=count, turns=turns)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages of a picture's way, in order: the keys of `Proposals.seconds`."""
        of_views = (stage.name for stage in self.manifest.view_stages)
        of_windows = dict.fromkeys(chain.stages[-1].name for chain in self.manifest.chains)
        of_boxes = (stage.name for stage in self.manifest.box_stages[-1:])
        return ("decode", "resize", *of_views, "select", *of_windows, "encode", *of_boxes)

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        *,
        proposals: int = 1000,
        scales: Scales | None = None,
        threshold: float | None = None,
        overlap: float | None = None,
        max_side: int | None = None,
        labels: bool | None = None,
        label_score: float | None = None,
    ) -> Proposals:
        """Return the best proposals of an image, (H, W, 3) uint8 RGB.

        proposals   how many; fewer come back if the views have fewer locations.
        scales      of the views, by default the model's own.
        threshold   probability above which a pixel belongs to a mask, by default the model's own.
        overlap     IoU with a better proposal above which a near-duplicate is ranked lower, by
                    default the model's own; 1 leaves the network's order (see `soft_nms`). Below 1
                    the first masks are distinct too (see `distinct`). Of a model without masks,
                    such a box is left out.
        max_side    longest side in pixels that scale 1 may have, by default the model's own.
        labels      whether the best masks get a category; by default if the model has categories.
        label_score  probability from which they are called by it, by default the model's own. Of a
                    model without masks, boxes of less are left out.

        All views are scored first, and only the best locations go through the mask stages; this is
        exact (DeepMask §3.3 computes every mask and then ranks). A model with a second look ranks
        those anew; the scores are its own.

        `.seconds` of the result has the time of each of `stages`. On a GPU, a view's stages are
        timed by its own clock, uploads included, while the host already paints the next view: they
        overlap, and their sum is more than the time that has passed.
        """
        limit = self.manifest.overlap if overlap is None else overlap
        check_call(image, proposals, threshold, limit, max_side)
        call = Call(
            image,
            proposals,
            scales or self.manifest.views.scales,
            self.manifest.threshold if threshold is None else threshold,
            limit,
            max_side,
            least_label_score(self.manifest, labels, label_score),
        )
        timer = StageTimer(self.engine)
        with self._lifetime.call():
            found = self._finder.find(call, timer)
        return replace(found, seconds=timer.seconds())

    def classify(
        self,
        image: npt.NDArray[np.uint8],
        boxes: npt.NDArray[np.float64],
        *,
        max_side: int | None = None,
    ) -> Classes:
        """Return the categories of N given boxes, of any source: Fast R-CNN on proposals (§4).

        image  (H, W, 3) uint8 RGB; boxes: (N, 4) XYWH in its pixels, within it.
        Raises ValueError for a model without stages for boxes.
        """
        check_call(image, 1, None, 1.0, max_side)
        least = least_label_score(self.manifest, True, None) or 0.0
        if not self.manifest.box_stages:
            raise ValueError(f"{self.manifest.name} has no stages that tell what is in given boxes")
        views = planned_views(image, (1.0,), self.manifest, max_side)
        timer = StageTimer(self.engine)
        with self._lifetime.call(), self._turn:
            picture = self._network.picture(image, timer)
            tensors = self._network.run_view(picture, views[0], timer, proposals=False)
            size = (image.shape[0], image.shape[1])
            return self._labeller.classes(boxes, len(boxes), size, views[0], tensors, least, timer)

    def windows(
        self,
        image: npt.NDArray[np.uint8],
        *,
        proposals: int = 1000,
        scales: Scales | None = None,
        max_side: int | None = None,
    ) -> Windows:
        """Return the best windows and their mask logits; arguments are those of a call.

        Raises ValueError for a model without masks.
        """
        check_call(image, proposals, None, 1.0, max_side)
        if not self.manifest.has_masks:
            raise ValueError(f"{self.manifest.name} gives boxes only, no masks of windows")
        scales = scales or self.manifest.views.scales
        call = Call(image, proposals, scales, 0.5, 1.0, max_side, None)
        with self._lifetime.call():
            found = self._masks.windows(call, proposals, StageTimer(self.engine))[0]
        return replace(found, logits=found.logits.astype(np.float32, copy=False))

    def close(self) -> None:
        """Give back the engine's memory, once calls under way are done; others are refused.

        In a process that was forked after the model was loaded, nothing is done.
        """
        self._lifetime.end()

    def __enter__(self) -> DeepMask:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
