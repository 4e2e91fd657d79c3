"""The error of labels that cannot be used."""

from __future__ import annotations

from deepmask.runtime.errors import OneLineError


class LabelError(OneLineError):
    """Labels, or pictures they are of, that cannot be used; the text names file and id."""
