"""Run a model in NVIDIA Triton's Python backend: an image in, ranked masks or boxes out.

The number of scales depends on the image, and the best locations are chosen from all scales, which
Triton's ensembles, fixed chains, cannot do. So the whole of `DeepMask` runs in the server. Triton
makes one instance for each GPU, or one on the CPU; more by `instance_group` in config.pbtxt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.images import MAX_PIXELS
from deepmask.runtime.predict.deepmask import DeepMask

#: The parameter of config.pbtxt that names the folder of TensorRT's plans.
CACHE = "cache"
#: Folder of the exported model, beside `model.py`.
MODEL = "model"
#: Proposals of a request that does not ask for a number, and the most that one may ask for.
PROPOSALS, MOST_PROPOSALS = 1000, 10_000
#: Tensors of a request and of its answer: Triton's type, and sizes (-1 for any).
INPUTS = {"image": ("TYPE_UINT8", (-1, -1, 3)), "proposals": ("TYPE_INT32", (1,))}
OUTPUTS = {
    "scores": ("TYPE_FP32", (-1,)),  # 0 … 1, best first
    "boxes": ("TYPE_FP32", (-1, 4)),  # XYWH in pixels
    "masks": ("TYPE_STRING", (-1,)),  # COCO's compressed RLE as JSON, with "size" and "counts"
    "names": ("TYPE_STRING", (-1,)),  # of the categories, "object" where there is none
}
#: Inputs that a request may leave out.
OPTIONAL = ("proposals",)


def outputs_of(masks: bool, names: bool) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return those of `OUTPUTS` that a model has, which gives masks or boxes only, and names."""
    has = {"masks": masks, "names": names}
    return {name: kind for name, kind in OUTPUTS.items() if has.get(name, True)}


class TritonPythonModel:
    """What Triton's Python backend calls; `model.py` of the repository is an import of it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model of this version on the instance's GPU; Triton reports what this raises.

        TensorRT's plans are kept in the folder that the parameter `CACHE` of config.pbtxt names:
        one on a volume, or each new container builds them again.
        """
        folder = Path(args["model_repository"], args["model_version"], MODEL)
        on_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        config = json.loads(args.get("model_config", "{}"))
        cache = config.get("parameters", {}).get(CACHE, {}).get("string_value") or None
        self._model = DeepMask.load(folder, device=device, cache=cache)
        manifest = self._model.manifest
        given = outputs_of(manifest.has_masks, manifest.categories is not None)
        # A config.pbtxt of an earlier version of the model may declare fewer.
        declared = [one["name"] for one in config.get("output", [])] or list(given)
        self._outputs = [name for name in given if name in declared]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request; one that cannot be answered gets an error of its own."""
        import triton_python_backend_utils as triton

        responses = []
        for request in requests:
            given = {name: triton.get_input_tensor_by_name(request, name) for name in INPUTS}
            try:
                found = self._answer(**{k: v.as_numpy() for k, v in given.items() if v is not None})
            except (ValueError, EngineError, MemoryError) as error:
                text = str(error) or "not enough memory for this image"
                responses.append(triton.InferenceResponse(error=triton.TritonError(text)))
                continue
            tensors = [triton.Tensor(name, found[name]) for name in self._outputs]
            responses.append(triton.InferenceResponse(tensors))
        return responses

    def finalize(self) -> None:
        """Give back the engine's memory."""
        self._model.close()

    def _answer(
        self, image: npt.NDArray[np.uint8], proposals: npt.NDArray[np.int32] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            raise ValueError(f"image is {image.shape}, at most {MAX_PIXELS / 1e6:g} megapixels")
        count = PROPOSALS if proposals is None else int(proposals[0])
        if not 1 <= count <= MOST_PROPOSALS:
            raise ValueError(f"proposals is {count}, expected 1 to {MOST_PROPOSALS}")
        named = "names" in self._outputs
        found = self._model(image, proposals=count, labels=named)
        boxes = found.boxes.astype(np.float32)
        answer: dict[str, npt.NDArray[Any]] = {"scores": found.scores, "boxes": boxes}
        if found.has_masks:
            masks = [json.dumps(mask, separators=(",", ":")).encode() for mask in found.rles()]
            answer["masks"] = np.array(masks, np.object_)
        if found.names is not None:
            answer["names"] = np.array([name.encode() for name in found.names], np.object_)
        return answer
