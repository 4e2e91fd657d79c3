"""The one error a user of the evaluation sees."""

from __future__ import annotations

from deepmask.runtime.errors import OneLineError


class EvalError(OneLineError):
    """Input that cannot be evaluated; the text says in one line what is wrong and what to do."""
