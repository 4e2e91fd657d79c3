"""What `model.json` says of a network that sees a picture once, at one size."""

from __future__ import annotations

from collections.abc import Sequence

from deepmask.networks import levels
from deepmask.networks.whole.view import FILL
from deepmask.runtime.model.manifest import Grid, Scales, Views

#: Longer side in pixels at which a picture is seen: by light networks, and by the thesis', for
#: which the shorter side of a picture of 4:3 is then 800.
LIGHT_SIDE, THESIS_SIDE = 1024, 1067


def one_look(longer_side: int, multiple: int) -> Views:
    """Return the view: `longer_side` in pixels, on a canvas of multiples of `multiple`."""
    return Views(
        scales=Scales(0.0, 0.0, 0.5),
        max_side=longer_side,
        enlarge=True,
        border=0,
        fill=float(FILL),
        multiple=multiple,
    )


def mask_grids(grids: Sequence[levels.Grid], a_level: int) -> tuple[Grid, ...]:
    """Return the rows of the table of grids, of which each level has as many as `a_level`."""
    return tuple(
        Grid(
            grid.name,
            f"score{grid.stride}",
            number % a_level,
            grid.stride,
            grid.window,
            grid.mask_size,
            0.5,
        )
        for number, grid in enumerate(grids)
    )
