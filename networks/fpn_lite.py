"""`fpn-lite`: ranked class-agnostic masks from one look at a picture, light enough for a CPU.

Dense, once a picture: trunk, feature pyramid, two scores for each window (is it an object's; how
well does it sit) and the tables that windows read. For the best windows only: a code from coarse
context, a mask from the next finer level, and a second look that predicts the mask's IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.depthwise import speed_up
from deepmask.networks.efficientnet_lite import EfficientNetLite
from deepmask.networks.feature_pyramid import FeaturePyramid, start_readers
from deepmask.networks.levels import SLOTS, Slot
from deepmask.networks.network import Network, ParameterGroup, train_everything
from deepmask.networks.whole.config import FpnLiteConfig
from deepmask.networks.whole.recipe import FpnLiteRecipe
from deepmask.networks.window_table import (
    Layout,
    Windows,
    gather_windows,
    layout_of,
    table_of,
)

#: Chance of an object at the start of training (thesis §5: focal loss is stable with it).
PRIOR = 0.01
#: Zero cells around the tables: windows of locations at the border reach so far beyond it.
CONTEXT_MARGIN = max(s.context for s in SLOTS) // 2
FINE_MARGIN = max(s.fine for s in SLOTS) // 2
#: Standard deviation of Lite2's published maps at strides 4, 8, 16 and 32 on photographs. Lateral
#: weights start divided by it, so that all levels start alike: heads are shared over levels.
TRUNK_DEVIATION = (8.8, 8.8, 6.0, 2.1)


class Dense(NamedTuple):
    """What one pass over the canvas gives."""

    #: (N, 2, h, w) logits for each level: is the window of each slot an object's.
    objectness: list[Tensor]
    #: (N, 2, h, w) logits for each level: how well the window sits on the object it is nearest to.
    quality: list[Tensor]
    #: (rows, context) and (rows, fine): see `window_table`.
    context: Tensor
    fine: Tensor
    context_layout: Layout
    fine_layout: Layout


class Features(NamedTuple):
    """What the trunk and the pyramid make of the canvas."""

    #: (N, C, H/s, W/s) each: the trunk's at strides 4, 8, 16 and 32.
    trunk: Sequence[Tensor]
    #: (N, width, H/s, W/s) each: the pyramid's at strides 8 to 128.
    levels: list[Tensor]


class SlotHead(nn.Module):
    """What depends on a slot's window size: context to code, code to a coarse plan of the mask."""

    def __init__(self, slot: Slot, config: FpnLiteConfig) -> None:
        """Random weights."""
        super().__init__()
        self.slot = slot
        self.encode = nn.Linear(config.context * slot.context**2, config.code)
        self.plan = nn.Linear(config.code, config.fine * (slot.fine // 2) ** 2)
        self.outline = nn.Linear((slot.fine // 2) ** 2, config.second)
        self.mask = nn.Conv2d(config.last, slot.samples**2, 1)

    def code(self, context: Tensor) -> Tensor:
        """(K, context, n, n) → (K, code)."""
        # Channels last is how the gather leaves them: the flattening then copies nothing.
        return torch.relu(self.encode(context.permute(0, 2, 3, 1).flatten(1)))

    def planned(self, code: Tensor) -> Tensor:
        """(K, code) → (K, fine, m, m) with m = slot.fine, each value on 2×2 cells."""
        half = self.slot.fine // 2
        plan = self.plan(code).unflatten(1, (half, half, -1)).permute(0, 3, 1, 2)
        return F.interpolate(plan, scale_factor=2.0, mode="nearest")


class SecondLook(nn.Module):
    """Predicts a mask's IoU with the object it means, from features under and around it."""

    def __init__(self, config: FpnLiteConfig) -> None:
        """Random weights; starts by predicting an IoU of one half everywhere."""
        super().__init__()
        self.code = nn.Linear(config.code, config.second)
        self.pooled = nn.Linear(2 * config.fine + 2 * config.last + 3, config.second)
        self.hidden = nn.Linear(config.second, config.second)
        self.iou = nn.Linear(config.second, 1)

    def forward(
        self, code: Tensor, fine: Tensor, last: Tensor, mask: Tensor, scores: Tensor, head: SlotHead
    ) -> Tensor:
        """Return (K,) logits of the IoU.

        `code` (K, code); `fine` (K, fine, m, m) and `last` (K, last, m, m) maps under the window;
        `mask` (K, M, M) logits, M the slot's; `scores` (K, 2) first logits, objectness and quality.
        """
        chance = torch.sigmoid(mask)
        inside = F.avg_pool2d(chance[:, None], head.slot.samples)
        pools = [_mean_where(x, w) for x in (fine, last) for w in (inside, 1 - inside)]
        # How sure the mask is of itself: 1 where every pixel is 0 or 1.
        sure = (2 * chance - 1).abs().flatten(1).mean(1, keepdim=True)
        outline = F.avg_pool2d(inside, 2).flatten(1) * 2 - 1
        x = self.code(code) + self.pooled(torch.cat([*pools, sure, 0.25 * scores], 1))
        x = torch.relu(x + head.outline(outline))
        iou: Tensor = self.iou(torch.relu(self.hidden(x)))
        return iou[:, 0]


def _mean_where(x: Tensor, weight: Tensor) -> Tensor:
    """(K, C, m, m) averaged with weights (K, 1, m, m) ≥ 0 → (K, C)."""
    return (x * weight).sum((2, 3)) / (weight.sum((2, 3)) + 1.0)


class FpnLite(Network):
    """The network. `dense` once a picture, `masks` for chosen windows of one slot."""

    config: FpnLiteConfig

    def __init__(self, config: FpnLiteConfig) -> None:
        """Random weights."""
        super().__init__()
        self.config = config
        self.trunk = EfficientNetLite(int(config.trunk[-1]))
        self.pyramid = FeaturePyramid(self.trunk.widths[1:], config.width)
        self.tower = nn.ModuleList(
            nn.Conv2d(config.width, config.width, 3, padding=1) for _ in range(2)
        )
        self.score = nn.Conv2d(config.width, 2 * len(SLOTS), 1)
        self.context = nn.Conv2d(config.width, config.context, 1)
        self.fine = nn.Conv2d(config.width, config.fine, 3, padding=1)
        # Stride 4 has no pyramid level of its own: a thin one, for the finest windows' masks only.
        self.finest_lateral = nn.Conv2d(self.trunk.widths[0], config.fine, 1)
        self.finest_above = nn.Conv2d(config.width, config.fine, 1)
        self.finest = nn.Conv2d(config.fine, config.fine, 3, padding=1)
        # What a fine cell holds in detail: four cells of the map below it.
        self.detail = nn.Conv2d(config.width, config.fine, 2, 2)
        self.finest_detail = nn.Conv2d(config.fine, config.fine, 2, 2)
        self.heads = nn.ModuleList(SlotHead(slot, config) for slot in SLOTS)
        self.refine = nn.ModuleList(
            [
                nn.Conv2d(config.fine, config.fine, 3, padding=1),
                nn.Conv2d(config.fine, config.last, 3, padding=1),
            ]
        )
        self.second = SecondLook(config)
        self._start()

    def pretrained_part(self) -> EfficientNetLite:
        return self.trunk

    def compile_parts(self) -> None:
        self.trunk.compile()
        self.pyramid.compile()

    def _start(self) -> None:
        """Draw weights for a network without normalisation layers; the first score starts rare."""
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and not name.startswith("trunk."):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        start_readers([self.finest_lateral], TRUNK_DEVIATION[:1])
        self.pyramid.start(TRUNK_DEVIATION[1:])
        quiet: list[nn.Conv2d | nn.Linear] = [self.score, self.second.iou]
        quiet += [head.mask for head in self.heads if isinstance(head, SlotHead)]
        for layer in quiet:
            nn.init.normal_(layer.weight, std=0.01)
        for added in (self.detail, self.finest_detail):
            nn.init.zeros_(added.weight)
        with torch.no_grad():
            assert self.score.bias is not None
            self.score.bias[: len(SLOTS)] = torch.logit(torch.tensor(PRIOR))

    def dense(self, image: Tensor) -> Dense:
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 128 → scores and tables."""
        return self.read(self.features(image))

    def features(self, image: Tensor) -> Features:
        """(N, 3, H, W) RGB in 0…255, H and W multiples of 128 → maps of trunk and pyramid."""
        maps = self.trunk(image)
        return Features(maps, self.pyramid(maps[1:]))

    def read(self, features: Features) -> Dense:
        """Return scores and tables."""
        levels = features.levels
        logits = [self.score(self._towered(p)) for p in levels]
        fine = self._fine_maps(features.trunk[0], levels)
        context = [torch.relu(self.context(p)) for p in levels]
        slots = len(SLOTS)
        return Dense(
            [x[:, :slots] for x in logits],
            [x[:, slots:] for x in logits],
            table_of(context, CONTEXT_MARGIN),
            table_of(fine, FINE_MARGIN),
            layout_of(context, CONTEXT_MARGIN),
            layout_of(fine, FINE_MARGIN),
        )

    def _fine_maps(self, c2: Tensor, levels: list[Tensor]) -> list[Tensor]:
        """Make what masks are drawn from: maps at strides 4 to 64, with detail from below each."""
        above = F.interpolate(self.finest_above(levels[0]), scale_factor=2.0, mode="nearest")
        finest = torch.relu(self.finest_lateral(c2) + above)
        maps = [self.finest(finest), self.fine(levels[0]) + self.finest_detail(finest)]
        for below, level in pairwise(levels[:-1]):
            maps.append(self.fine(level) + self.detail(below))
        return maps

    def _towered(self, level: Tensor) -> Tensor:
        for conv in self.tower:
            level = torch.relu(conv(level))
        return level

    def masks(
        self, dense: Dense, windows: Windows, slot: int, scores: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make masks of chosen windows of one slot, and look at them again.

        `scores` (K, 2): the windows' first logits. Returns mask logits (K, M, M), M the slot's
        samples a side, and logits of their IoU (K,).
        """
        head = self.heads[slot]
        assert isinstance(head, SlotHead)
        code = head.code(self.context_cells(dense, windows, head.slot))
        fine = self.fine_cells(dense, windows, head.slot)
        mask, last = self.draw(code, fine, head)
        return mask, self.second(code, fine, last, mask, scores, head)

    def draw(self, code: Tensor, fine: Tensor, head: SlotHead) -> tuple[Tensor, Tensor]:
        """(K, code), (K, fine, m, m) → mask logits (K, M, M), the map before (K, last, m, m)."""
        x = torch.relu(fine + head.planned(code))
        for conv in self.refine:
            x = torch.relu(conv(x))
        return F.pixel_shuffle(head.mask(x), head.slot.samples)[:, 0], x

    def context_cells(self, dense: Dense, windows: Windows, slot: Slot) -> Tensor:
        """Cells of the windows' own levels, the location in the middle: (K, context, n, n)."""
        half = slot.context // 2
        first, pitch = dense.context_layout.cell(
            windows.level, windows.picture, windows.i - half, windows.j - half
        )
        return gather_windows(dense.context, first, pitch, slot.context)

    def fine_cells(self, dense: Dense, windows: Windows, slot: Slot) -> Tensor:
        """Cells of the next finer levels, the location a corner in the middle: (K, fine, m, m)."""
        half = slot.fine // 2
        first, pitch = dense.fine_layout.cell(
            windows.level, windows.picture, 2 * windows.i + 1 - half, 2 * windows.j + 1 - half
        )
        return gather_windows(dense.fine, first, pitch, slot.fine)


def train_fpn_lite(network: FpnLite, recipe: FpnLiteRecipe) -> list[ParameterGroup]:
    """Put a network in training mode; return its parameters in groups of one learning rate.

    The stem stays as published. Layers that read thousands of values learn slowly: Adam moves an
    output by the learning rate times the sum of its inputs.
    """
    train_everything(network, recipe)
    if recipe.second_only:
        network.requires_grad_(False)
        for module in (network.second, *(head.outline for head in network.heads)):
            module.requires_grad_(True)
        return [ParameterGroup([p for p in network.parameters() if p.requires_grad])]
    if recipe.freeze_stem:
        for parameter in network.trunk.stem_parameters():
            parameter.requires_grad_(False)
    if recipe.fast_depthwise:
        speed_up(network.trunk)
    groups: dict[float, list[nn.Parameter]] = {recipe.trunk_lr: [], 0.25: [], 1.0: []}
    for name, parameter in network.named_parameters():
        wide = ".encode." in name
        factor = recipe.trunk_lr if name.startswith("trunk.") else 0.25 if wide else 1.0
        if parameter.requires_grad:
            groups[factor].append(parameter)
    return [ParameterGroup(found, factor) for factor, found in groups.items()]
