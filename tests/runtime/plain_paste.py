"""From a window's mask logits to a boolean mask of image pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepmask.runtime.views.geometry import (
    WindowGrid,
    bilinear_taps,
    mask_coordinate,
    window_extent,
)

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Where N windows lie: locations and scale ratios, each (N,), in an image of height × width."""

    row: npt.NDArray[np.int64]
    col: npt.NDArray[np.int64]
    ratio_y: npt.NDArray[np.float64]
    ratio_x: npt.NDArray[np.float64]
    height: int
    width: int
    grid: WindowGrid

    def __len__(self) -> int:
        """N."""
        return len(self.row)

    def take(self, indices: npt.NDArray[np.int64]) -> Placement:
        """The windows with these indices."""
        return replace(
            self,
            row=self.row[indices],
            col=self.col[indices],
            ratio_y=self.ratio_y[indices],
            ratio_x=self.ratio_x[indices],
        )

    def extent_y(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First image row of each window and one past its last, clipped to the image."""
        return window_extent(self.row, self.ratio_y, self.height, self.grid)

    def extent_x(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First image column of each window and one past its last, clipped to the image."""
        return window_extent(self.col, self.ratio_x, self.width, self.grid)


def decode_mask(
    logits: Logits, threshold: float, placement: Placement, index: int
) -> npt.NDArray[np.bool_]:
    """Mask `index` of the N placed ones, as (height, width) bool.

    `logits` is that window's (mask_size, mask_size). It is sampled once, bilinearly, at the exact
    coordinates of the image's pixels, and a pixel is set where the sample exceeds `threshold`, a
    logit. This is the plain form; `runs.py` reaches the same pixels without visiting them.
    """
    y_start, y_stop = (int(bound[index]) for bound in placement.extent_y())
    x_start, x_stop = (int(bound[index]) for bound in placement.extent_x())
    rows = mask_coordinate(
        np.arange(y_start, y_stop), placement.row[index], placement.ratio_y[index], placement.grid
    )
    cols = mask_coordinate(
        np.arange(x_start, x_stop), placement.col[index], placement.ratio_x[index], placement.grid
    )
    size = placement.grid.mask_size
    along_x = interpolate(excess(logits, threshold).T, *bilinear_taps(cols, size))
    along_xy = interpolate(np.ascontiguousarray(along_x.T), *bilinear_taps(rows, size))
    mask = np.zeros((placement.height, placement.width), np.bool_)
    mask[y_start:y_stop, x_start:x_stop] = along_xy > 0
    return mask


def excess(logits: Logits, threshold: float) -> Logits:
    """Logits above the threshold. Bilinear weights sum to one, so subtracting first is the same."""
    return logits - np.float32(threshold)


def interpolate(
    samples: Logits, knot: npt.NDArray[np.int64], before: Logits, after: Logits
) -> Logits:
    """Rows between rows: (S, M) samples and K taps → (K, M), row k is between knot k and the next.

    Two products and one sum in float32, in this order: a segment's result is then monotone and
    never changes sign between two samples of one sign, which `runs.py` builds on.
    """
    low = samples.take(knot, axis=0)
    low *= before[:, None]
    high = samples.take(knot + 1, axis=0)
    high *= after[:, None]
    low += high
    return low
