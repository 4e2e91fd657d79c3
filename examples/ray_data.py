"""Objects of a folder of photographs, over all machines of a Ray cluster.

pip install 'ray[data]'
python ray_data.py photographs/ results/ --workers 8
python ray_data.py photographs/ results/ --workers 8 --gpus 0.5    # two workers on each GPU

Each worker loads the model once and keeps it; results are written by part, so memory does not grow
with the folder. An image that cannot be read becomes a row with its error.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import ray

from deepmask import DeepMask, read_image
from deepmask.runtime.cli.batch import expand
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.io.images import ImageError


class Proposer:
    """One worker: a loaded model."""

    def __init__(self, model: str | None, threads: int, proposals: int, device: str) -> None:
        """Load the model, by default the shipped one; Ray shows a worker its own GPUs alone."""
        self.model = DeepMask.load(model, threads=threads, device=device)
        self.proposals = proposals

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Image files to their COCO results, as JSON; ids are line numbers of the folder."""
        results, errors = [], []
        for path, number in zip(batch["path"], batch["image_id"], strict=True):
            try:
                found = self.model(read_image(path), proposals=self.proposals)
                results.append(json.dumps(found.to_coco(int(number))))
                errors.append("")
            except (ImageError, EngineError) as error:
                results.append("[]")
                errors.append(str(error))
        return {**batch, "results": results, "error": errors}


def main() -> None:
    """Run the folder through the workers and write JSON lines."""
    parser = argparse.ArgumentParser(description="Objects of a folder of photographs, with Ray.")
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", help="model folder; the shipped one by default")
    parser.add_argument("--proposals", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="processor cores of a worker")
    parser.add_argument(
        "--gpus", type=float, default=0, help="GPUs of a worker, 0.5 for half; 0: the processor"
    )
    given = parser.parse_args()

    paths = expand([given.images])
    rows = [{"path": str(path.resolve()), "image_id": n} for n, path in enumerate(paths, 1)]
    found = ray.data.from_items(rows).map_batches(
        Proposer,
        fn_constructor_args=(
            given.model,
            given.threads,
            given.proposals,
            "cuda" if given.gpus else "cpu",
        ),
        batch_size=8,
        num_cpus=given.threads,
        num_gpus=given.gpus,
        compute=ray.data.ActorPoolStrategy(size=given.workers),
    )
    found.write_json(str(given.out.resolve()))


if __name__ == "__main__":
    main()
