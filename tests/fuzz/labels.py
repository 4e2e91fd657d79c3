"""Hostile labels and proposals: COCO JSON as evaluation and training read it, RLE, VOC, records."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pycocotools.mask as coco_mask
from PIL import Image

from deepmask.coco.annotations import LabelledSet, full_mask
from deepmask.coco.errors import LabelError
from deepmask.coco.formats import read_labels
from deepmask.coco.reader import read_coco
from deepmask.coco.segmentation import to_rle
from deepmask.coco.writer import write_coco
from deepmask.evaluate import compare, report
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.ground_truth import coco_truth, voc_truth
from deepmask.evaluate.matching import rank_matches
from deepmask.evaluate.proposals_json import ResultsFile
from deepmask.evaluate.records import repair
from deepmask.networks.families import FAMILIES
from deepmask.train.log import Log, columns
from tests.evaluate.scenes import labelled_set, proposals
from tests.fuzz.mutations import Target, damaged, damaged_json, exchanged

LABELS = labelled_set(3, images=2, objects=3)
PROPOSALS = proposals(3, LABELS, each=2, noise=2)
#: Segmentations that cost more than they look like, or that lie.
SHAPES: tuple[Any, ...] = (
    *([[-1e5] * 6], [[0, 0, 1e5, 0, 1e5, 1e5]], [[0, 0, 1e5, 1e5] * 2000], [[0.5] * 6] * 50),
    *([[0, 0, 150, 200] * 5000], [[5, 5, 5, 5, 5, 5]], [[float("inf")] * 6]),
    *({"size": [150, 200], "counts": ""}, {"size": [150, 200], "counts": [30_000]}),
    *({"size": [150, 200], "counts": [2**40]}, {"size": [150, 200], "counts": "o" * 3000}),
    *({"size": [2**31, 2**31], "counts": "0"}, {"counts": [1], "size": 3}),
    {"size": [150, 200], "counts": [15_000, 0, 0, 0, 15_000]},
    *({"size": [150, 200], "counts": [True, 29_999]}, {"size": [150.0, 200], "counts": [30_000]}),
    *([{"size": [150, 200], "counts": [9.0, 9.0, 29_982.0]}], {"counts": ["1", 2.5]}),
    *([["1", "nan", "1e9"] * 2], [{"x": 1, "y": []}] * 3, [[[[[[[1]]]]]]]),
)


def evaluation_labels(path: Path) -> None:
    """Everything that is read from a labelled set, matched with fixed proposals."""
    truth = coco_truth(path)
    good = path.with_name("results.json")
    good.write_text(json.dumps(PROPOSALS))
    file = ResultsFile(good, truth.pictures)
    for image_id in truth.pictures:
        objects, found = truth.objects(image_id), file.candidates(image_id)
        rank_matches(found, objects, truth.kinds)


def results(path: Path) -> None:
    """Everything that is read from proposals, matched with fixed labels."""
    good = path.with_name("labels.json")
    good.write_text(json.dumps(LABELS))
    truth = coco_truth(good)
    file = ResultsFile(path, truth.pictures)
    for image_id in truth.pictures:
        objects, found = truth.objects(image_id), file.candidates(image_id)
        kinds = ("segm", "bbox") if file.has_masks else ("bbox",)
        for areas in rank_matches(found, objects, kinds).values():
            assert areas["all"].max(initial=0) <= len(found.scores)


def training_labels(path: Path) -> None:
    """Every usable object's mask."""
    images = path.with_name("images")
    images.mkdir(exist_ok=True)
    for entry in LABELS["images"]:
        (images / entry["file_name"]).touch()
    found = read_coco(path, images)
    counted(found)
    write_coco(path.with_name("again.json"), found, images)
    again = read_coco(path.with_name("again.json"), images)
    assert len(again.objects) == len(found.objects)


def run_lengths(path: Path) -> None:
    """One segmentation on its own, and what matching does with it."""
    rle = to_rle(json.loads(path.read_bytes()), 150, 200)
    assert coco_mask.decode(rle).sum() == coco_mask.area(rle) <= 150 * 200
    whole = coco_mask.encode(coco_mask.decode(rle))
    assert coco_mask.iou([rle], [whole], [0]).shape == (1, 1)


