"""Result files: whole, loadable, and kept when the run is cut short."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from deepmask import DeepMask
from deepmask.runtime.io.results import ResultsError, ResultsWriter, image_ids, write_picture
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.predict.proposals import CocoResult


def result(image_id: int) -> CocoResult:
    rle, box = {"size": [1, 1], "counts": "01"}, [0.0, 0.0, 1.0, 1.0]
    one = {"image_id": image_id, "category_id": 1, "segmentation": rle, "bbox": box, "score": 0.5}
    return cast("CocoResult", one)


def test_image_ids() -> None:
    """Keep COCO's numbers, and give the others the free ones."""
    names = ["holiday.jpg", "000000000002.jpg", "COCO_val2014_000000000042.jpg"]
    names += ["b/000000000002.png", "0042.jpg", "x000000000007.jpg", "holiday.jpg"]
    ids = image_ids([Path(name) for name in names])
    assert ids == [1, 2, 42, 3, 4, 5, 6]
    assert image_ids([Path(f"{n:012d}.jpg") for n in (3, 1, 2)]) == [3, 1, 2]


def test_pycocotools_loads_both_files(model: DeepMask, tmp_path: Path) -> None:
    image = np.full((90, 120, 3), 127, np.uint8)
    image[20:60, 30:80] = 255
    proposals = model(image, proposals=50)
    out = tmp_path / "p.json"
    with ResultsWriter(out) as writer:
        writer.add(proposals.to_coco(7), 7, "seven.jpg", 90, 120)
        writer.add([], 8, "eight.jpg", 5, 6)
    coco = COCO(str(tmp_path / "p.images.json"))
    loaded = coco.loadRes(str(out))
    assert coco.getImgIds() == [7, 8]
    assert coco.loadImgs(7) == [{"id": 7, "file_name": "seven.jpg", "height": 90, "width": 120}]
    assert coco.getCatIds() == [1]
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=7))
    assert len(annotations) == len(proposals.to_coco(7)) > 0
    assert [coco.annToMask(one).sum() for one in annotations] == [
        area for area in proposals.areas.tolist() if area
    ]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, SystemExit])
def test_what_was_added_survives_an_exception(tmp_path: Path, stop: type[BaseException]) -> None:
    out = tmp_path / "p.json"

    def interrupted() -> None:
        with ResultsWriter(out) as writer:
            writer.add([result(1)] * 3, 1, "a", 2, 3)
            writer._results.append([result(2)])  # and then, before its image is noted:
            writer._results._file.write(b',\n{"image_id": 2, "categ')
            raise stop

    with pytest.raises(stop):
        interrupted()
    assert json.loads(out.read_text()) == [result(1)] * 3
    assert len(json.loads((tmp_path / "p.images.json").read_text())["images"]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"p.json", "p.images.json", RECORD}


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_keeps_what_fitted(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(out: Path) -> Iterator[int]:
        with ResultsWriter(out) as writer:
            for index in range(100):
                writer.add(results, index, "x", 1, 1)
                yield index + 1

    results = [result(1)] * 3
    for limit in range(900, 1400, 17):
        out, done = tmp_path / f"{limit}.json", 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            for whole in fill(out):
                done = whole
        except ResultsError as error:
            assert "cannot be written (File too large)" in str(error)  # noqa: PT017
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert done < 100
        assert done > 1
        assert len(json.loads(out.read_text())) == 3 * done
        assert len(json.loads(out.with_suffix(".images.json").read_text())["images"]) == done


def test_nothing_done_leaves_earlier_results_alone(tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    out.write_text("[1]")
    with ResultsWriter(out):
        pass
    assert out.read_text() == "[1]"
    assert list(tmp_path.iterdir()) == [out]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"p.json: cannot be written \(Not a directory"):
        ResultsWriter(tmp_path / "file" / "nowhere" / "p.json")
    (tmp_path / "file").unlink()
    with pytest.raises(ResultsError, match="is a folder, expected the name of a JSON file"):
        ResultsWriter(tmp_path)
    picture = np.zeros((2, 2, 3), np.uint8)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert Image.open(tmp_path / "new" / "a.png").size == (2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_results_that_cannot_get_their_name_are_not_lost(tmp_path: Path) -> None:
    """The folder's name was taken in the meantime: the error says where they are."""
    out = tmp_path / "p.json"
    writer = ResultsWriter(out)
    writer.add([result(1)], 1, "a", 2, 3)
    [partial] = tmp_path.glob("p.json.*tmp")  # on disk as they come
    assert json.loads(partial.read_text()) == [result(1)]
    out.mkdir()
    with pytest.raises(ResultsError, match="what was done is in ") as caught:
        writer.__exit__(None, None, None)
    left = Path(str(caught.value).split(" is in ")[1])
    assert json.loads(left.read_text()) == [result(1)]
