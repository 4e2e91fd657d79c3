"""What can go wrong in an export, told in one line each."""

from __future__ import annotations


class ExportError(Exception):
    """The export was tried and failed; nothing of it is left behind."""


class ExportUsageError(ExportError):
    """What was asked for cannot be done: wrong file, wrong folder, wrong value."""
