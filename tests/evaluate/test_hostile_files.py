"""Damaged and hostile JSON: every outcome is figures or an `EvalError` of one line."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepmask.evaluate.annotations import read_coco
from deepmask.evaluate.errors import EvalError
from deepmask.evaluate.matching import rank_matches
from deepmask.evaluate.records import read_records
from deepmask.evaluate.results import ResultsFile

from .scenes import labelled_set, proposals

VALUES: list[Any] = [
    *(None, True, "", "x", "9" * 400, "\x00é", [], {}, [[]], [[0] * 7], [[1, 2, 3, 4, 5, "6"]]),
    *(0, -1, 1, 2, 0.5, 1e308, -1e308, 10**30, 10**400, 2**31, 2**63, [1e308] * 4, [-5, -5, 9, 9]),
    *([[-1e5] * 6], [[0, 0, 1e5, 0, 1e5, 1e5]], {"size": [150, 200], "counts": ""}),
    *({"size": [150, 200], "counts": [30_000]}, {"size": [150, 200], "counts": [2**40]}),
    *({"size": [150, 200], "counts": "o" * 3000}, {"size": [2**31, 2**31], "counts": "0"}),
    *({"size": [150, 200], "counts": [15_000, 0, 0, 0, 15_000]}, {"counts": [1], "size": 3}),
]


def damaged(text: str, chance: random.Random) -> bytes:
    """Bytes changed, left out, doubled or cut."""
    content = bytearray(text.encode())
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(content))
        how = chance.randrange(4)
        if how == 0:
            content[at] = chance.randrange(256)
        elif how == 1:
            del content[at : at + chance.randint(1, 30)]
        elif how == 2:
            content[at:at] = content[at : at + chance.randint(1, 30)]
        else:
            content[at:at] = chance.choice([b"[", b"{", b'"', b"-", b"e9", b"NaN", b",", b"]"])
    return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.1 else content)


def twisted(content: Any, chance: random.Random) -> str:
    """Some values of the tree exchanged for hostile ones, or left out."""
    content = copy.deepcopy(content)
    for _ in range(chance.randint(1, 3)):
        node: Any = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and chance.random() < 0.8:
                node = node[key]
                continue
            if chance.random() < 0.15:
                del node[key]
            else:
                node[key] = copy.deepcopy(chance.choice(VALUES))
            break
    return json.dumps(content)


def measured(labels: Path, results: Path) -> None:
    """Everything that is read from both files, and matched."""
    truth = read_coco(labels)
    file = ResultsFile(results, truth.pictures)
    for image_id in truth.pictures:
        objects, found = truth.objects(image_id), file.candidates(image_id)
        kinds = ("segm", "bbox") if objects.rles is not None and file.has_masks else ("bbox",)
        for areas in rank_matches(found, objects, kinds).values():
            assert areas["all"].max(initial=0) <= len(found.scores)


def refusal(work: Callable[[], object]) -> str | None:
    """The text of the `EvalError` that the work ends in; None if it ends well."""
    try:
        work()
    except EvalError as error:
        return str(error)
    return None


@pytest.mark.parametrize("what", ["labels", "results"])
@pytest.mark.parametrize("seed", range(5))
def test_damaged_files_end_in_figures_or_one_line(tmp_path: Path, what: str, seed: int) -> None:
    chance = random.Random(f"{what} {seed}")
    labels = labelled_set(3, images=2, objects=3)
    content = {"labels": labels, "results": proposals(3, labels, each=2, noise=2)}
    paths = {name: tmp_path / f"{name}.json" for name in content}
    for name, path in paths.items():
        path.write_text(json.dumps(content[name]))
    measured(paths["labels"], paths["results"])
    refused = 0
    for _ in range(60):
        if chance.random() < 0.5:
            paths[what].write_text(twisted(content[what], chance))
        else:
            paths[what].write_bytes(damaged(json.dumps(content[what]), chance))
        text = refusal(lambda: measured(paths["labels"], paths["results"]))
        if text is not None:
            assert "\n" not in text
            assert len(text) < 600
            refused += 1
    assert refused > 10, "the damage is too small to tell anything"


def test_damaged_records_are_refused(tmp_path: Path) -> None:
    ranks = {area: [[1] * 10] for area in ("all", "small", "medium", "large")}
    line = json.dumps({"image_id": 1, "seconds": 0.5, "proposals": 9, "ranks": {"bbox": ranks}})
    (tmp_path / "records.jsonl").write_text(line + "\n")
    assert len(list(read_records(tmp_path))) == 1
    chance, refused = random.Random(0), 0
    for _ in range(300):
        (tmp_path / "records.jsonl").write_text(twisted(json.loads(line), chance) + "\n")
        text = refusal(lambda: list(read_records(tmp_path)))
        refused += text is not None
        assert text is None or "line 1 is not a record" in text
    assert refused > 30
