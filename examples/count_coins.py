"""Count the coins in a photograph: the objects that are round and of about one size.

    python count_coins.py coins.png --overlay counted.png

scikit-image has such a photograph, skimage.data.coins(), with 24 of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepmask import DeepMask, Proposals, read_image
from deepmask.runtime.io.overlay import draw_masks


def roundness(mask: npt.NDArray[np.bool_]) -> float:
    """Return the share of a mask, (H, W), in the disc of its area around its middle."""
    y, x = np.nonzero(mask)
    squared = (x - x.mean()) ** 2 + (y - y.mean()) ** 2
    return float((squared <= len(x) / np.pi).mean())


def coins_among(objects: Proposals) -> list[int]:
    """Return the indices of objects that are round, and of about the size of most."""
    found = [i for i in range(len(objects)) if roundness(objects.masks(i)) > 0.93]
    usual = np.median(objects.areas[found]) if found else 0
    return [i for i in found if usual / 3 < objects.areas[i] < 3 * usual]


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--model", type=Path, help="Model folder; by default the shipped model.")
    parser.add_argument("--overlay", type=Path, help="New picture to draw the coins in.")
    given = parser.parse_args()
    if given.overlay is not None and given.overlay.exists():
        parser.error(f"{given.overlay} exists: give another name")
    image = read_image(given.photograph)
    with DeepMask.load(given.model) as model:
        # Parts, too: to a model a coin may be a part of the table, or of all coins.
        objects = model(image).objects(top=200, min_score=0.1, nms=0.3, parts=True)
    coins = coins_among(objects)
    print(f"{len(coins)} coins")
    if given.overlay is not None:
        drawn = draw_masks(image, [objects.encoded[index] for index in coins])
        Image.fromarray(drawn).save(given.overlay)


if __name__ == "__main__":
    main()
