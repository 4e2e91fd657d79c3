"""Draw every picture and table of the README from real runs.

`python -m benchmarks.pictures [RUN...] --out DIR`: each RUN is an --out folder of deepmask-eval and
takes the place of the run of that name among those kept in `results/recall/`. Writes `table.md`,
`recall.png`, and with the shipped model `astronaut.jpg`, to DIR.

With `--publish` in place of `--out`, for maintainers: keeps each RUN in `results/recall/`, and
replaces the pictures in `docs/` and the table of README.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skimage.data import data_dir

from deepmask import DeepMask, read_image
from deepmask.evaluate.compare import Comparison, compare
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.figures import draw_recall
from deepmask.evaluate.published import TABLES
from deepmask.evaluate.records import RECORDS_NAME, RUN_NAME, read_records, read_run, write_text
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.outputs import require_writable
from deepmask.runtime.io.results import write_picture
from deepmask.runtime.model.shipped import SHIPPED_MODEL

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
TABLE = "table.md"
PICTURES = ("recall.png", "astronaut.jpg")
#: The paper's rows that stand beside what was measured.
PUBLISHED = ("DeepMask", "Selective Search")


def store(run: Path) -> Path:
    """Copy what a run's figures are computed from into the store; return the folder there."""
    for _ in read_records(run):  # raises EvalError for what is none, before anything is replaced
        pass
    folder = STORE / _name(run)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (RECORDS_NAME, RUN_NAME):
        write_text(folder / file, (run / file).read_text(encoding="utf-8"))
    return folder


def stored(runs: Sequence[Path] = ()) -> list[Path]:
    """List the stored runs: the shipped model's, with which others are compared, then models.

    Each of `runs` stands in the place of the stored one of its name.
    """
    folders = {path.parent.name: path.parent for path in sorted(STORE.glob(f"*/{RUN_NAME}"))}
    folders |= {_name(run): run for run in runs}
    if not folders:
        raise EvalError(f"{STORE}: no runs yet: name one, a folder of deepmask-eval --out")
    models = {name: "model" in read_run(folder)["source"] for name, folder in folders.items()}
    order = sorted(folders, key=lambda name: (name != SHIPPED_MODEL, not models[name], name))
    return [folders[name] for name in order]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("runs", nargs="*", type=Path, help="Folders of deepmask-eval --out.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="Folder to write to.")
    where.add_argument("--publish", action="store_true", help="Write to this checkout's own pages.")
    given = parser.parse_args()
    try:
        _publish(given.runs) if given.publish else _write(given.runs, given.out)
    except (OneLineError, OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


def _write(runs: Sequence[Path], out: Path) -> None:
    written = [out / name for name in (TABLE, *PICTURES)]
    require_writable({"--out": written}, [], force=None)
    comparison = compare(stored(runs))
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / TABLE, f"{table(comparison)}\n")
    _draw(comparison, out)
    print(f"wrote {', '.join(path.name for path in written)} in {out}")


def _publish(runs: Sequence[Path]) -> None:
    readme = ROOT / "README.md"
    for run in runs:
        print(f"stored {store(run).relative_to(ROOT)}")
    comparison = compare(stored())
    text = with_table(readme.read_text(encoding="utf-8"), table(comparison))
    _draw(comparison, ROOT / "docs")
    write_text(readme, text)
    print(f"wrote {', '.join(PICTURES)} in docs/, and the table of README.md")


def _draw(comparison: Comparison, folder: Path) -> None:
    recall, overlay = (folder / name for name in PICTURES)
    draw_recall(recall, comparison.runs)
    draw_overlay(overlay)


def _name(run: Path) -> str:
    return re.sub(r"\W+", "-", str(read_run(run)["name"]).lower()).strip("-")


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
