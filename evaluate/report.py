"""Write a finished evaluation's `metrics.json`, `table.txt` and figures from its records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepmask.evaluate.average_precision import ClassTotals, trust
from deepmask.evaluate.class_table import classes_table, names_table
from deepmask.evaluate.first_twenty import FOUND, SHOWN, Shown
from deepmask.evaluate.folder import METRICS_NAME, TABLE_NAME
from deepmask.evaluate.metrics import AUC_COUNTS, LEVEL, RESAMPLES, SEED, Totals, summary
from deepmask.evaluate.records import read_records, read_run, write_text
from deepmask.evaluate.table import results_table, sizes_table
from deepmask.runtime.errors import counted


def measure(folder: Path) -> dict[str, Any]:
    """Compute the content of `metrics.json` from a folder's records, in one pass."""
    run = read_run(folder)
    totals = {kind: Totals() for kind in run["kinds"]}
    images = proposals = timed = 0
    seconds = 0.0
    shown = Shown()
    names = {int(one): name for one, name in run.get("categories", {}).items()}
    classes = {kind: ClassTotals() for kind in run["kinds"]} if names else {}
    told: list[tuple[float, int]] = []
    for record in read_records(folder, run["kinds"]):
        images += 1
        proposals += record.proposals
        if record.seconds is not None:
            timed += 1
            seconds += record.seconds
        shown = shown + (record.shown or Shown())
        for kind, sums in totals.items():
            sums.add(record.image_id, record.ranks[kind])
        told += record.names
        for kind, found in classes.items():
            found.add(record.image_id, record.classes.get(kind, ()))
    return {
        **{kind: summary(sums) for kind, sums in totals.items()},
        **({"classes": {k: one.summary(names) for k, one in classes.items()}} if names else {}),
        **({"names": trust(told)} if told else {}),
        "first_masks": {"at_most": SHOWN, **asdict(shown)},
        "name": run["name"],
        "images": images,
        "images_missing": run["images"] - images,
        "proposals_per_image": proposals / images if images else None,
        "images_per_second": timed / seconds if seconds else None,
        "auc_proposal_counts": list(AUC_COUNTS),
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "level": LEVEL, "over": "images"},
        "run": run,
    }


def describe(metrics: dict[str, Any]) -> str:
    """Return the tables and the lines around them, as printed and kept in `table.txt`."""
    run = metrics["run"]
    kind = next(k for k in ("segm", "bbox") if k in metrics)
    objects = metrics[kind]["objects"]["all"]
    lines = [
        results_table(
            run["dataset"],
            [(metrics["name"], metrics)],
            f"{run['annotations']['name']}, {counted(metrics['images'], 'images')}, "
            f"{counted(objects, 'objects')}",
        ),
        "",
        sizes_table([(metrics["name"], metrics)]),
        "",
        f"AUC: mean AR at {len(AUC_COUNTS)} proposal counts, logarithmic from 1 to 1000. "
        f"Intervals: bootstrap over images, {RESAMPLES} resamples.",
        f"{counted(round(metrics['proposals_per_image']), 'proposals')} an image"
        + (
            f", {metrics['images_per_second']:.2f} images/s" if metrics["images_per_second"] else ""
        ),
    ]
    if "classes" in metrics:
        lines += ["", classes_table(run["dataset"], metrics["name"], metrics["classes"]), ""]
    if "names" in metrics:
        lines += [names_table(metrics["names"]), ""]
    if first := _first_masks(metrics.get("first_masks", {})):
        lines.append(first)
    if "segm" not in metrics and run["dataset"] == "coco":
        lines.append("Boxes only: the proposals or the annotations have no masks.")
    if left := run.get("left_out"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.items())
        lines.append(f"Left out of the annotations: {reasons}.")
    if metrics["images_missing"]:
        images = counted(run["images"], "images")
        lines.append(f"PARTIAL: not measured: {metrics['images_missing']} of {images}.")
    return "\n".join(lines)


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    write_text(folder / METRICS_NAME, json.dumps(metrics, indent=1, allow_nan=False) + "\n")
    write_text(folder / TABLE_NAME, describe(metrics) + "\n")


def _first_masks(counts: Mapping[str, int]) -> str:
    """Return a line on what a person sees first; "" where there are no masks."""
    kinds = ("new", "repeats", "parts", "neither")
    masks = sum(counts.get(name, 0) for name in kinds)
    if not masks:
        return ""
    new, repeats, parts, neither = (f"{counts[name] / masks:.1%}" for name in kinds)
    return (
        f"Of the first {counts['at_most']} masks of an image {new} are an object not shown before "
        f"(IoU {FOUND:g}), {repeats} repeat one, {parts} are parts, {neither} neither. "
        f"They show {counts['new'] / max(1, counts['objects']):.1%} of the objects."
    )
