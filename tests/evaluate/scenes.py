"""Synthetic labelled sets and proposals for the evaluation's tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pycocotools.mask as coco_mask
from PIL import Image

from deepmask.evaluate import report
from deepmask.evaluate.ground_truth import coco_truth
from deepmask.evaluate.run import evaluate_images, open_folder
from deepmask.evaluate.sources import FileSource

Json = dict[str, Any]

#: What metrics.json holds of masks and of boxes.
METRICS = ("AR@10", "AR@100", "AR@1000", "AUC", "AUC_small", "AUC_medium", "AUC_large")


def encode(mask: npt.NDArray[np.bool_]) -> Json:
    """A boolean (h, w) mask as compressed RLE with text counts."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode()}


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> npt.NDArray[np.bool_]:
    """A filled x, y, w, h box, clipped to the image."""
    x, y, w, h = box
    mask = np.zeros((height, width), bool)
    mask[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
    return mask


def labelled_set(
    seed: int, images: int, objects: int = 6, height: int = 150, width: int = 200
) -> Json:
    """A COCO instances dict of overlapping rectangles: RLE and polygons, crowds, three sizes."""
    random = np.random.default_rng(seed)
    annotations: list[Json] = []
    for image_id in range(1, images + 1):
        for _ in range(int(random.integers(0, objects + 1))):
            side = int(random.choice([12, 30, 32, 60, 96, 120]))
            w, h = side, int(random.choice([side, max(4, side // 2)]))
            x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
            crowd = int(random.random() < 0.15)
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            rle = encode(rectangle(height, width, (x, y, w, h)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(random.integers(1, 4)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": crowd,
                    "segmentation": rle if crowd or random.random() < 0.5 else polygon,
                }
            )
    return {
        "images": [
            {"id": i, "file_name": f"{i:06d}.png", "width": width, "height": height}
            for i in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"thing {i}"} for i in (1, 2, 3)],
    }


def squares(folder: Path, count: int = 6) -> Json:
    """Images of a dark square and a bright one on gray, with their labels."""
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(3)
    annotations: list[Json] = []
    for image_id in range(1, count + 1):
        picture = np.full((160, 220, 3), 127, np.uint8)
        for side, x0, value in ((32, 10, 0), (64, 110, 255)):
            x, y = x0 + int(random.integers(40)), int(random.integers(20, 80))
            picture[y : y + side, x : x + side] = value
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": encode(rectangle(160, 220, (x, y, side, side))),
                }
            )
        Image.fromarray(picture).save(folder / "images" / f"{image_id:06d}.png")
    labels: Json = {
        "images": [
            {"id": i, "file_name": f"{i:06d}.png", "width": 220, "height": 160}
            for i in range(1, count + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "square"}],
    }
    write(folder / "labels.json", labels)
    return labels


def proposals(seed: int, labels: Json, each: int = 8, noise: int = 40) -> list[Json]:
    """Results around and beside the objects, with many equal scores, in the order of the images."""
    random = np.random.default_rng(seed)
    results: list[Json] = []
    for image in labels["images"]:
        height, width = image["height"], image["width"]
        boxes = []
        for annotation in labels["annotations"]:
            if annotation["image_id"] == image["id"]:
                x, y, w, h = annotation["bbox"]
                for _ in range(each):
                    jitter = random.integers(-6, 7, 4) * max(w, h) // 40
                    boxes.append(np.add((x, y, w, h), jitter))
        boxes += list(random.integers(1, 100, (noise, 4)))
        for box in boxes:
            x, y, w, h = (int(value) for value in box)
            rle = encode(rectangle(height, width, (x, y, w, h)))
            tight = coco_mask.toBbox({"size": rle["size"], "counts": rle["counts"].encode()})
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": int(random.integers(1, 4)),
                    "segmentation": rle,
                    "bbox": [float(value) for value in tight],
                    "score": float(np.round(random.random(), 1)),
                }
            )
    return results


def write(path: Path, content: Any) -> Path:
    """Write JSON, return the path."""
    path.write_text(json.dumps(content))
    return path


def deepmask_eval(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command."""
    command = ["deepmask-eval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def evaluate_file(folder: Path, which: str, *options: object) -> subprocess.CompletedProcess[str]:
    """Run the command on which.json and labels.json of a folder."""
    labels, results = folder / "labels.json", folder / f"{which}.json"
    return deepmask_eval("--annotations", labels, "--proposals-json", results, *options)


def metrics_of(folder: Path) -> Json:
    """What an output folder's metrics.json holds."""
    metrics: Json = json.loads((folder / "metrics.json").read_text())
    return metrics


def figures_only(metrics: Json) -> Json:
    """What must not depend on how the run was cut up."""
    return {kind: metrics[kind] for kind in ("segm", "bbox")}


def measure(folder: Path, labels: Json, results: list[Json], limit: int = 1000) -> Json:
    """The metrics of these results on these labels, through files in the folder."""
    truth = coco_truth(write(folder / "labels.json", labels))
    path = write(folder / "results.json", results)
    source = FileSource(path, truth.pictures, limit, truth.categories)
    count = len(truth.pictures)
    run: Json = {"name": "test", "dataset": "coco", "kinds": list(truth.kinds)}
    run |= {"annotations": {"name": "labels.json"}, "source": {"proposals": limit}}
    run |= {"categories": {str(one): name for one, name in truth.categories.items()}}
    run |= {"images": count, "images_of_all_shards": count, "shard": [1, 1]}
    todo = open_folder(folder / "out", run, sorted(truth.pictures), resume=False)
    outcome = evaluate_images(truth, source, truth.kinds, folder / "out", todo)
    assert outcome.failed == []
    return report.measure(folder / "out")
