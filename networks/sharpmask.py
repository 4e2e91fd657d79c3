"""SharpMask: a DeepMask with a refinement on top, which is trained in a second stage.

Refinement goes from a window's code top-down through the trunk's maps (thesis §3.3).

With F^i the trunk's last map at stride s_i = stride / 2^(i-1), cut to the window, and k_i channels
of the mask encoding M^i, whose side is patch / s_i:

    M^1     = linear(code)                                          k_1 × cells × cells
    S^i     = relu(narrow(relu(reduce(F^i))))                       skip features, k_i channels
    R^i     = relu(conv([M^i, S^i])) = relu(mask(M^i) + skip(S^i))  k_(i+1) channels
    M^(i+1) = R^i, each value repeated 2×2                          until the side is `sharp_size`
    logits  = predict(M^(n+1))                                      1 channel

All of them are 3×3 convolutions. The second form of R^i is that of figure 3.7(b): `skip(S^i)` does
not depend on the window, so one dense map per level serves every window of a picture. Training has
the same form: the skip side convolves the patch with its context and is cropped to the window
afterwards; the mask side pads at the window's edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepmask.networks.config import TRUNK_STAGES
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.heads import LowRankMaskHead
from deepmask.networks.network import Network, ParameterGroup
from deepmask.networks.patches.config import SharpMaskConfig
from deepmask.networks.patches.recipe import SharpMaskRecipe
from deepmask.networks.trunks import PADDING_MODES, PaddingMode


class SkipPath(nn.Module):
    """The side of R^i that all windows share: (N, width, h, w) → (N, k_(i+1), h, w)."""

    def __init__(self, width: int, reduced: int, k: int, k_next: int, mode: PaddingMode) -> None:
        """`width` channels of F^i are reduced to `reduced`, then to k_i = `k`."""
        super().__init__()
        self.reduce = nn.Conv2d(width, reduced, 3, padding=1, padding_mode=mode)
        self.narrow = nn.Conv2d(reduced, k, 3, padding=1, padding_mode=mode)
        self.join = nn.Conv2d(k, k_next, 3, padding=1, padding_mode=mode)

    def forward(self, features: Tensor) -> Tensor:
        """Return skip(S^i), with the bias of R^i."""
        joined: Tensor = self.join(torch.relu(self.narrow(torch.relu(self.reduce(features)))))
        return joined


class Refinement(nn.Module):
    """All refinement modules of a network; levels run from the coarsest, the trunk's features."""

    def __init__(self, config: SharpMaskConfig) -> None:
        super().__init__()
        mode = PADDING_MODES[config.padding]
        widths, stages = config.refine_widths, TRUNK_STAGES[config.trunk][::-1]
        self.cells = config.cells
        self.sharp_size = config.sharp_size
        self.encode = nn.Linear(config.rank, widths[0] * config.cells**2)
        self.skips = nn.ModuleList(
            SkipPath(stage, reduced, k, k_next, mode)
            for stage, reduced, (k, k_next) in zip(
                stages, config.skip_widths, pairwise(widths), strict=False
            )
        )
        self.joins = nn.ModuleList(
            nn.Conv2d(k, k_next, 3, padding=1, bias=False, padding_mode=mode)
            for k, k_next in pairwise(widths)
        )
        self.predict = nn.Conv2d(widths[-1], 1, 3, padding=1, padding_mode=mode)

    @torch.no_grad()
    def start_from(self, mask_head: LowRankMaskHead) -> None:
        """Let the sharp mask be that of `mask_head`, averaged over feature cells and interpolated.

        Two channels of every encoding carry its positive and its negative part, so that the ReLUs
        on the way change nothing; the others stay as random as they were. On 256 patches of COCO,
        the mean IoU after 150 batches of 16 was 0.41 from random masks and 0.51 from here.
        """
        size, count = mask_head.mask_size, self.cells**2
        for values, coarse in (
            (self.encode.weight, mask_head.classify.weight),
            (self.encode.bias, mask_head.classify.bias),
        ):
            maps = coarse.view(1, size, size, -1).permute(0, 3, 1, 2)
            averages = functional.interpolate(maps, self.cells, mode="area")[0].flatten(1).T
            values[:count] = averages.reshape(values[:count].shape)
            values[count : 2 * count] = -values[:count]
        same = torch.zeros(3, 3)
        same[1, 1] = 1
        tent = torch.tensor((0.25, 0.5, 0.25))
        between = tent.outer(tent)  # after values were repeated 2×2: bilinear interpolation
        for level, (join, skip) in enumerate(zip(self.joins, self.skips, strict=True)):
            assert isinstance(join, nn.Conv2d)  # as __init__ made them
            assert isinstance(skip, SkipPath)
            for weights in (*join.parameters(), *skip.join.parameters()):
                weights[:2] = 0
            for channel in (0, 1):
                join.weight[channel, channel] = between if level else same
        for weights in self.predict.parameters():
            weights.zero_()
        self.predict.weight[0, 0] = same
        self.predict.weight[0, 1] = -same

    def shared(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """skip(S^i) of each level, over whole maps: what all windows of a picture share.

        stages: the trunk's maps at strides 2, 4, …, (N, C_i, H/s_i, W/s_i). Returns
        (N, k_(i+1), H/s_i, W/s_i) from the coarsest level on.
        """
        return [skip(stage) for skip, stage in zip(self.skips, reversed(stages), strict=False)]

    def forward(self, code: Tensor, shared: Sequence[Tensor]) -> Tensor:
        """(N, rank) codes of windows → (N, sharp_size, sharp_size) logits.

        shared: each level's map of those windows, (N, k_(i+1), patch/s_i, patch/s_i).
        """
        x: Tensor = self.encode(code).view(len(code), -1, self.cells, self.cells)
        for join, skip in zip(self.joins, shared, strict=True):
            x = torch.relu(join(x) + skip)
            if x.shape[-1] < self.sharp_size:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        mask: Tensor = self.predict(x)
        return mask.squeeze(1)


class SharpMaskNetwork(DeepMaskNetwork):
    """A network with two masks of a window: the mask head's, coarse and cheap, and the refined one.

    Refinement and score do not depend on each other.
    """

    config: SharpMaskConfig
    mask_head: LowRankMaskHead
    refine: Refinement

    def __init__(self, config: SharpMaskConfig) -> None:
        super().__init__(config)
        self.refine = Refinement(config)

    def masks(self, stages: Sequence[Tensor]) -> Tensor:
        """The trunk's maps of N patches with context → (N, S, S) logits, S `sharp_size`."""
        shared = [self.inner(one) for one in self.refine.shared(stages)]
        masks: Tensor = self.refine(self.mask_head.code(self.inner(stages[-1])), shared)
        return masks


def train_refinement(network: SharpMaskNetwork, recipe: SharpMaskRecipe) -> list[ParameterGroup]:
    """Put the refinement in training mode; all else was trained before and stays (thesis §3.3)."""
    network.eval().requires_grad_(False)
    network.refine.train().requires_grad_(True)
    return [ParameterGroup(list(network.refine.parameters()))]


def start_from(network: SharpMaskNetwork, base: Network) -> None:
    """Copy the trained DeepMask `base`, and let the sharp masks be its masks, interpolated."""
    network.load_state_dict({**network.state_dict(), **base.state_dict()})
    network.refine.start_from(network.mask_head)
