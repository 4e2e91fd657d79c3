"""Batches and their losses: repeatable, consistent, and a network learns from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from deepmask.networks.fpn_lite import FpnLite
from deepmask.networks.levels import SLOTS, STRIDES
from deepmask.networks.whole.batch import Batch, make_batch
from deepmask.networks.whole.coverage import mask_targets
from deepmask.networks.whole.look import Framing, Labelled, Picture, look
from deepmask.networks.whole.objective import losses, propose, weights
from deepmask.networks.whole.recipe import FpnLiteRecipe
from tests.networks.tiny_fpn import TINY

FRAMING = Framing((128, 128), (-3.0, -2.0), 0.5)
WEIGHTS = weights(FpnLiteRecipe())


def picture(seed: int, complete: bool = True, objects: int = 3) -> Picture:
    """White rectangles on a gray picture."""
    rng = np.random.default_rng(seed)
    image = np.full((150, 200, 3), 90, np.uint8)
    things = []
    for _ in range(objects):
        x, y = (int(v) for v in rng.integers(0, (150, 100)))
        w, h = (int(v) for v in rng.integers(20, 50, 2))
        image[y : y + h, x : x + w] = 250
        outline = [float(v) for v in (x, y, x + w, y, x + w, y + h, x, y + h)]
        things.append(Labelled((x, y, w, h), [outline], float(w * h)))
    return Picture(lambda: image, 150, 200, things, [(0.0, 0.0, 30.0, 30.0)], complete)


def pictures() -> list[Picture]:
    """Complete and partly labelled ones."""
    return [picture(n, complete=n % 3 > 0) for n in range(6)]


def batch_of(found: list[Picture], seed: int) -> Batch:
    """A batch of the first three pictures."""
    generators = [np.random.default_rng((seed, k)) for k in range(3)]
    looks = [look(p, FRAMING, rng) for p, rng in zip(found[:3], generators, strict=True)]
    return make_batch(looks, generators)


def tensors(batch: Batch) -> list[torch.Tensor]:
    """All tensors of a batch."""
    flat: list[torch.Tensor] = []
    for value in vars(batch).values():
        for part in value if isinstance(value, list) else [value]:
            flat += part if isinstance(part, list) else [part]
    return flat


def test_a_batch_is_a_function_of_its_generators() -> None:
    a, b = (batch_of(pictures(), 7) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
    c = batch_of(pictures(), 8)
    assert not torch.equal(a.images, c.images)


def test_windows_index_the_objects_of_their_pictures() -> None:
    batch = batch_of(pictures(), 0)
    assert len(batch.windows)
    assert torch.equal(batch.picture[batch.windows[:, 5]], batch.windows[:, 0])
    for row in batch.windows.tolist():
        of, slot, level, i, j, thing = row
        assert batch.owned[level][of, slot, i, j]
        at = [torch.tensor([v]) for v in (thing, i, j)]
        share, _ = mask_targets(batch.maps[level][slot], at[0], slot, at[1], at[2])
        middle = SLOTS[slot].mask // 4
        assert share[0, middle:-middle, middle:-middle].sum() > 0, "the object lies in the middle"


def test_no_window_of_a_partly_labelled_picture_is_background() -> None:
    batch = batch_of(pictures(), 3)
    for label in batch.label:
        assert (label[~batch.complete] != 0).all()
        assert (label[batch.complete] == 0).any() or label.shape[2] == 1


def test_a_speck_of_an_object_is_not_background() -> None:
    speck = Labelled((100.0, 75.0, 4.0, 4.0), [[100.0, 75.0, 104.0, 75.0, 102.0, 79.0]], 8.0)
    only = [replace(p, objects=[speck], crowds=[], complete=True) for p in pictures()]
    batch = batch_of(only, 0)
    assert len(batch.picture) == 0
    assert len(batch.crowds) == 3
    for of, x0, y0, x1, y1 in batch.crowds.tolist():
        y, x = int((y0 + y1) / 2) // 8, int((x0 + x1) / 2) // 8
        assert (batch.label[0][int(of), :, y, x] == -1).all()


@pytest.fixture
def network() -> Callable[[], FpnLite]:
    """Build the same small network each time."""

    def build() -> FpnLite:
        torch.manual_seed(0)
        return FpnLite(TINY)

    return build


def test_losses_have_names_weights_and_gradients(network: FpnLite) -> None:
    net = network()
    given = losses(net, batch_of(pictures(), 0))
    assert set(given) == set(WEIGHTS)
    torch.stack([WEIGHTS[k] * v for k, v in given.items()]).sum().backward()  # type: ignore[no-untyped-call]
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name


def test_a_batch_without_objects_has_losses(network: FpnLite) -> None:
    empty = [replace(p, objects=[]) for p in pictures()]
    given = losses(network(), batch_of(empty, 0))
    assert all(torch.isfinite(v) for v in given.values())
    assert given["mask"] == 0


def test_proposals_lie_in_complete_pictures_and_not_in_crowds(network: FpnLite) -> None:
    batch = batch_of(pictures(), 3)
    dense = network().dense(batch.images.permute(0, 3, 1, 2).float())
    rows = propose(dense, batch)
    assert batch.complete[rows[:, 0]].all()
    stride = torch.tensor(STRIDES)[rows[:, 2]]
    for of, x0, y0, x1, y1 in batch.crowds.tolist():
        y, x = ((rows[:, k] + 0.5) * stride for k in (3, 4))
        inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        assert not (inside & (rows[:, 0] == of)).any()


@pytest.mark.parametrize("name", ["objectness", "quality", "mask", "second"])
def test_a_few_small_steps_lower_each_loss(network: FpnLite, name: str) -> None:
    net = network()
    batch = batch_of(pictures(), 1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-5)
    found = []
    for _ in range(4):
        loss = losses(net, batch)[name]
        found.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert found[-1] < found[0]
