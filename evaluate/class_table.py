"""Print average precision beside published rows, by category, and how far names can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepmask.evaluate.average_precision import FEWEST, RESAMPLES, SCORES, TRUSTED
from deepmask.evaluate.published import AP_COLUMNS, COCO_AP, VOC_AP, VOC_AP_COLUMNS
from deepmask.evaluate.table import figure

#: Categories printed one by one, those with most objects; scores printed.
_FREQUENT = 12
_SHOWN_SCORES = SCORES[::2]
_HEADS = {"AP_small": "S", "AP_medium": "M", "AP_large": "L", "VOC_AP11": "VOC 07", "VOC_AP": "VOC"}
_KINDS = {"bbox": "box AP", "segm": "mask AP"}


def classes_table(dataset: str, name: str, classes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return tables of what `metrics.json` holds of classes, by kind.

    dataset  "coco" or "voc": whose published rows are shown.
    name     of the run.
    """
    columns = (*AP_COLUMNS, *VOC_AP_COLUMNS)
    published = COCO_AP if dataset == "coco" else VOC_AP
    empty: tuple[None, ...] = (None,) * len(VOC_AP_COLUMNS if dataset == "coco" else AP_COLUMNS)
    width = max(len(name), *(len(row.method) for row in published)) + 3
    lines = []
    for kind, found in classes.items():
        heads = "".join(f"{_HEADS.get(key, key):>8}" for key in columns)
        lines.append(f"{_KINDS[kind]:<{width}}{heads}")
        lines.append(_row(name, [found[key] for key in columns], width))
        bounds = [found["intervals"][key] for key in columns]
        lines.append(_row("  95 % from", [one[0] for one in bounds], width))
        lines.append(_row("       to", [one[1] for one in bounds], width))
    lines.append(f"Intervals: bootstrap over images, {RESAMPLES} resamples.")
    lines.append("published, on other data; not comparable figure by figure:")
    for row in published:
        values = (*row.values, *empty) if dataset == "coco" else (*empty, *row.values)
        lines.append(_row(row.method, values, width))
    return "\n".join([*lines, "", *_by_category(classes)])


def _by_category(classes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List the frequent categories, and the mean of the rest."""
    rows = {kind: found["categories"] for kind, found in classes.items()}
    first = next(iter(rows.values()))
    width = max([18, *(len(one["name"]) for one in first[:_FREQUENT])]) + 2
    heads = "".join(f"{_KINDS[kind]:>10}{'AP50':>8}" for kind in rows)
    lines = [f"{'category':<{width}}{'objects':>8}{heads}"]
    by_name = {kind: {one["name"]: one for one in found} for kind, found in rows.items()}
    for one in first[:_FREQUENT]:
        cells = [
            f"{figure(own.get('AP')):>10}{figure(own.get('AP50')):>8}"
            for own in (found.get(one["name"], {}) for found in by_name.values())
        ]
        lines.append(f"{one['name']:<{width}}{one['objects']:>8}" + "".join(cells))
    rest = {one["name"] for one in first[_FREQUENT:]}
    if rest:
        cells = []
        for found in by_name.values():
            of_rest = [own for name, own in found.items() if name in rest]
            for key, space in (("AP", 10), ("AP50", 8)):
                mean = sum(own[key] for own in of_rest) / len(of_rest)
                cells.append(f"{figure(mean):>{space}}")
        objects = sum(one["objects"] for one in first[_FREQUENT:])
        label = f"mean of {len(rest)} others"
        lines.append(f"{label:<{width}}{objects:>8}" + "".join(cells))
    return lines


def names_table(names: Mapping[str, Any]) -> str:
    """Return how many names from a score on are right, and from which score they can be trusted."""
    rows = [row for row in names["rows"] if row["score"] in _SHOWN_SCORES]
    least = names["trusted_from"]
    if least is None:
        told = f"No probability is such that {TRUSTED:.0%} of {FEWEST} or more names are right."
    else:
        told = f"From a probability of {least:g} on at least {TRUSTED:.0%} of the names are right."
    cells = {
        "": [figure(row["score"])[:3] for row in rows],
        "  right (IoU 0.5)": [figure(row["precision"]) for row in rows],
        "  right of labelled objects": [figure(row["of_objects"]) for row in rows],
        "  names": [str(row["named"]) for row in rows],
    }
    lines = [f"{label:<28}" + "".join(f"{cell:>7}" for cell in own) for label, own in cells.items()]
    lines[0] = "names, by their probability " + lines[0][28:]
    return "\n".join([*lines, told])


def _row(name: str, values: Sequence[float | None], width: int) -> str:
    return f"{name:<{width}}" + "".join(f"{figure(value):>8}" for value in values)