def make_run_lengths(chance: Random) -> bytes:
    """A segmentation: of the labelled set, of `SHAPES`, or characters at random."""
    known = [a["segmentation"] for a in LABELS["annotations"]]
    how = chance.randrange(5)
    if how == 4:
        return json.dumps({"size": [150, 200], "counts": _spelled(chance)}).encode()
    if how == 0:
        return json.dumps(chance.choice(SHAPES)).encode()
    if how == 1:
        counts: Any = "".join(chr(48 + chance.randrange(64)) for _ in range(chance.randrange(40)))
        return json.dumps({"size": [150, 200], "counts": counts}).encode()
    if how == 2:
        cuts = sorted(chance.randrange(30_001) for _ in range(chance.randrange(9)))
        counts = [b - a for a, b in zip([0, *cuts], [*cuts, 30_000], strict=True)]
        return damaged_json({"size": [150, 200], "counts": counts}, chance)
    segmentation = chance.choice(known)
    if isinstance(segmentation, dict) and chance.random() < 0.7:
        counts = damaged(segmentation["counts"].encode(), chance).decode("latin-1")
        return json.dumps({**segmentation, "counts": counts}).encode()
    return damaged_json(segmentation, chance, SHAPES)


def _spelled(chance: Random) -> str:
    """Runs in COCO's characters that add up, though one may be below 0 or beyond 32 bits, and some
    have digits that say nothing."""
    reach = (0, 30_000) if chance.random() < 0.7 else (-40_000, 70_000)
    cuts = [chance.randint(*reach) for _ in range(chance.randrange(9))]
    cuts = sorted(cuts) if chance.random() < 0.7 else cuts
    runs = [b - a for a, b in zip([0, *cuts], [*cuts, 30_000], strict=True)]
    runs[-1] += chance.choice((0, 0, 0, 0, 2**31, 2**32, 2**63, 2**64))
    text = ""
    for index, run in enumerate(runs):
        rest, useless = run - (runs[index - 2] if index > 2 else 0), chance.choice((0, 0, 0, 1, 9))
        more = True
        while more:
            digit, rest = rest & 31, rest >> 5
            more = rest != (-1 if digit & 16 else 0)
            if not more and useless:
                more, useless = True, useless - 1
            text += chr(48 + digit + 32 * more)
    return text


