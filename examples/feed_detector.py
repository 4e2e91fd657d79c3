"""Write proposals for a detector that classifies regions, in the form that Detectron2 loads.

    python feed_detector.py instances_val.json val/ proposals.pkl

Name the file in a Fast R-CNN's configuration: DATASETS.PROPOSAL_FILES_TEST, with
MODEL.LOAD_PROPOSALS True. Any other detector can take the boxes from `boxes_and_logits`.
"""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepmask import DeepMask, Proposals, read_image

#: Detectron2's `BoxMode.XYXY_ABS`.
XYXY_ABS = 0


def boxes_and_logits(
    proposals: Proposals,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return boxes, (N, 4) float32 as left, top, right, bottom in pixels, and (N,) logits."""
    x, y, width, height = proposals.boxes.T
    boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
    scores = np.clip(proposals.scores.astype(np.float64), 1e-7, 1 - 1e-7)
    return boxes, np.log(scores / (1 - scores)).astype(np.float32)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("annotations", type=Path, help="COCO file that lists the images.")
    parser.add_argument("images", type=Path, help="Folder of the images.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="Model folder; by default the shipped model.")
    parser.add_argument("--proposals", type=int, default=1000, help="Most boxes of an image.")
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} exists: give another name")
    listed = json.loads(given.annotations.read_text())["images"]
    ids, boxes, logits = [], [], []
    with DeepMask.load(given.model) as model:
        for image in listed:
            found = model(read_image(given.images / image["file_name"]), proposals=given.proposals)
            of_image = boxes_and_logits(found)
            ids.append(image["id"])
            boxes.append(of_image[0])
            logits.append(of_image[1])
    content = {"ids": ids, "boxes": boxes, "objectness_logits": logits, "bbox_mode": XYXY_ABS}
    given.out.write_bytes(pickle.dumps(content))
    print(f"{sum(map(len, boxes))} boxes in {len(ids)} images: {given.out}")


if __name__ == "__main__":
    main()
