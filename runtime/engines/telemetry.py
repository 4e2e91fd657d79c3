"""No library that the runtime loads may tell its makers so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OPENVINO = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """For the import of openvino, which sends a note of each one, with an id it keeps at home.

    It does without where the package that sends is missing, and so that package is, meanwhile.
    """
    known = sys.modules.get(_OPENVINO)
    sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # how Python marks what is missing
    try:
        yield
    finally:
        if known is None:
            del sys.modules[_OPENVINO]
        else:
            sys.modules[_OPENVINO] = known
