"""The network: shapes, that a window reads what lies around its location, gradients."""

from __future__ import annotations

import pytest
import torch

from deepmask.networks.fpn_lite import FpnLite, train_fpn_lite
from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.recipe import FpnLiteRecipe
from deepmask.networks.window_table import Windows
from tests.networks.tiny_fpn import TINY


@pytest.fixture(scope="module")
def network() -> FpnLite:
    """A small network in double precision, its trunk tamed so that features stay near one."""
    torch.manual_seed(0)
    return FpnLite(TINY).double().eval()


def windows(rows: list[tuple[int, int, int, int]]) -> Windows:
    """Level, picture, i, j of each window."""
    return Windows(*torch.tensor(rows).T)


def test_scores_cover_all_locations(network: FpnLite) -> None:
    dense = network.dense(torch.rand(1, 3, 128, 256).double() * 255)
    for maps in (dense.objectness, dense.quality):
        assert [tuple(m.shape) for m in maps] == [
            (1, len(SLOTS), 128 // s, 256 // s) for s in STRIDES
        ]


@pytest.mark.parametrize("slot", [0, 1])
def test_masks_have_the_size_of_their_slot(network: FpnLite, slot: int) -> None:
    dense = network.dense(torch.rand(2, 3, 128, 128).double() * 255)
    chosen = windows([(0, 1, 0, 15), (4, 0, 0, 0), (2, 1, 3, 3)])
    mask, iou = network.masks(dense, chosen, slot, torch.zeros(3, 2).double())
    assert mask.shape == (3, SLOTS[slot].mask, SLOTS[slot].mask)
    assert iou.shape == (3,)


@pytest.mark.parametrize("slot", [0, 1])
def test_a_window_does_not_depend_on_the_others(network: FpnLite, slot: int) -> None:
    dense = network.dense(torch.rand(2, 3, 128, 128).double() * 255)
    rows = [(0, 1, 5, 6), (1, 0, 7, 0), (3, 1, 1, 1)]
    scores = torch.randn(3, 2).double()
    together = network.masks(dense, windows(rows), slot, scores)
    for k, row in enumerate(rows):
        alone = network.masks(dense, windows([row]), slot, scores[k : k + 1])
        torch.testing.assert_close(alone[0][0], together[0][k])
        torch.testing.assert_close(alone[1][0], together[1][k])


def test_pictures_of_a_batch_do_not_mix(network: FpnLite) -> None:
    images = torch.rand(2, 3, 128, 128).double() * 255
    both, second = network.dense(images), network.dense(images[1:])
    score = torch.zeros(1, 2).double()
    a = network.masks(both, windows([(1, 1, 2, 3)]), 0, score)[0]
    b = network.masks(second, windows([(1, 0, 2, 3)]), 0, score)[0]
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("slot", [0, 1])
def test_a_mask_reads_the_region_around_its_location(
    network: FpnLite, level: int, slot: int
) -> None:
    """Fine cells of the window, and no others, reach a mask (the coarse code held fixed)."""
    dense = network.dense(torch.rand(1, 3, 256, 256).double() * 255)
    fine = [(256 // s, 256 // s) for s in (4, 8, 16, 32, 64)]
    assert [*zip(dense.fine_layout.heights, dense.fine_layout.widths, strict=True)] == fine
    i = j = fine[level][0] // 4
    chosen = windows([(level, 0, i, j)])
    numbered = dense._replace(fine=torch.arange(len(dense.fine)).double()[:, None])
    rows = network.fine_cells(numbered, chosen, SLOTS[slot])[0, 0].long()
    layout = dense.fine_layout
    cells = (rows - layout.starts[level]).flatten()
    y = cells // layout.pitches[level] - layout.margin
    x = cells % layout.pitches[level] - layout.margin
    # The window's centre in cells of the finer level is twice the location's, plus a whole cell.
    assert (y.double() + 0.5).mean() == 2 * (i + 0.5)
    assert (x.double() + 0.5).mean() == 2 * (j + 0.5)
    assert int(y.max() - y.min()) + 1 == SLOTS[slot].fine


def test_every_part_learns() -> None:
    torch.manual_seed(0)
    network = FpnLite(TINY)
    dense = network.dense(torch.rand(1, 3, 128, 128) * 255)
    loss = torch.stack([m.sum() for m in (*dense.objectness, *dense.quality)]).sum()
    for slot in range(len(SLOTS)):
        mask, iou = network.masks(
            dense, windows([(level, 0, 0, 0) for level in range(5)]), slot, torch.zeros(5, 2)
        )
        loss = loss + mask.square().sum() + iou.sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, p in network.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name


def test_the_second_look_can_learn_alone() -> None:
    network = FpnLite(TINY)
    (group,) = train_fpn_lite(network, FpnLiteRecipe(second_only=True))
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert len(group.parameters) == len(learning)
    assert {name.split(".")[0] for name in learning} == {"second", "heads"}
    assert all(".outline." in name for name in learning if name.startswith("heads."))


def test_the_first_score_starts_rare(network: FpnLite) -> None:
    dense = network.dense(torch.full((1, 3, 128, 128), 127.0).double())
    chance = torch.cat([torch.sigmoid(m).flatten() for m in dense.objectness])
    assert chance.mean() < 0.05


def test_the_preset_has_its_parameters() -> None:
    with torch.device("meta"):
        network = FpnLite(FpnLiteConfig())
    assert sum(p.numel() for p in network.parameters()) == 9_268_854


def test_a_configuration_rebuilds_the_network(network: FpnLite) -> None:
    again = FpnLite(FpnLiteConfig.from_dict(network.config.to_dict()))
    again.load_state_dict(network.state_dict())
