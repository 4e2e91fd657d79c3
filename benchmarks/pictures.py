"""Draw every picture and table of the README from real runs.

`python -m benchmarks.pictures [RUN...]`: each RUN is an --out folder of deepmask-eval and replaces
the run of that name in `results/recall/`, from which everything is drawn. Makes
`docs/astronaut.jpg` and `docs/coarse-and-sharp.jpg` with the shipped model, `docs/recall.png`, and
the README's table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.data import data_dir

from deepmask import DeepMask, read_image
from deepmask.evaluate.compare import Comparison, compare
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.figures import draw_recall
from deepmask.evaluate.published import TABLES
from deepmask.evaluate.records import RECORDS_NAME, RUN_NAME, read_records, read_run, write_text
from deepmask.runtime.io.overlay import draw_masks
from deepmask.runtime.io.results import write_picture
from deepmask.runtime.predict.deepmask import SHIPPED_MODEL
from deepmask.runtime.predict.objects import choose_objects

ROOT = Path(__file__).resolve().parents[1]
STORE = ROOT / "benchmarks" / "results" / "recall"
BEGIN, END = "<!-- recall -->", "<!-- end of recall -->"
#: Columns of the table, (kind, metric), and their heads.
COLUMNS: Mapping[tuple[str, str], str] = {
    ("bbox", "AR@10"): "box AR@10",
    ("bbox", "AR@100"): "@100",
    ("bbox", "AR@1000"): "@1000",
    ("bbox", "AUC"): "AUC",
    ("segm", "AR@10"): "mask AR@10",
    ("segm", "AR@100"): "@100",
    ("segm", "AR@1000"): "@1000",
    ("segm", "AUC"): "AUC",
}
#: Objects in the picture of coarse and sharp masks.
SHOWN = 5
#: The paper's rows that stand beside what was measured.
PUBLISHED = ("DeepMask", "Selective Search")


def store(run: Path) -> Path:
    """Copy what a run's figures are computed from into the store; return the folder there."""
    name = re.sub(r"\W+", "-", str(read_run(run)["name"]).lower()).strip("-")
    for _ in read_records(run):  # raises EvalError for what is none, before anything is replaced
        pass
    folder = STORE / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in (RECORDS_NAME, RUN_NAME):
        write_text(folder / file, (run / file).read_text(encoding="utf-8"))
    return folder


def stored() -> list[Path]:
    """List the stored runs: the shipped model's, with which others are compared, then models."""
    folders = sorted(path.parent for path in STORE.glob(f"*/{RUN_NAME}"))
    if not folders:
        raise EvalError(f"{STORE}: no runs yet: name one, a folder of deepmask-eval --out")
    return sorted(
        folders,
        key=lambda folder: (
            folder.name != SHIPPED_MODEL,
            "model" not in read_run(folder)["source"],
        ),
    )


def table(comparison: Comparison) -> str:
    """Return the comparison in Markdown: each run, later runs minus the first, published rows."""
    objects = comparison.runs[0][1]["bbox"]["objects"]["all"]
    place, columns, published = TABLES[comparison.dataset]
    lines = [_row(["", *COLUMNS.values()]), _row(["---"] * (1 + len(COLUMNS)))]
    for name, metrics in comparison.runs:
        lines.append(_row([name, *(_figure(metrics, *column) for column in COLUMNS)]))
    first = comparison.runs[0][0]
    for name, change in comparison.differences:
        cells = [_difference(change, *column) for column in COLUMNS]
        lines.append(_row([f"{first} − {name}", *cells]))
    for row in published:
        if row.source == "DeepMask" and row.method in PUBLISHED:
            values = dict(zip(columns, row.values, strict=True))
            cells = [_number(values[column]) for column in COLUMNS]
            lines.append(_row([f"*{row.method}, published*", *cells]))
    lines += [
        "",
        f"Measured on {comparison.images} images, {objects} objects; differences on the same "
        f"images with their 95 % intervals. *Published* is on other data ({place}).",
    ]
    return "\n".join(lines)


def with_table(readme: str, text: str) -> str:
    """Put `text` between the README's marks; raises ValueError unless each is there once."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(f"README.md: expected {BEGIN} and {END}, once each")
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def draw_overlay(path: Path) -> None:
    """Draw the best objects of a photograph of NASA's, by the shipped model."""
    image = read_image(Path(data_dir) / "astronaut.png")
    with DeepMask.load() as model:
        write_picture(path, model(image).objects().draw(image))


def draw_both_forms(path: Path) -> None:
    """Draw coarse masks beside the refined ones of the same windows, as in the thesis' figure 3.2.

    The photograph is in the public domain (CC0).
    """
    image = read_image(Path(data_dir) / "chelsea.png")
    forms = []
    for is_coarse in (True, False):
        with DeepMask.load(coarse=is_coarse) as model:
            forms.append(model(image, overlap=1))  # the network's order is that of both
    blunt, sharp = forms
    chosen = choose_objects(sharp.encoded, sharp.scores, top=SHOWN, min_score=0)
    sides = [
        draw_masks(image, [form.encoded[index] for index in chosen]) for form in (blunt, sharp)
    ]
    write_picture(path, np.hstack(sides))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", nargs="*", type=Path, help="Folders of deepmask-eval --out.")
    given = parser.parse_args()
    readme = ROOT / "README.md"
    try:
        for run in given.runs:
            print(f"stored {store(run).relative_to(ROOT)}")
        comparison = compare(stored())
        text = with_table(readme.read_text(encoding="utf-8"), table(comparison))
    except (EvalError, OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    draw_recall(ROOT / "docs" / "recall.png", comparison.runs)
    draw_overlay(ROOT / "docs" / "astronaut.jpg")
    draw_both_forms(ROOT / "docs" / "coarse-and-sharp.jpg")
    write_text(readme, text)
    print(
        "wrote recall.png, astronaut.jpg and coarse-and-sharp.jpg in docs/, the table of README.md"
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(metrics: Mapping[str, Any], kind: str, key: str) -> str:
    return _number(metrics.get(kind, {}).get(key))


def _difference(change: Mapping[str, Any], kind: str, key: str) -> str:
    """Return the first run minus this one, with its interval: `change` is the other way round."""
    value = change.get(kind, {}).get(key)
    if value is None:
        return "–"
    low, high = change[kind]["intervals"][key]
    return f"{_signed(-value)} ({_signed(-high)} … {_signed(-low)})"


def _signed(value: float) -> str:
    """Print 0.0312 as +.031, with a real minus sign."""
    return f"{round(value, 3) + 0.0:+.3f}".replace("0.", ".", 1).replace("-", "−")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".removeprefix("0")


if __name__ == "__main__":
    main()
