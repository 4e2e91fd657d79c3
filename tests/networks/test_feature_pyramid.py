"""The pyramid's maps: sizes, equations of §4.3, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from deepmask.networks.feature_pyramid import FeaturePyramid, ProposalPyramid, RetinaPyramid


def maps(height: int, width: int, widths: tuple[int, ...] = (5, 6, 7)) -> list[torch.Tensor]:
    """Random trunk maps of a canvas."""
    return [
        torch.randn(2, w, height // s, width // s) for w, s in zip(widths, (8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(("height", "width"), [(128, 128), (256, 384)])
def test_levels_have_strides_8_to_128(height: int, width: int) -> None:
    levels = FeaturePyramid((5, 6, 7), 4)(maps(height, width))
    assert [tuple(p.shape) for p in levels] == [
        (2, 4, height // s, width // s) for s in (8, 16, 32, 64, 128)
    ]


def test_a_merged_map_is_lateral_plus_upsampled() -> None:
    pyramid = FeaturePyramid((5, 6, 7), 4)
    c3, c4, c5 = maps(128, 256)
    above = pyramid.lateral[2](c5)
    for lateral, merge, bottom_up, level in zip(
        (pyramid.lateral[1], pyramid.lateral[0]),
        (pyramid.merge[1], pyramid.merge[0]),
        (c4, c3),
        (1, 0),
        strict=True,
    ):
        above = lateral(bottom_up) + above.repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = F.relu(merge(above))
        torch.testing.assert_close(pyramid([c3, c4, c5])[level], expected)


def test_coarse_levels_are_centred() -> None:
    """Mirrored maps give mirrored levels when the kernels are mirrored: no half-cell drift."""
    pyramid = FeaturePyramid((5, 6, 7), 4)
    mirrored = FeaturePyramid((5, 6, 7), 4)
    mirrored.load_state_dict(
        {k: v.flip(-1) if v.dim() == 4 else v for k, v in pyramid.state_dict().items()}
    )
    given = maps(128, 256)
    for p, q in zip(pyramid(given), mirrored([m.flip(3) for m in given]), strict=True):
        torch.testing.assert_close(p, q.flip(3), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient() -> None:
    torch.manual_seed(0)  # by chance a unit of so few may be dead
    pyramid = FeaturePyramid((5, 6, 7), 8)
    torch.stack([p.square().sum() for p in pyramid(maps(128, 128))]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pyramid.parameters())


def test_p6_of_proposals_is_every_second_cell_of_p5() -> None:
    pyramid = ProposalPyramid((3, 5, 6, 7), 4)
    given = [torch.randn(2, 3, 32, 64), *maps(128, 256)]
    levels = pyramid(given)
    assert [tuple(p.shape) for p in levels] == [
        (2, 4, 128 // s, 256 // s) for s in (4, 8, 16, 32, 64)
    ]
    assert torch.equal(levels[4], levels[3][:, :, ::2, ::2])


def test_p6_and_p7_of_retinanet_are_convolutions_of_the_trunks_last_map() -> None:
    pyramid = RetinaPyramid((5, 6, 7), 4)
    given = maps(128, 256)
    *_, p6, p7 = pyramid(given)
    assert (p6.shape, p7.shape) == ((2, 4, 2, 4), (2, 4, 1, 2))
    torch.testing.assert_close(p6, pyramid.down[0](given[2]))
    torch.testing.assert_close(p7, pyramid.down[1](F.relu(p6)))
