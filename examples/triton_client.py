"""Ask a Triton server for the objects of a photograph.

pip install 'tritonclient[http]'
python triton_client.py photograph.jpg --model mine --out proposals.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from deepmask import read_image


def main() -> None:
    """Send the image, write COCO results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", required=True, help="its name in the model repository")
    parser.add_argument("--server", default="localhost:8000")
    parser.add_argument("--proposals", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("proposals.json"))
    given = parser.parse_args()
    if given.out.exists():
        parser.error(f"{given.out} exists: give another name")

    image = read_image(given.image)
    count = np.array([given.proposals], np.int32)
    inputs = [
        triton.InferInput("image", list(image.shape), "UINT8"),
        triton.InferInput("proposals", [1], "INT32"),
    ]
    inputs[0].set_data_from_numpy(image)
    inputs[1].set_data_from_numpy(count)
    found = triton.InferenceServerClient(given.server).infer(given.model, inputs)

    results = [
        {
            "image_id": 1,
            "category_id": 1,
            "segmentation": json.loads(mask),
            "bbox": box.tolist(),
            "score": float(score),
        }
        for mask, box, score in zip(
            found.as_numpy("masks"), found.as_numpy("boxes"), found.as_numpy("scores"), strict=True
        )
    ]
    given.out.write_text(json.dumps(results))
    print(f"{len(results)} proposals, the best at {results[0]['score']:.2f}: {given.out}")


if __name__ == "__main__":
    main()
