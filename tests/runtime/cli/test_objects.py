"""Picture, table and files of `deepmask-trt-run` show the same numbered objects."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rlemasklib import RLEMask

from deepmask import read_image
from deepmask.runtime.io.overlay import draw_masks
from deepmask.runtime.io.video import Video, VideoWriter
from tests.runtime.cli.test_run import CPU, images_of, results_of, run


@pytest.fixture
def folder(tmp_path: Path, model_folder: Path, scene: Callable[..., Any]) -> Path:
    """`model/`, two pictures in `pictures/`, and `clip.mp4` of five frames."""
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(["a.png", "b.jpg"]):
        Image.fromarray(scene(seed, 80, 120, objects=5).image).save(tmp_path / "pictures" / name)
    with VideoWriter(tmp_path / "clip.mp4", rate=10) as video:
        for seed in range(5):
            video.add(scene(seed, 96, 128).image)
    return tmp_path


def masks_of(results: list[dict[str, Any]]) -> list[RLEMask]:
    return [
        RLEMask.from_dict({**one, "counts": one["counts"].encode()})
        for one in (result["segmentation"] for result in results)
    ]


def table(printed: str) -> list[list[str]]:
    """Return the rows of the objects: number, score, box, area."""
    lines = printed.splitlines()
    head = next(index for index, line in enumerate(lines) if line.split()[:1] == ["object"])
    return [line.split() for line in lines[head + 1 :]]


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("options", [(), ("--flat", "--parts"), ("--top", 2), ("--nms", 0.2)])
def test_table_picture_and_json_agree(folder: Path, options: tuple[object, ...]) -> None:
    done = run("pictures/a.png", *CPU, "--overlay", "o.png", *options, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    results = results_of(folder / "proposals.json")
    masks = masks_of(results)
    assert len(results) > 1
    if "--top" in options:
        assert len(results) == 2
    drawn = draw_masks(read_image(folder / "pictures/a.png"), masks)
    assert (pixels(folder / "o.png") == drawn).all()
    rows = table(done.stdout)
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(results) + 1)]
    for row, result, mask in zip(rows, results, masks, strict=True):
        assert row[1] == f"{result['score']:.3f}"
        assert [float(value) for value in row[2:6]] == result["bbox"]
        assert int(row[6]) == mask.area()
    if "--flat" in options:
        assert (np.sum([mask.to_array() for mask in masks], axis=0) <= 1).all()


def test_proposals_are_written_where_they_are_asked_for(folder: Path) -> None:
    """The picture and the table show the same objects in either case."""
    printed = {}
    for name, options in {
        "objects": ("--proposals", 300, "--objects"),
        "all": ("--proposals", 300),
    }.items():
        outputs = ("--out", f"{name}.json", "--overlay", f"{name}.png")
        printed[name] = run("pictures/a.png", *CPU, *options, *outputs, cwd=folder).stdout
    objects, everything = (results_of(folder / f"{name}.json") for name in printed)
    assert len(objects) < len(everything) <= 300
    assert all(one in everything for one in objects)
    assert table(printed["objects"]) == table(printed["all"])
    assert len(table(printed["all"])) == len(objects)
    assert (pixels(folder / "objects.png") == pixels(folder / "all.png")).all()


def test_least_score(folder: Path) -> None:
    scores = {}
    for least in (0, 0.6):
        run("pictures/a.png", *CPU, "--min-score", least, "--top", 50, cwd=folder)
        scores[least] = [result["score"] for result in results_of(folder / "proposals.json")]
    assert scores[0.6] == [score for score in scores[0] if score >= 0.6] != scores[0]


def test_a_label_map_has_the_numbers_of_the_objects(folder: Path) -> None:
    assert run("pictures", *CPU, "--flat", cwd=folder).returncode == 0
    done = run("pictures", *CPU, "--flat", "--format", "png", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote png files in masks" in done.stdout
    for image in images_of(folder / "proposals.json"):
        results = [
            one for one in results_of(folder / "proposals.json") if one["image_id"] == image["id"]
        ]
        numbers = pixels(folder / "masks" / Path(image["file_name"]).with_suffix(".png"))
        assert numbers.max() == len(results) > 0
        for number, mask in enumerate(masks_of(results), 1):
            assert ((numbers == number) == mask.to_array().astype(bool)).all()


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("labelme", {"pictures/a.json", "pictures/b.json"}),
        ("yolo-seg", {"labels/a.txt", "labels/b.txt", "labels/data.yaml"}),
        ("png", {"masks/a.png", "masks/b.png"}),
        ("cutout", {f"cutouts/{name}-{number}.png" for name in "ab" for number in (1, 2)}),
    ],
)
def test_formats_have_files_of_their_own(folder: Path, kind: str, files: set[str]) -> None:
    """They take the place of the results; written by a run, they may be replaced by the next."""
    before = {path for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):
        done = run("pictures", *CPU, "--format", kind, "--top", 2, cwd=folder)
        assert (done.returncode, done.stderr) == (0, "")
        made = {path for path in folder.rglob("[!.]*") if path.is_file()} - before
        assert {path.relative_to(folder).as_posix() for path in made} == files
        assert f"wrote {kind} files in {files.pop().split('/')[0]}" in done.stdout
        files |= {path.relative_to(folder).as_posix() for path in made}


def test_cut_outs_of_an_earlier_run_do_not_mix_with_the_new(folder: Path) -> None:
    for top in (3, 1):
        options = ("--format", "cutout", "--top", top, "--parts")
        assert run("pictures", *CPU, *options, cwd=folder).returncode == 0
        made = {path.name for path in (folder / "cutouts").glob("*.png")}
        assert made == {f"{name}-{number}.png" for name in "ab" for number in range(1, top + 1)}


def test_one_page_for_all_pictures(folder: Path) -> None:
    done = run("pictures", *CPU, "--html", "pages/report.html", "--top", 3, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrote pages/report.html" in done.stdout
    text = (folder / "pages" / "report.html").read_text()
    pictures = [json.loads(part) for part in re.findall(r'class="picture".*?>(.*)</script>', text)]
    assert [one["name"] for one in pictures] == ["a.png", "b.jpg"]
    results = results_of(folder / "proposals.json")
    scores = [one["score"] for picture in pictures for one in picture["objects"]]
    assert scores == pytest.approx([one["score"] for one in results], abs=1e-6)


def test_a_video(folder: Path) -> None:
    options = ("--overlay", "drawn.mp4", "--out", "clip.json", "--top", 3)
    done = run("clip.mp4", *CPU, *options, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean time of 5 frames, ms" in done.stdout
    assert re.search(r"^5 frames in \S+ s, \S+ frames per second$", done.stdout, re.MULTILINE)
    images, results = images_of(folder / "clip.json"), results_of(folder / "clip.json")
    assert [image["id"] for image in images] == [1, 2, 3, 4, 5]
    assert images[4]["file_name"] == "clip.mp4#000005"
    assert (images[4]["width"], images[4]["height"]) == (128, 96)
    with closing(Video(folder / "drawn.mp4")) as drawn, closing(Video(folder / "clip.mp4")) as clip:
        assert drawn.rate == clip.rate == 10
        pairs = list(zip(drawn.frames(), clip.frames(), strict=True))
    assert len(pairs) == 5
    for image, (shown, frame) in zip(images, pairs, strict=True):
        own = [one for one in results if one["image_id"] == image["id"]]
        assert own
        expected = draw_masks(frame, masks_of(own))
        assert np.abs(shown.astype(int) - expected).mean() < 12  # the codec's loss
    assert run("clip.mp4", *CPU, *options, cwd=folder).returncode == 0  # over its own results


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["pictures", "--nms", "2"], 2, "'--nms': 2.0 is not in the range 0<=x<=1"),
        (["pictures", "--min-score", "nan"], 2, "'--min-score': nan is not a number"),
        (["pictures", "--format", "bmp"], 2, "'bmp' is not one of 'coco', 'labelme'"),
        (["pictures", "--html", "pictures/a.png"], 2, "--html pictures/a.png"),
        (["pictures", "--format", "png", "--out", "pictures"], 2, "--out pictures/a.png"),
        (["pictures", "--format", "labelme"], 2, "--out pictures/b.json"),
        (["a.bmp", "a.jpg", "--format", "labelme"], 2, "a.json: two images would get this"),
        (["pictures", "--format", "png", "--out", "clip.mp4/m"], 2, "cannot be written"),
        (["-", "--format", "labelme"], 2, "standard input has none"),
        (["pictures", "--top", "65536"], 2, "'--top': 65536 is not in the range 1<=x<=65535"),
        (["clip.mp4", "pictures"], 2, "clip.mp4: a video is run alone"),
        (["clip.mp4", "--format", "png"], 2, "--format png: of a video there are COCO results"),
        (["clip.mp4", "--html", "r.html"], 2, "--html r.html: is for images"),
        (["clip.mp4", "--overlay", "o.png"], 2, "--overlay o.png: expected a video, .mp4, .mov"),
        (["clip.mp4", "--overlay", "clip.mp4"], 2, "--overlay clip.mp4"),
        (["gone.mp4"], 2, "gone.mp4: no such file"),
        (["pictures/bad.mp4"], 1, "bad.mp4: not a video that can be read"),
        (["77"], 1, "camera 77: there is no such camera"),
    ],
)
def test_errors_are_one_line(folder: Path, arguments: list[str], code: int, text: str) -> None:
    (folder / "pictures" / "b.json").write_text('{"version": "6.0", "shapes": ["by hand"]}')
    (folder / "pictures" / "bad.mp4").write_text("no video")
    for name in ("a.bmp", "a.jpg"):
        (folder / name).touch()
    done = run(*arguments, *CPU, cwd=folder)
    assert text in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert done.returncode == code
