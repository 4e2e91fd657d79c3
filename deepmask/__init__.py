"""Find every object in a photograph as a ranked, class-agnostic mask.

from deepmask import DeepMask, read_image

with DeepMask.load() as model:
    proposals = model(read_image("photograph.jpg"))
proposals.scores, proposals.boxes, proposals.masks(0), proposals.to_coco(image_id=1)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmask.runtime.io.images import read_image
    from deepmask.runtime.predict.deepmask import DeepMask
    from deepmask.runtime.predict.proposals import Proposals

__version__ = "0.1.0"
__all__ = ["DeepMask", "Proposals", "__version__", "read_image"]

# In a checkout the packages lie beside this folder; once installed they lie in it.
if not (Path(__file__).parent / "runtime").is_dir():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a command's --help needs none of them."""
    if name == "DeepMask":
        from deepmask.runtime.predict.deepmask import DeepMask

        return DeepMask
    if name == "Proposals":
        from deepmask.runtime.predict.proposals import Proposals

        return Proposals
    if name == "read_image":
        from deepmask.runtime.io.images import read_image

        return read_image
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
