"""Windows of different grids in stages of their own, a second look that ranks, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from deepmask import DeepMask
from deepmask.runtime.engines.base import Engine, EngineError
from deepmask.runtime.model.manifest import Scales
from deepmask.runtime.predict import find_masks
from deepmask.runtime.predict.calibrate import calibrate
from deepmask.runtime.predict.find_masks import Windows
from deepmask.runtime.predict.network import Network
from tests.runtime import fake_tensorrt
from tests.runtime.chains_model import write_chains_model
from tests.runtime.fake_gpu import FakeDevice
from tests.runtime.fake_tensorrt import picture
from tests.runtime.grids_model import GRIDS, MASK_SIZE, write_grids_model

Place = tuple[int, ...]
#: Windows that are ranked, fewer than the runtime's.
POOL = 200
ON_CPU: dict[str, Any] = {"engine": "onnxruntime", "device": "cpu", "threads": 1}


Loader = Callable[[Path], DeepMask]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chains_model(tmp_path_factory.mktemp("models") / "chains")


@pytest.fixture(scope="module", params=["onnxruntime", "openvino", "tensorrt"])
def load(request: pytest.FixtureRequest) -> Loader:
    """Load a folder on each engine."""
    if request.param == "tensorrt":
        return lambda folder: fake_tensorrt.load(folder, FakeDevice())
    pytest.importorskip(request.param)
    return lambda folder: DeepMask.load(folder, **{**ON_CPU, "engine": request.param})


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_masks, "POOL", POOL)


@pytest.fixture(scope="module")
def model(load: Loader, folder: Path) -> Iterator[DeepMask]:
    """The model with a second look."""
    with load(folder) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def undivided(load: Loader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeepMask]:
    """The same masks from one stage for all windows, without a second look."""
    with load(write_grids_model(tmp_path_factory.mktemp("models") / "grids")) as loaded:
        yield loaded


def places(windows: Windows) -> list[Place]:
    """View, grid, row and column of each window."""
    of = windows.selection
    return list(zip(*(x.tolist() for x in (of.view, of.grid, of.row, of.col)), strict=True))


def by_place(windows: Windows) -> dict[Place, npt.NDArray[np.float32]]:
    return dict(zip(places(windows), windows.logits, strict=True))


def ranks_of(windows: Windows) -> npt.NDArray[np.float32]:
    """What the second look gives the masks of windows."""
    ranks: npt.NDArray[np.float32] = (
        windows.logits[:, MASK_SIZE // 2, MASK_SIZE // 2] - windows.logits[:, 0, 0]
    )
    return ranks


def assert_same(one: Windows, other: Windows) -> None:
    assert places(one) == places(other)
    assert_array_equal(one.selection.logit, other.selection.logit)
    assert_array_equal(one.boxes, other.boxes)
    assert_array_equal(one.logits, other.logits)


def test_every_window_runs_in_the_stage_for_its_grid(model: DeepMask, undivided: DeepMask) -> None:
    """Masks are those of one stage for all; another grid's windows would be refused."""
    image, scales = picture(3), Scales(0, 1, 1)
    found, expected = (
        one.windows(image, proposals=10**6, scales=scales) for one in (model, undivided)
    )
    masks, plain = by_place(found), by_place(expected)
    assert masks.keys() == plain.keys()
    assert {place[:2] for place in masks} == {(v, g) for v in (0, 1) for g in range(len(GRIDS))}
    for place, mask in masks.items():
        assert_array_equal(mask, plain[place])
    stages = ("trunk", "score", "table", "select", "mask-small", "mask-large", "encode")
    assert model.stages == ("decode", "resize", *stages)
    assert set(model(image).seconds) == set(model.stages) - {"decode"}


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 40), st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 50))
def test_results_do_not_depend_on_batches(
    model: DeepMask, at_once: int, memory: int, waiting: int, seed: int
) -> None:
    image, scales = picture(seed), Scales(0, 1, 1)
    with patch.object(find_masks, "POOL", 60):
        whole = model.windows(image, proposals=60, scales=scales)
    with (
        patch.object(find_masks, "POOL", 60),
        patch.object(model.engine, "most_windows", at_once),
        patch.object(model.engine, "window_bytes", memory),
        patch.object(model.engine, "waiting_bytes", waiting),
    ):
        assert_same(model.windows(image, proposals=60, scales=scales), whole)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, POOL))
