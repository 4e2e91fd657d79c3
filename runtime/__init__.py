"""Object masks from photographs with an exported model: numpy and one engine, never torch.

from deepmask.runtime import DeepMask

model = DeepMask.load()
proposals = model(image)  # (H, W, 3) uint8 RGB
proposals.scores, proposals.boxes, proposals.masks(0), proposals.to_coco(image_id=1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmask.runtime.deepmask import DeepMask
    from deepmask.runtime.engines import EngineError
    from deepmask.runtime.images import ImageError, read_image
    from deepmask.runtime.manifest import ModelFolderError, Scales
    from deepmask.runtime.proposals import Proposals

__all__ = [
    "DeepMask",
    "EngineError",
    "ImageError",
    "ModelFolderError",
    "Proposals",
    "Scales",
    "read_image",
]

_HOME = {
    "DeepMask": "deepmask",
    "EngineError": "engines",
    "ImageError": "images",
    "ModelFolderError": "manifest",
    "Proposals": "proposals",
    "Scales": "manifest",
    "read_image": "images",
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: a command's --help needs none of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
