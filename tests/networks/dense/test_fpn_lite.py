"""The exportable form of `fpn-lite` computes what the network does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepmask.networks.dense.fpn_lite import dense_fpn_lite, describe_fpn_lite, final_score
from deepmask.networks.fpn_lite import FpnLite
from deepmask.networks.levels import SLOTS, STRIDES, grids
from tests.networks.tiny_fpn import TINY


@pytest.fixture(scope="module")
def network() -> FpnLite:
    """A small network in double precision."""
    torch.manual_seed(0)
    return FpnLite(TINY).double().eval()


@torch.no_grad()
def test_graphs_compute_what_the_network_does(network: FpnLite) -> None:
    """Scores of all locations; masks and ranks of windows at corners and within, of all levels."""
    form = dense_fpn_lite(network).main
    canvas = torch.rand(1, 3, 256, 128).double() * 255
    places = [(0, 31, 0), (2, 7, 7), (4, 0, 3), (6, 2, 1), (8, 1, 0), (0, 0, 15), (4, 7, 0)]
    locations = torch.tensor(places + [(g + 1, i, j) for g, i, j in places])
    expected = form.reference(canvas, locations)
    tensors: dict[str, Tensor] = {"image": canvas}
    for graph in form.graphs:
        names = [grid.name for grid in grids()]
        mine = [k for k, (g, _, _) in enumerate(locations.tolist())]
        if graph.grids is not None:
            mine = [k for k in mine if names[locations[k, 0]] in graph.grids]
            assert len(mine) == len(places)
        made = graph.run({**tensors, "locations": locations[mine]})
        for name, value in made.items():
            if name in expected:
                wanted = expected[name] if graph.grids is None else expected[name][mine]
                torch.testing.assert_close(value, wanted)
        assert {*made} <= {*expected, "context", "fine", "first", "layout"}
        tensors |= made


def test_every_grid_has_a_score_and_a_stage_of_its_own() -> None:
    described = describe_fpn_lite(TINY).grids
    form = dense_fpn_lite(FpnLite(TINY).eval()).main
    for grid in described:
        score = form.graphs[0].outputs[grid.score]
        assert score.axes[2:] == (f"height/{grid.stride}", f"width/{grid.stride}")
        serving = [g for g in form.graphs[1:] if grid.name in (g.grids or ())]
        (mask,) = [s for s in serving[0].outputs.values() if s.role == "mask"]
        assert len(serving) == 1
        assert mask.axes == ("n", grid.mask_size, grid.mask_size)
    assert len(described) == len(SLOTS) * len(STRIDES)


def test_the_final_score_is_the_geometric_mean() -> None:
    objectness, quality, iou = torch.logit(torch.tensor([[0.9], [0.5], [0.2]]).double())
    mean = (0.9 * 0.5) ** 0.25 * 0.2**0.5
    assert torch.sigmoid(final_score(objectness, quality, iou)).item() == pytest.approx(mean)


def test_scores_stay_finite_at_any_logit() -> None:
    extreme = torch.tensor([-200.0, 0.0, 200.0])
    assert torch.isfinite(final_score(extreme, extreme, extreme)).all()
