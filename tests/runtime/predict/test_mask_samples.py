"""Samples of masks: float16 is read as what it is in float32, and compared as that."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from deepmask.runtime.predict.mask_samples import MaskSamples, to_single

#: Every finite float16 once.
_BITS = np.arange(1 << 16, dtype=np.uint16)
HALVES = _BITS[np.isfinite(_BITS.view(np.float16))].view(np.float16)


def test_every_float16_becomes_its_float32() -> None:
    found = to_single(HALVES.view(np.uint16))
    assert_array_equal(found.view(np.uint32), HALVES.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize("threshold", [0.0, -0.4054651, 0.4054651, -0.5, 0.5, 3e-8, -3e-8, 65504.0])
def test_float16_is_compared_as_float32(threshold: float) -> None:
    halves = MaskSamples(HALVES[None, None], threshold)
    assert_array_equal(
        halves.above(), HALVES[None, None].astype(np.float32) > np.float32(threshold)
    )


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_samples_are_taken_less_the_threshold(kind: str) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 5, 5)).astype(np.dtype(kind))
    before = logits.copy()
    place = np.array([0, 74, 31, 31])
    expected = logits.astype(np.float32).reshape(-1)[place] - np.float32(0.3)
    assert_array_equal(MaskSamples(logits, 0.3).take(place), expected)
    assert_array_equal(logits, before)
