"""The stages in their order: how many windows at once, and results that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deepmask import DeepMask
from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.network import Network
from tests.runtime.square_model import CELLS


def test_memory_bounds_the_windows_at_once(model: DeepMask) -> None:
    features = model.engine.upload(np.zeros((1, 256, 9, 9), np.float32))
    expected = (96 << 20) // (4 * (256 * CELLS**2 + 8 * 16**2))
    network = Network(model.manifest, model.engine)
    assert network.windows_at_once({"features": features}) == expected


def test_score_map_of_a_wrong_size_is_refused(model: DeepMask) -> None:
    views = replace(model.manifest.views, border=64)
    broken = DeepMask(replace(model.manifest, views=views), model.engine, model.choice)
    with pytest.raises(
        EngineError, match=r"score map score is .* expected channel 0 of \(1, .*, 3, 3\)"
    ):
        broken(np.zeros((20, 20, 3), np.uint8), scales=Scales(0, 0, 1))


@pytest.mark.parametrize(
    ("axes", "text"), [(4, "the scores are not finite"), (3, "masks are .* not finite")]
)
def test_values_that_are_not_finite_are_refused(
    model: DeepMask, monkeypatch: pytest.MonkeyPatch, axes: int, text: str
) -> None:
    original = type(model.engine).fetched

    @contextmanager
    def broken(engine: Engine, tensors: Any) -> Iterator[list[npt.NDArray[np.float32]]]:
        with original(engine, tensors) as arrays:
            copies = [array.copy() for array in arrays]
        for array in copies:
            if array.ndim == axes:
                array.flat[0] = np.nan
        yield copies

    monkeypatch.setattr(type(model.engine), "fetched", broken)
    with pytest.raises(EngineError, match=text):
        model(np.full((20, 20, 3), 127, np.uint8))
