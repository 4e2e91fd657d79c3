"""The samples of masks, float32 or float16, as they are read to find outlines: few of them, fast.

numpy converts and compares float16 one by one; here their bits are, as integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deepmask.runtime.views.geometry import Integers

Samples = npt.NDArray[np.float32]


class MaskSamples:
    """Finite logits (N, size, size), float32 or float16, and the threshold that divides them."""

    def __init__(self, logits: npt.NDArray[Any], threshold: float) -> None:
        self.size = logits.shape[-1]
        self._threshold = np.float32(threshold)
        self._logits = logits
        self._flat = logits.reshape(-1)
        self._half = logits.dtype == np.float16
        if self._half:
            self._flat = self._flat.view(np.uint16)

    def above(self) -> npt.NDArray[np.bool_]:
        """Return which samples are above the threshold, (N, size, size)."""
        if not self._half:
            return np.asarray(self._logits > self._threshold)
        bound = np.float16(self._threshold)
        if bound > self._threshold:
            bound = np.nextafter(bound, np.float16(-np.inf))
        # Their bits are in their own order; those of negative ones in reverse, after the others.
        if bound < 0:
            return np.asarray(self._logits.view(np.uint16) < bound.view(np.uint16))
        return np.asarray(self._logits.view(np.int16) > bound.view(np.int16))

    def take(self, place: Integers) -> Samples:
        """Return samples less the threshold, by their place among all, row after row."""
        found = self._flat.take(place)
        values: Samples = to_single(found) if self._half else found
        values -= self._threshold
        return values


def to_single(half: npt.NDArray[np.uint16]) -> Samples:
    """Return finite float16, given by their bits, as float32."""
    bits = half.astype(np.uint32)
    bits <<= np.uint32(13)
    single: Samples = (bits & np.uint32(0x0FFFE000)).view(np.float32)
    single *= np.float32(2.0**112)  # the exponents of float32 begin so much lower
    bits <<= np.uint32(3)
    bits &= np.uint32(0x80000000)  # the sign
    single.view(np.uint32)[:] |= bits
    return single
