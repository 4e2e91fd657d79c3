"""Measure proposals as the papers do.

from deepmask.evaluate import Request, evaluate

result = evaluate(Request(annotations=Path("val.json"), images=Path("val/")))
result.metrics["segm"]["AR@100"], result.failures
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepmask.evaluate.errors import EvalError, EvalUsageError
from deepmask.evaluate.request import Evaluation, Request

if TYPE_CHECKING:
    from deepmask.evaluate.evaluator import evaluate

__all__ = ["EvalError", "EvalUsageError", "Evaluation", "Request", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import `evaluate` when it is first used: a command's --help needs no library."""
    if name == "evaluate":
        from deepmask.evaluate.evaluator import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
