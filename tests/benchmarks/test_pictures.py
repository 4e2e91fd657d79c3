"""The README's table and pictures, from runs made up here, and whether it shows what is stored."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import pictures
from benchmarks.pictures import BEGIN, END, STORE, stored, table, with_table
from deepmask.evaluate.compare import compare
from deepmask.evaluate.errors import EvalError
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.folder import read_manifest
from deepmask.runtime.model.shipped import shipped_model

ROOT = Path(__file__).resolve().parents[2]
LEVELS = 10
SOURCES: dict[str, dict[str, object]] = {
    "ours": {"model": "ours", "proposals": 1000},
    "other": {"proposals_json": "other.json", "proposals": 1000},
}


def make_run(folder: Path, name: str, rank: int, kinds: tuple[str, ...]) -> Path:
    """Two images with an object each, found at every IoU by proposal `rank`; 0: never."""
    folder.mkdir(parents=True)
    run: dict[str, object] = {
        "format": "deepmask-eval/1",
        "name": name,
        "dataset": "coco",
        "kinds": kinds,
    }
    run |= {"annotations": {"name": "val.json", "sha256": "0"}, "source": SOURCES[name]}
    run |= {"shard": [1, 1], "images": 2, "images_of_all_shards": 2}
    (folder / "run.json").write_text(json.dumps(run))
    found = {area: [[rank] * LEVELS] for area in ("all", "small", "medium", "large")}
    records = [
        {"image_id": k, "seconds": None, "proposals": 9, "ranks": dict.fromkeys(kinds, found)}
        for k in (1, 2)
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder


@pytest.fixture
def two_runs(tmp_path: Path) -> list[Path]:
    return [
        make_run(tmp_path / "a", "ours", 5, ("segm", "bbox")),
        make_run(tmp_path / "b", "other", 50, ("bbox",)),
    ]


def test_the_table_holds_runs_differences_and_the_papers_rows(two_runs: list[Path]) -> None:
    lines = table(compare(two_runs)).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    assert {len(row) for row in rows} == {9}
    assert rows[0][1:] == [
        "box AR@10",
        "@100",
        "@1000",
        "AUC",
        "mask AR@10",
        "@100",
        "@1000",
        "AUC",
    ]
    assert rows[2][:4] == ["ours", "1.000", "1.000", "1.000"]
    assert rows[3][:4] == ["other", ".000", "1.000", "1.000"]
    assert rows[3][5:] == ["–"] * 4
    assert rows[4][:3] == [
        "ours − other",
        "+1.000 (+1.000 … +1.000)",
        "+.000 (+.000 … +.000)",
    ]
    assert rows[5] == [
        *("*Selective Search, published*", ".052", ".163", ".357", ".126"),
        *(".025", ".095", ".230", ".074"),
    ]
    assert lines[6].startswith("| *DeepMask, published* | .153 | .313 | .446 | .233 | .126 |")
    assert "2 images, 2 objects" in lines[-1]


def test_what_stood_between_the_marks_is_replaced() -> None:
    readme = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_table(readme, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="once each"):
        with_table("no marks", "new")


def test_a_run_takes_the_place_of_the_one_of_its_name(
    two_runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "STORE", tmp_path / "store")
    with pytest.raises(EvalError, match="no runs yet"):
        stored()
    folders = [pictures.store(run) for run in reversed(two_runs)]
    assert [folder.name for folder in stored()] == ["ours", "other"]
    again = pictures.store(make_run(tmp_path / "c", "ours", 1, ("bbox",)))
    assert again == folders[1]
    assert {path.name for path in again.iterdir()} == {"records.jsonl", "run.json", RECORD}
    assert compare(stored()).runs[0][1]["bbox"]["AR@10"] == 1
    (tmp_path / "c" / "records.jsonl").write_text("torn")
    with pytest.raises(EvalError, match="is not a record"):
        pictures.store(tmp_path / "c")
    assert compare(stored()).runs[0][1]["bbox"]["AR@10"] == 1


def test_the_readme_shows_what_is_stored() -> None:
    """`python -m benchmarks.pictures` was run after the last change of a run."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme, table(compare(stored()))) == readme


def test_the_stored_run_is_of_the_shipped_weights() -> None:
    """Whoever ships other weights measures them: `deepmask-eval`, `benchmarks.pictures`."""
    manifest = read_manifest(shipped_model())
    run = json.loads((STORE / manifest.name / "run.json").read_text())
    assert run["source"]["graphs"] == {stage.name: stage.sha256 for stage in manifest.stages}


def test_every_picture_of_the_readme_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[.*?\]\((.*?)\)", readme)
    assert "docs/recall.png" in shown
    for name in shown:
        with Image.open(ROOT / name) as picture:
            picture.verify()
