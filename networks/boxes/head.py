"""The head of Fast R-CNN (thesis §4.4.2): a box's cells of its own level, then its name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

#: √(w·h) in pixels from which a box is read at stride 16 (§4.4.2): our pictures are 1024 px wide,
#: the thesis' 800 px high.
CANONICAL = 224


class BoxHead(nn.Module):
    """Two hidden layers, then a name and, for each category, a better box."""

    def __init__(self, inputs: int, categories: int, hidden: int, dropout: float) -> None:
        """Take `inputs` values a box. Starts with all names alike, and boxes as they are."""
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.category = nn.Linear(hidden, categories + 1)
        self.offset = nn.Linear(hidden, categories * 4)
        for layer in (self.category, self.offset):
            nn.init.normal_(layer.weight, std=0.01 if layer is self.category else 0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, size, size) → logits (n, categories + 1) and offsets (n, categories, 4)."""
        x = self.hidden(cells.flatten(1))
        return self.category(x), self.offset(x).unflatten(1, (-1, 4))


def of_own_level(aligned: Sequence[Tensor], boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Return each box's cells of its own level, of (n, C, size, size) for each of the strides."""
    level = level_of(boxes, strides)
    cells = aligned[0]
    for number, other in enumerate(aligned[1:], 1):
        cells = torch.where((level == number)[:, None, None, None], other, cells)
    return cells


def level_of(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Return the index of the level that each of (n, 4) boxes is read from (eq. 4.1).

    Level k = ⌊4 + log2(√(w·h) / 224)⌋ has stride 2^k; limited to those there are.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    area = size[:, 0] * size[:, 1]
    # In comparisons a power of two is exact, where a logarithm may be rounded either way.
    above = [area >= (CANONICAL * stride / 16) ** 2 for stride in strides[1:]]
    return torch.stack(above).sum(0)
