"""Score graphs equal the training head on the window of every location (DeepMask §3.3)."""

from __future__ import annotations

import functools

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deepmask.export.parity import relative_error
from deepmask.networks.dense.score import PooledScoreGraph, SharedScoreGraph
from deepmask.networks.heads import LowRankMaskHead, PooledScoreHead, SharedScoreHead
from tests.export.windows import session_of, windows_of

WIDTH = 5
#: Window sides in cells: those of patches of 64, 96, 160 and the paper's 224 px.
CELLS = (4, 6, 10, 14)


@functools.cache
def pooled_head(cells: int) -> PooledScoreHead:
    torch.manual_seed(cells)
    head = PooledScoreHead(WIDTH, cells, 24).eval()
    with torch.no_grad():  # scores well above 1, so that the error is a relative one
        head.classify.weight *= 200
    return head


@functools.cache
def pooled_session(cells: int, margin: int) -> onnxruntime.InferenceSession:
    graph = PooledScoreGraph(pooled_head(cells), cells, margin)
    side = cells + 2 * margin
    example = torch.zeros(1, WIDTH, side + 3, side + 6)
    return session_of(graph, (example,), ("features",), ("score",))


def random_map(height: int, width: int, seed: int) -> Tensor:
    return torch.randn((1, WIDTH, height, width), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(
    cells=st.sampled_from(CELLS),
    margin=st.integers(0, 2),
    rows=st.integers(1, 12),
    cols=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_pooled_score_graph_equals_the_head_on_every_window(
    cells: int, margin: int, rows: int, cols: int, seed: int
) -> None:
    side = cells + 2 * margin - 1
    features = random_map(side + rows, side + cols, seed)
    windows, *found = windows_of(features, cells, margin)
    assert found == [rows, cols]
    with torch.no_grad():
        expected = pooled_head(cells)(windows).view(1, 1, rows, cols).numpy()
        module = PooledScoreGraph(pooled_head(cells), cells, margin)
        assert relative_error(module(features).numpy(), expected) <= 1e-4


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 12), cols=st.integers(1, 12), seed=st.integers(0, 1000))
def test_pooled_score_graph_is_the_same_in_onnx_runtime(rows: int, cols: int, seed: int) -> None:
    cells, margin = 14, 1
    features = random_map(cells + 1 + rows, cells + 1 + cols, seed)
    windows, *_ = windows_of(features, cells, margin)
    with torch.no_grad():
        expected = pooled_head(cells)(windows).view(1, 1, rows, cols).numpy()
    session = pooled_session(cells, margin)
    (score,) = session.run(["score"], {"features": features.numpy()})
    assert relative_error(score, expected) <= 1e-4


def test_the_pooled_reference_can_tell_locations_apart() -> None:
    features = random_map(20, 21, 0)
    with torch.no_grad():
        scores = pooled_head(14)(windows_of(features, 14, 1)[0])
    assert scores.std() > 1


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 6), (5, 2), (7, 8)])
def test_shared_score_graph_equals_code_and_score_of_every_window(rows: int, cols: int) -> None:
    torch.manual_seed(0)
    cells, margin = 10, 1
    mask_head, score_head = LowRankMaskHead(WIDTH, 4, cells, 9, 8), SharedScoreHead(9, 16).eval()
    graph = SharedScoreGraph(mask_head, score_head, cells, margin)
    example = torch.zeros(1, WIDTH, 15, 18)
    session = session_of(graph, (example,), ("features",), ("score", "code"))
    features = random_map(cells + 1 + rows, cells + 1 + cols, 1)
    windows, *_ = windows_of(features, cells, margin)
    with torch.no_grad():
        code = mask_head.code(windows)
        expected = score_head(code)
    score, found = session.run(["score", "code"], {"features": features.numpy()})
    assert score.shape == (1, 1, rows, cols)
    assert relative_error(score.ravel(), expected.numpy()) <= 1e-5
    assert relative_error(found[0].reshape(9, -1).T, code.numpy()) <= 1e-5
