"""Maps of several levels as one table of cells, so that windows of all levels gather at once.

Every level is padded with zeros and flattened to rows of channels; the rows of all levels and
pictures lie behind each other. A window is then n×n rows: `first + r·pitch + c`. In ONNX this is a
Transpose, a Reshape and a Gather, whatever level the window belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Windows(NamedTuple):
    """Windows of one size: level, picture of the batch, and location. (K,) int64 each."""

    level: Tensor
    picture: Tensor
    i: Tensor
    j: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the levels lie in a table. Sizes in cells, before padding."""

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    #: Zero cells on each side of every level.
    margin: int
    #: Pictures in the batch.
    batch: int

    @property
    def pitches(self) -> tuple[int, ...]:
        """Rows of the table from one row of cells to the next, for each level."""
        return tuple(w + 2 * self.margin for w in self.widths)

    @property
    def areas(self) -> tuple[int, ...]:
        """Rows of the table that one picture takes, for each level."""
        return tuple(
            (h + 2 * self.margin) * p for h, p in zip(self.heights, self.pitches, strict=True)
        )

    @property
    def starts(self) -> tuple[int, ...]:
        """First row of each level."""
        rows = [0]
        for area in self.areas:
            rows.append(rows[-1] + self.batch * area)
        return tuple(rows[:-1])

    def cell(self, level: Tensor, picture: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
        """Find the rows of cells (i, j), which may lie in the margin, and their levels' pitches.

        All int64 and of one shape.
        """
        starts, areas, pitches = (
            torch.tensor(t, device=level.device)[level]
            for t in (self.starts, self.areas, self.pitches)
        )
        return starts + picture * areas + (i + self.margin) * pitches + j + self.margin, pitches


def layout_of(maps: Sequence[Tensor], margin: int) -> Layout:
    """Describe the table of `maps`, (N, C, h, w) each."""
    # Sizes are taken as they are: in an export they are symbols, which int() would make constant.
    return Layout(
        tuple(m.shape[2] for m in maps),
        tuple(m.shape[3] for m in maps),
        margin,
        maps[0].shape[0],
    )


def table_of(maps: Sequence[Tensor], margin: int) -> Tensor:
    """(N, C, h, w) of each level → (rows, C), padded by `margin` zero cells on each side."""
    return torch.cat([_rows(m, margin) for m in maps])


def _rows(level: Tensor, margin: int) -> Tensor:
    padded = F.pad(level, (margin, margin, margin, margin))
    return padded.permute(0, 2, 3, 1).reshape(-1, level.shape[1])


def gather_windows(table: Tensor, first: Tensor, pitch: Tensor, size: int) -> Tensor:
    """Read size×size cells for each window.

    `table` (rows, C); `first` (K,) int64, the row of each window's top left cell; `pitch` (K,)
    int64. Returns (K, C, size, size), in channels-last memory.
    """
    steps = torch.arange(size, device=table.device)
    rows = first[:, None, None] + steps[None, :, None] * pitch[:, None, None] + steps
    return F.embedding(rows, table).permute(0, 3, 1, 2)


def layout_rows(layouts: Sequence[Layout], grids: int, device: torch.device) -> Tensor:
    """Say in a tensor where the levels lie, `grids` rows for each level: (levels · grids, 2·n).

    Two int64 columns for each of the n tables: the row of the level's cell (0, 0), and the pitch.
    """
    rows = []
    for level in range(len(layouts[0].heights)):
        columns = []
        for layout in layouts:
            start, pitch = layout.starts[level], layout.pitches[level]
            columns += [start + layout.margin * (pitch + 1), pitch]
        row = torch.stack([torch.scalar_tensor(v, dtype=torch.int64) for v in columns])
        rows += [row] * grids
    return torch.stack(rows).to(device)
