"""Export a checkpoint to the ONNX graphs and `model.json` that the runtime reads.

from deepmask.export import ExportOptions, ExportRequest, export

export(ExportRequest(Path("best.pt"), Path("model"), ExportOptions(weights="fp16")), print)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepmask.export.errors import ExportError, ExportUsageError

if TYPE_CHECKING:
    from deepmask.export.options import ExportOptions
    from deepmask.export.plans import PlanOptions
    from deepmask.export.request import Exported, ExportRequest, export

__all__ = [
    "ExportError",
    "ExportOptions",
    "ExportRequest",
    "ExportUsageError",
    "Exported",
    "PlanOptions",
    "export",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a command's --help needs no library."""
    if name in __all__:
        from deepmask.export import request

        return getattr(request, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
