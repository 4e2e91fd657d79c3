"""The network of `fpn-masks`: sizes, windows, padding, its batches and its losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepmask.coco.reader import read_coco
from deepmask.networks.config import ConfigError
from deepmask.networks.dense.fpn_masks import dense_fpn_masks, describe_fpn_masks, scores_of
from deepmask.networks.families import build
from deepmask.networks.family import TrainingData
from deepmask.networks.fpn_masks import FpnMasks
from deepmask.networks.mask_levels import STRIDES
from deepmask.networks.presets import PRESETS
from deepmask.networks.whole import batches
from deepmask.networks.whole.masks_batch import MasksBatch, masks_batches
from deepmask.networks.whole.masks_config import FpnMasksConfig
from deepmask.networks.whole.masks_objective import masks_losses
from deepmask.networks.whole.recipe import FpnMasksRecipe
from deepmask.networks.window_table import Windows
from tests.networks.tiny_masks import TINY_MASKS

RECIPE = FpnMasksRecipe(batch=3, whole_share=0.0, locations=64)
PARAMETERS = {
    "fpn-masks-5x5": 26_330_373,
    "fpn-masks-7x7": 27_903_237,
    "fpn-masks": 29_643_210,
    "fpn-masks-28x28": 30_246_498,
}


@pytest.fixture(scope="module")
def network() -> FpnMasks:
    torch.manual_seed(0)
    return FpnMasks(TINY_MASKS).double().eval()


@pytest.mark.parametrize("name", PARAMETERS)
def test_rows_of_the_table_have_their_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build(PRESETS[name].config)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


def test_levels_have_strides_4_to_64(network: FpnMasks) -> None:
    levels = network.pyramid(torch.rand(1, 3, 128, 192).double() * 255).levels
    assert [tuple(p.shape) for p in levels] == [(1, 8, 128 // s, 192 // s) for s in STRIDES]


@torch.no_grad()
def test_graphs_compute_what_the_network_does(network: FpnMasks) -> None:
    """Scores everywhere; masks at corners and within, of both heads and all levels."""
    form = dense_fpn_masks(network).main
    canvas = torch.rand(1, 3, 128, 192).double() * 255
    places = [(0, 31, 0), (2, 7, 7), (4, 0, 11), (6, 2, 1), (8, 1, 2), (0, 0, 47)]
    locations = torch.tensor(places + [(g + 1, i, j) for g, i, j in places])
    expected = form.reference(canvas, locations)
    tensors = form.graphs[0].run({"image": canvas})
    for name, value in tensors.items():
        if name in expected:
            torch.testing.assert_close(value, expected[name])
    for index, graph in enumerate(form.graphs[1:]):
        mine = locations[:, 0] % 2 == index
        mask = graph.run({**tensors, "locations": locations[mine]})["mask"]
        torch.testing.assert_close(mask, expected["mask"][mine])


@torch.no_grad()
def test_the_score_of_a_window_is_that_of_its_place(network: FpnMasks) -> None:
    """Training looks at gathered windows only, exported graphs at all of them."""
    pyramid = network.pyramid(torch.rand(2, 3, 128, 128).double() * 255)
    maps = scores_of(network, pyramid.levels)
    rows = [(0, 1, 0, 31), (1, 0, 7, 7), (4, 1, 1, 0)]
    windows = Windows(*torch.tensor(rows).T)
    for index in range(len(network.heads)):
        head = network.head(index)
        found = head.score(network.codes(pyramid, windows, head)).flatten()
        wanted = torch.stack([maps[level][n, index, i, j] for level, n, i, j in rows])
        torch.testing.assert_close(found, wanted)


@torch.no_grad()
def test_what_lies_far_beyond_a_window_does_not_matter(network: FpnMasks) -> None:
    """A picture padded farther gives the same scores away from the border."""
    near = torch.full((1, 3, 128, 320), 127.0).double()
    near[..., :128] = torch.rand(1, 3, 128, 128).double() * 255
    far = torch.full((1, 3, 128, 448), 127.0).double()
    far[..., :320] = near
    one, other = (scores_of(network, network.pyramid(image).levels)[0] for image in (near, far))
    inner = 8  # columns of P2 at the left: P5, which all levels hold, reads some 200 pixels around
    torch.testing.assert_close(one[..., :inner], other[..., :inner], rtol=1e-3, atol=1e-4)


def test_windows_stand_where_training_has_them() -> None:
    grids = describe_fpn_masks(TINY_MASKS).grids
    assert [(g.name, g.stride, g.window, g.channel) for g in grids[:3]] == [
        ("p2x5", 4, 40, 0),
        ("p2x7", 4, 56, 1),
        ("p3x5", 8, 80, 0),
    ]
    assert {g.offset for g in grids} == {0.5}


@pytest.mark.parametrize("heads", [(), (6,), (5, 5)])
def test_heads_that_there_are_not_are_refused(heads: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"it must be some of \(5, 7\), each once"):
        FpnMasksConfig(heads=heads)


@pytest.fixture(scope="module")
def batch(drawn: tuple[Path, Path]) -> MasksBatch:
    """Pictures of two sets: one complete, one partly labelled."""
    return maker(drawn)(2)


def maker(drawn: tuple[Path, Path]) -> Callable[[int], MasksBatch]:
    """Batches of crops that are small enough for tests."""
    found = read_coco(*drawn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CROP", 128)
        return masks_batches(TrainingData(found, [found], seed=1), TINY_MASKS, RECIPE)


def test_a_batch_is_a_function_of_seed_and_step(
    batch: MasksBatch, drawn: tuple[Path, Path]
) -> None:
    make = maker(drawn)
    for name, value in vars(make(2)).items():
        assert torch.equal(value, getattr(batch, name)), name
    assert not torch.equal(make(1).images, batch.images)


def test_only_complete_pictures_teach_the_score(batch: MasksBatch) -> None:
    assert 0 < batch.scored.sum() < len(batch.scored)
    assert (batch.label[~batch.scored] == 1).all()
    assert torch.equal(batch.taught, batch.label.nonzero()[:, 0])
    assert len(batch.share) == len(batch.seen) == len(batch.taught) > 0


def test_every_part_learns_and_losses_fall(batch: MasksBatch) -> None:
    torch.manual_seed(0)
    network = FpnMasks(replace(TINY_MASKS, code=32))
    network.trunk.eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    first: dict[str, float] = {}
    for _ in range(8):
        given = masks_losses(network, batch)
        first = first or {name: float(loss.detach()) for name, loss in given.items()}
        optimiser.zero_grad()
        (given["score"] + 10 * given["mask"]).backward()  # type: ignore[no-untyped-call]
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
        optimiser.step()
    last = masks_losses(network, batch)
    assert all(last[name] < first[name] for name in first)
