"""Geometry of anchors: which boxes a location of a level starts from (thesis §4.4.1, chapter 5).

Location (i, j) of a level is centred at stride·(i + ½), stride·(j + ½) of the view, in pixels, and
carries an anchor of each size and aspect ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Height to width: 1:2, 1:1, 2:1.
RATIOS = (0.5, 1.0, 2.0)


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one level: each anchor's height and width, in pixels of the view."""

    name: str
    stride: int
    sizes: tuple[tuple[float, float], ...]


def anchor_levels(
    strides: tuple[int, ...], cells: float, octave: int, ratios: tuple[float, ...] = RATIOS
) -> tuple[AnchorLevel, ...]:
    """List the levels, finest first; a level's anchors size by size, the smallest first.

    cells   √(height · width) of the smallest anchors, in cells of their level.
    octave  sizes in an octave: `cells` times 2^(k / octave), k from 0.
    """
    return tuple(
        AnchorLevel(
            f"p{stride.bit_length() - 1}",
            stride,
            tuple(
                (side * ratio**0.5, side / ratio**0.5)
                for side in (stride * cells * 2 ** (k / octave) for k in range(octave))
                for ratio in ratios
            ),
        )
        for stride in strides
    )
