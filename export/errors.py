"""What can go wrong in an export, told in one line each."""

from __future__ import annotations

from deepmask.runtime.errors import OneLineError, UsageError


class ExportError(OneLineError):
    """The export was tried and failed; nothing of it is left behind."""


class ExportUsageError(ExportError, UsageError):
    """What was asked for cannot be done: wrong file, wrong folder, wrong value."""