def test_the_second_look_ranks(model: DeepMask, undivided: DeepMask, seed: int, count: int) -> None:
    """The first score selects; of those, equal ranks keep its order. Few are the best of many."""
    image, scales = picture(seed, 120, 160), Scales(0, 1, 1)
    first = undivided.windows(image, proposals=POOL, scales=scales)
    assert len(first.boxes) == POOL
    ranks = ranks_of(first)
    order = sorted(range(POOL), key=lambda k: (-ranks[k], k))
    found = model.windows(image, proposals=count, scales=scales)
    assert places(found) == [places(first)[k] for k in order[:count]]
    assert_array_equal(found.selection.logit, ranks[order[:count]])
    assert_array_equal(found.logits, first.logits[order[:count]])
    scored = model(image, proposals=count, scales=scales, overlap=1.0)
    expected = 1 / (1 + np.exp(-ranks[order[:count]].astype(np.float64)))
    assert_array_equal(scored.scores, expected.astype(np.float32))
    for overlap in (0.3, 1.0):
        few, many = (
            model(image, proposals=n, scales=scales, overlap=overlap) for n in (count, POOL)
        )
        assert few.rles() == many.rles()[:count]
        assert_array_equal(few.scores, many.scores[:count])


def test_without_ranks_the_first_score_is_the_order(
    tmp_path: Path, load: Loader, undivided: DeepMask
) -> None:
    image = picture(1)
    with load(write_chains_model(tmp_path, ranks=False)) as unranked:
        found, expected = (one.windows(image, proposals=50) for one in (unranked, undivided))
    assert_same(found, expected)


def test_a_free_axis_counts_four_rows_a_cell(folder: Path) -> None:
    """Of a table that is shorter than that, all of it."""
    with DeepMask.load(folder, **ON_CPU) as loaded:
        one = Network(loaded.manifest, loaded.engine)
        layout = loaded.engine.upload(np.zeros((2, 3), np.int64))
        for chain, cells in zip(loaded.manifest.chains, (4, 8), strict=True):
            for rows in (10, 10**5):
                samples = loaded.engine.upload(np.zeros((rows, 1), np.float32))
                values = min(rows, 4 * cells**2) + 6 + 8 * MASK_SIZE**2
                found = one.windows_at_once({"samples": samples, "layout": layout}, chain)
                assert found == (16 << 20) // (4 * values) // 16 * 16


def test_a_map_of_other_axes_is_refused(folder: Path) -> None:
    with DeepMask.load(folder, **ON_CPU) as loaded:
        one = Network(loaded.manifest, loaded.engine)
        flat = loaded.engine.upload(np.zeros(10, np.float32))
        with pytest.raises(
            EngineError, match=r"the map samples is \(10,\), model.json says 2 axes"
        ):
            one.windows_at_once({"samples": flat}, loaded.manifest.chains[0])


def test_ranks_that_are_not_finite_are_refused(model: DeepMask) -> None:
    original = type(model.engine).fetched

    @contextmanager
    def broken(engine: Engine, tensors: Any) -> Iterator[list[npt.NDArray[np.float32]]]:
        with original(engine, tensors) as arrays:
            copies = [array.copy() for array in arrays]
        for array in copies:
            if array.ndim == 1:
                array[0] = np.inf
        yield copies

    with (
        patch.object(type(model.engine), "fetched", broken),
        pytest.raises(EngineError, match=r"ranks are \(\d+,\) for \d+ windows, or .* not finite"),
    ):
        model(picture(0))


@st.composite
def tables(draw: st.DrawFn) -> list[tuple[float, float]]:
    unit = st.floats(0, 1)
    scores = sorted(draw(st.sets(unit, min_size=1, max_size=9)))
    values = sorted(draw(st.lists(unit, min_size=len(scores), max_size=len(scores))))
    return list(zip(scores, values, strict=True))


@settings(max_examples=300, deadline=None)
@given(tables(), st.lists(st.floats(0, 1)))
def test_calibration_keeps_the_order(table: list[tuple[float, float]], some: list[float]) -> None:
    """It passes through its pairs and does not leave their values."""
    beside = [x for score, _ in table for x in (np.nextafter(score, 0), np.nextafter(score, 1))]
    scores = np.sort(np.array([*some, *beside, *(score for score, _ in table), 0.0, 1.0]))
    found = calibrate(scores, table)
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (table[0][1], table[-1][1])
    assert calibrate(np.array([score for score, _ in table]), table).tolist() == [
        value for _, value in table
    ]


def test_users_see_calibrated_scores(model: DeepMask) -> None:
    """The same masks in the same order; near-duplicates lose a share of what is seen."""
    image, table = picture(5), ((0.2, 0.1), (0.9, 0.3), (0.95, 0.8))
    seen = DeepMask(replace(model.manifest, calibration=table), model.engine, model.choice)
    own, found = (one(image, overlap=1.0) for one in (model, seen))
    assert own.rles() == found.rles()
    at, value = np.array(table).T
    expected = np.interp(own.scores, at, value)
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    demoted = seen(image, overlap=0.0)
    assert demoted.scores[0] == found.scores[0]
    assert (np.diff(demoted.scores) <= 0).all()
