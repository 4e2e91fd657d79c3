"""Several grids ranked together, how many windows at once, and results that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict.network import Network
from deepmask.runtime.predict.select import Selection
from deepmask.runtime.views.grids import location_counts, map_shape
from deepmask.runtime.views.views import plan_views
from tests.runtime.grids_model import BEST, GRAY, GRIDS, MASK_SIZE, write_grids_model
from tests.runtime.square_model import CELLS

HEIGHT, WIDTH = 200, 280
Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def three(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DeepMask]:
    pytest.importorskip(request.param)
    folder: Path = write_grids_model(tmp_path_factory.mktemp("models") / "grids")
    with DeepMask.load(folder, engine=request.param, device="cpu", threads=1) as three:
        yield three


def paint(*squares: tuple[int, int, int]) -> Image:
    """Squares on gray, given by side, top and left."""
    image = np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)
    for index, (side, top, left) in enumerate(squares):
        image[top : top + side, left : left + side] = 2 * GRAY if index % 2 else 0
    return image


def places(selection: Selection, count: int) -> list[tuple[int, ...]]:
    """View, grid, row and column of the best."""
    columns = (selection.view, selection.grid, selection.row, selection.col)
    return list(zip(*(column[:count].tolist() for column in columns), strict=True))


def test_each_grid_finds_squares_of_its_size(three: DeepMask) -> None:
    squares = [(64, 104, 24), (32, 40, 200), (16, 20, 84)]
    image = paint(*squares)
    windows = three.windows(image, proposals=20)
    assert places(windows.selection, 3) == [(0, 0, 3, 11), (0, 1, 3, 13), (0, 2, 8, 3)]
    assert windows.selection.logit[:3].tolist() == [BEST] * 3
    assert windows.selection.logit[3] < BEST
    # A window is twice its square, around it.
    expected = [
        [top - side / 2, left - side / 2, 2 * side, 2 * side] for side, top, left in squares
    ]
    assert windows.boxes[:3].tolist() == expected[::-1]
    found = three(image, proposals=20)
    assert found.boxes[:3].tolist() == [[left, top, s, s] for s, top, left in squares[::-1]]
    for area, side in zip(found.areas[:3].tolist(), (16, 32, 64), strict=True):
        assert 0 <= side**2 - area <= (side / 8) ** 2  # rounded corners


def test_equal_scores_are_in_the_order_of_view_grid_row_and_column(three: DeepMask) -> None:
    """A square is found at half the scale by the grid for half its size, and at the same place."""
    image = paint((32, 120, 40), (32, 40, 200), (32, 40, 40))
    windows = three.windows(image, proposals=10, scales=Scales(-1, 0, 1))
    small, large = (
        [(view, grid, *at) for at in ((3, 3), (3, 13), (8, 3))] for view, grid in [(0, 0), (1, 1)]
    )
    assert places(windows.selection, 6) == [*small, *large]
    assert windows.selection.logit[:6].tolist() == [BEST] * 6
    assert_array_equal(windows.boxes[:3], windows.boxes[3:6])
    assert_array_equal(windows.logits[:3], windows.logits[3:6])


def test_locations_beyond_the_picture_are_not_used(three: DeepMask) -> None:
    """The canvas is larger than the picture, by more than a stride of either grid."""
    windows = three.windows(paint((16, 20, 84)), proposals=10**6)
    [view] = plan_views(HEIGHT, WIDTH, (1.0,), three.manifest.views)
    assert (view.canvas_height, view.canvas_width) == (256, 320)
    selection = windows.selection
    for index, (grid, counts, shape) in enumerate(
        zip(GRIDS, [(25, 35), (13, 18), (13, 18)], [(32, 40), (16, 20), (16, 20)], strict=True)
    ):
        assert (location_counts(view, grid), map_shape(view, grid, 0)) == (counts, shape)
        rows, cols = (some[selection.grid == index] for some in (selection.row, selection.col))
        expected = [(row, col) for row in range(counts[0]) for col in range(counts[1])]
        assert sorted(zip(rows.tolist(), cols.tolist(), strict=True)) == expected
    assert windows.logits.shape == (25 * 35 + 2 * 13 * 18, MASK_SIZE, MASK_SIZE)


def test_batches_change_no_mask(three: DeepMask, monkeypatch: pytest.MonkeyPatch) -> None:
    image = paint((64, 104, 24), (32, 40, 200), (16, 20, 84))
    whole = three.windows(image, proposals=100)
    assert set(whole.selection.grid[:7].tolist()) == {0, 1, 2}
    for at_once in (1, 7):
        monkeypatch.setattr(three.engine, "most_windows", at_once, raising=False)
        assert_array_equal(three.windows(image, proposals=100).logits, whole.logits)
    monkeypatch.setattr(three.engine, "window_bytes", 1)
    assert_array_equal(three.windows(image, proposals=100).logits, whole.logits)


def test_a_map_without_a_grids_channel_is_refused(three: DeepMask) -> None:
    grids = (*GRIDS[:2], replace(GRIDS[2], channel=2))
    broken = DeepMask(replace(three.manifest, grids=grids), three.engine, three.choice)
    with pytest.raises(EngineError, match=r"score map far is \(1, 2, 4, 4\) .* channel 2 of \(1,"):
        broken(paint()[:60, :60])


def test_memory_bounds_the_windows_at_once(model: DeepMask) -> None:
    features = model.engine.upload(np.zeros((1, 256, 9, 9), np.float32))
    expected = (16 << 20) // (4 * (256 * CELLS**2 + 8 * 16**2)) // 16 * 16
    network = Network(model.manifest, model.engine)
    assert network.windows_at_once({"features": features}, model.manifest.chains[0]) == expected


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
