"""Refinement in its shared form: skip maps once a picture, masks window by window (thesis §3.3).

Figure 3.7(b): what the skip features add to each module does not depend on the window, so the trunk
graph computes it once over the whole picture, and only the mask's own path runs for each window.
That path is the network's, rearranged exactly, at the window's edges too:

- The first module's convolution and the linear layer before it are one linear layer.
- A 3×3 convolution behind a 2× upsampling by repetition is one of four times the channels before
  it: each of a value's 2×2 copies has kernels of its own, sums of the original's. Zeros around the
  large map are zeros around the small one, and the large map's reflection is the small one's edge.
- The largest map is never laid out: its 2×2 phases stay channels of the map at half its side, for
  the last module and for the prediction behind it.

One AVX-512 core took 0.28 s for 1000 masks of 160 px so, and 0.66 s in the network's own form.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepmask.networks.dense.mask import CodeMaskGraph, WindowMaskGraph, cell_offsets, window_cells
from deepmask.networks.dense.trunk import Normalisation
from deepmask.networks.sharpmask import Refinement, SharpMaskNetwork
from deepmask.networks.trunks import PaddingMode

#: Which samples of the small map the taps of a 3-wide kernel fall on, for both copies of a value:
#: (copy, small sample −1 … 1, tap).
_TAPS = ([[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]])

#: Where the taps of a 3-wide kernel fall among a map's phases, the even samples and the odd ones:
#: (phase of the result, phase of the sample, its place −1 … 1 in the phase, tap).
_PHASE_TAPS = (
    ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 1], [0, 0, 0]]),
    ([[0, 0, 0], [1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
)


class SkipTrunkGraph(Normalisation):
    """image (1, 3, H, W) RGB 0…255 → features (1, C, h, w), skips (1, h, w, S).

    skips holds cell by cell what each module's map has there, one module after the other, coarsest
    first: (k, r, r) values of k channels where the map has r×r samples a cell; those of the largest
    map, if its phases stay apart, as (4·k, r/2, r/2). A window then is a few rows of contiguous
    values.
    """

    def __init__(self, model: SharpMaskNetwork) -> None:
        """`model` is in evaluation mode."""
        super().__init__(model)
        self.trunk = model.trunk
        self.refine = model.refine

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        stages = self.trunk.stages(self.normalised(image))
        shared = self.refine.shared(stages)
        ratios = [1 << level for level in range(len(shared))]
        if stays_apart(self.refine):
            shared[-1], ratios[-1] = F.pixel_unshuffle(shared[-1], 2), ratios[-1] // 2
        return stages[-1], torch.cat(list(map(folded, shared, ratios)), dim=3)


class RefinedMaskGraph(nn.Module):
    """code or features, skips (1, h, w, S), locations → mask (N, sharp_size, sharp_size) logits."""

    offsets: Tensor
    widths: list[int]

    def __init__(
        self, coarse: CodeMaskGraph | WindowMaskGraph, refine: Refinement, margin: int
    ) -> None:
        """`coarse` has the codes of the windows, `margin` cells lie around them."""
        super().__init__()
        self.coarse = coarse
        self.cells = refine.cells
        joins = [join for join in refine.joins if isinstance(join, nn.Conv2d)]  # which is all
        self.widths = [join.out_channels for join in joins]
        self.encode = joined_linear(refine.encode, joins[0], self.cells)
        self.doubled = nn.ModuleList(map(doubled, joins[1:]))
        self.ratios = [1 << level for level in range(len(self.widths))]
        self.apart = stays_apart(refine)
        if self.apart:
            self.widths[-1], self.ratios[-1] = 4 * self.widths[-1], self.ratios[-1] // 2
            self.predict = in_phases(refine.predict)
        else:
            self.predict = doubled(refine.predict)
        self.register_buffer("offsets", cell_offsets(self.cells, margin))

    def forward(self, start: Tensor, skips: Tensor, locations: Tensor) -> Tensor:
        first, *others = self._windows(skips, locations)
        code = self.coarse.codes(start, locations)
        x = self.encode(code).view(-1, self.widths[0], self.cells, self.cells)
        x = torch.relu(x + first)
        for level, (join, skip) in enumerate(zip(self.doubled, others, strict=True), start=1):
            x = join(x)
            if not (self.apart and level == len(self.doubled)):
                x = F.pixel_shuffle(x, 2)
            x = torch.relu(x + skip)
        return F.pixel_shuffle(self.predict(x), 2).squeeze(1)

    def _windows(self, skips: Tensor, locations: Tensor) -> list[Tensor]:
        cells = window_cells(skips, locations, self.offsets)
        sizes = [width * ratio**2 for width, ratio in zip(self.widths, self.ratios, strict=True)]
        parts = torch.split(cells, sizes, dim=1)
        return list(map(self._unfolded, parts, self.widths, self.ratios))

    def _unfolded(self, cells: Tensor, width: int, ratio: int) -> Tensor:
        """(N·cells², k·r·r) → (N, k, cells·r, cells·r)."""
        side = self.cells * ratio
        parts = cells.view(-1, self.cells, self.cells, width, ratio, ratio)
        return parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, width, side, side)


def stays_apart(refine: Refinement) -> bool:
    """Return whether the last module's map has the mask's size and comes from one of half of it."""
    return refine.cells << (len(refine.joins) - 1) == refine.sharp_size


def folded(maps: Tensor, ratio: int) -> Tensor:
    """Put the r×r samples of each cell side by side: (1, k, h·r, w·r) → (1, h, w, k·r·r)."""
    _, width, height, breadth = maps.shape
    parts = maps.view(width, height // ratio, ratio, breadth // ratio, ratio)
    return parts.permute(1, 3, 0, 2, 4).flatten(2).unsqueeze(0)


def joined_linear(encode: nn.Linear, join: nn.Conv2d, cells: int) -> nn.Linear:
    """Return a linear layer to (k, cells, cells) and the convolution behind it as one layer."""
    channels = encode.out_features // cells**2
    maps = encode.weight.detach().T.reshape(-1, channels, cells, cells)
    bias = encode.bias.detach().view(1, channels, cells, cells)
    wide = copy.deepcopy(join).double().requires_grad_(False)  # without a bias, as all joins
    weight = wide(maps.double()).flatten(1).T.float().contiguous()
    joined = nn.Linear(encode.in_features, len(weight), device="meta")
    joined.weight = nn.Parameter(weight)
    joined.bias = nn.Parameter(wide(bias.double()).flatten().float())
    return joined.requires_grad_(False)


def doubled(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a 3×3 convolution behind a 2× repetition as one before a pixel shuffle."""
    taps = torch.tensor(_TAPS, dtype=torch.float64)
    weight = conv.weight.detach().double()
    phases = torch.einsum("oiyx,pay,qbx->opqiab", weight, taps, taps)
    return _to_phases(conv, phases.flatten(0, 2))


def in_phases(conv: nn.Conv2d) -> nn.Conv2d:
    """Return a 3×3 convolution of a map as one from its 2×2 phases to those of the result.

    Phases are channels in the order of a pixel shuffle.
    """
    taps = torch.tensor(_PHASE_TAPS, dtype=torch.float64)
    weight = conv.weight.detach().double()
    phases = torch.einsum("oiyx,pray,qsbx->opqirsab", weight, taps, taps)
    return _to_phases(conv, phases.flatten(3, 5).flatten(0, 2))


def _to_phases(conv: nn.Conv2d, weight: Tensor) -> nn.Conv2d:
    padding: PaddingMode = "zeros" if conv.padding_mode == "zeros" else "replicate"
    outputs, inputs = weight.shape[:2]
    made = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode=padding, device="meta")
    made.weight = nn.Parameter(weight.float().contiguous())
    made.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().repeat_interleave(4))
    return made.requires_grad_(False)