def voc(path: Path) -> None:
    """A folder of one image whose XML is the file, or whose list is."""
    content = path.read_bytes()
    folder = path.with_name("voc")
    for name in ("ImageSets/Main", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    is_list = not content.lstrip().startswith(b"<")
    (folder / "ImageSets/Main/test.txt").write_bytes(content if is_list else b"000001\n")
    (folder / "Annotations/000001.xml").write_bytes(VOC if is_list else content)
    truth = voc_truth(folder)
    assert all(truth.objects(number).boxes.shape[1] == 4 for number in truth.pictures)


def labelme(path: Path) -> None:
    """A folder of one file, and what can be used of it."""
    folder = path.with_name("labelme")
    folder.mkdir(exist_ok=True)
    (folder / "a.json").write_bytes(path.read_bytes())
    counted(read_labels(folder))


MASK = (
    "iVBORw0KGgoAAAANSUhEUgAAAAkAAAAGAQAAAAA5vIloAAAAD0lEQVR4nGP838jEwICMABl9AYzPuhBz"
    "AAAAAElFTkSuQmCC"
)
LABELME = {
    **{"imagePath": "sub\\a.jpg", "imageWidth": 200, "imageHeight": 150, "version": "5.0"},
    "shapes": [
        {"label": "cat", "points": [[9, 9], [90, 9], [90, 80]], "shape_type": "polygon"},
        {"label": "cat", "points": [[1, 1], [20, 30]], "shape_type": "rectangle", "group_id": 1},
        {"label": "cat", "points": [[50, 50], [50, 60]], "shape_type": "circle", "group_id": 1},
        {"label": "dog", "points": [[5, 5], [13, 10]], "shape_type": "mask", "mask": MASK},
    ],
}
POINTS: tuple[Any, ...] = ([[0, 0]] * 5000, [[1e308, 1e308], [0, 0]], [[float("nan")] * 2] * 3)


def yolo(path: Path) -> None:
    """The labels of one picture, and what can be used of them; or names of categories."""
    folder, content = path.with_name("yolo"), path.read_bytes()
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.new("L", (200, 150)).save(folder / "images" / "a.png")
    is_names = b"names" in content
    (folder / "data.yaml").write_bytes(content if is_names else b"names: [a, b]")
    (folder / "labels" / "a.txt").write_bytes(YOLO if is_names else content)
    counted(read_labels(folder / "labels", folder / "images"))


YOLO = b"0 0.1 0.1 0.5 0.1 0.5 0.6\n1 0.5 0.5 0.2 0.2\n\n1 0.3 0.3 0.4 0.9 0.1 0.9 0.2 0.5\n"
NAMES = b"path: x\nnames:\n  0: cat\n  1: 'a dog' # one\nnc: 2\nkpt_shape: [1, 2]\n"


def counted(found: LabelledSet) -> None:
    """Everything is drawn, written and read again."""
    for item in found.objects:
        assert item.segmentation is None or full_mask(item).any()
    assert all("\n" not in str(problem) for problem in found.problems)
    unknown = found.unknown_by_image()
    assert all(left.image is None or unknown[left.image.id] for left in found.ignored)


def make_yolo(chance: Random) -> bytes:
    return damaged(NAMES if chance.random() < 0.2 else YOLO, chance)


VOC = b"""<annotation><size><width>500</width><height>375</height></size><object>
<name>dog</name><difficult>0</difficult><bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax>
<ymax>371</ymax></bndbox></object><!-- one --></annotation>"""
BOMB = b"""<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><annotation>&c;</annotation>"""
DEEP = b"<a>" * 100_000


def make_voc(chance: Random) -> bytes:
    how = chance.randrange(10)
    if how == 0:
        return chance.choice((BOMB, DEEP, VOC.decode().encode("utf-16"), b"\xef\xbb\xbf" + VOC))
    if how == 1:
        return damaged(b"000001\n../000001\n000002 1\n", chance)
    return damaged(VOC, chance)


RANKS = {area: [[1] * 10] for area in ("all", "small", "medium", "large")}
RECORD = {"image_id": 1, "seconds": 0.5, "proposals": 9, "ranks": {"bbox": RANKS}}


RUN = {
    **{"format": "deepmask-eval/1", "name": "a", "dataset": "coco", "kinds": ["bbox"]},
    **{"annotations": {"name": "b", "sha256": "0"}, "source": {"proposals": 1000}},
    **{"shard": [1, 1], "images": 2, "images_of_all_shards": 2, "limit": None},
}


def records(path: Path) -> None:
    """A run's folder, after the repair of a torn end: what is reported of it, and in comparison."""
    folder, other = path.with_name("run"), path.with_name("other")
    content = path.read_bytes()
    is_run = b'"kinds"' in content
    for one in (folder, other):
        one.mkdir(exist_ok=True)
        (one / "run.json").write_text(json.dumps(RUN))
        (one / "records.jsonl").write_bytes(json.dumps(RECORD).encode() + b"\n")
    (folder / ("run.json" if is_run else "records.jsonl")).write_bytes(content)
    if repair(folder):
        assert report.describe(report.measure(folder))
        assert compare.describe(compare.compare([other, folder]))


def make_records(chance: Random) -> bytes:
    if chance.random() < 0.4:
        if chance.random() < 0.5:
            return json.dumps(exchanged(RUN, chance)).encode()
        return damaged_json(RUN, chance, ("segm", "voc", "a\x1b[2J", [2, 1]))
    line = json.dumps(RECORD).encode() + b"\n"
    return line * chance.randrange(3) + damaged_json(RECORD, chance) + b"\n" * chance.randrange(2)


COLUMNS = columns(FAMILIES["deepmask"], ("mask", "score"))
ROW = ",".join(["4", *("0.5" for _ in COLUMNS[1:])])


def log(path: Path) -> None:
    """A run's log that is continued."""
    Log(path, 5, COLUMNS).highest(COLUMNS[-1])


def make_log(chance: Random) -> bytes:
    return damaged(f"{','.join(COLUMNS)}\n{ROW}\n{ROW}\n".encode(), chance)


def make_labels(chance: Random) -> bytes:
    return damaged_json(LABELS, chance, SHAPES)


TARGETS = (
    Target("coco labels, evaluation", make_labels, evaluation_labels, (EvalError,)),
    Target("coco labels, training", make_labels, training_labels, (LabelError,)),
    Target("coco results", lambda c: damaged_json(PROPOSALS, c, SHAPES), results, (EvalError,)),
    Target("run lengths", make_run_lengths, run_lengths, (ValueError,)),
    Target("voc labels", make_voc, voc, (EvalError,)),
    Target("labelme", lambda c: damaged_json(LABELME, c, POINTS), labelme, (LabelError,)),
    Target("yolo labels", make_yolo, yolo, (LabelError,)),
    Target("evaluation records", make_records, records, (EvalError,)),
    Target("training log", make_log, log, ()),
)
