"""The errors that a user of the evaluation sees."""

from __future__ import annotations

from deepmask.runtime.errors import OneLineError, UsageError


class EvalError(OneLineError):
    """Input that cannot be evaluated; the text says in one line what is wrong and what to do."""


class EvalUsageError(EvalError, UsageError):
    """A request that cannot be met: settings that do not go together, no such model or engine."""
