"""The log of a run."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from deepmask.networks.families import FAMILIES
from deepmask.train.log import Log, columns
from deepmask.train.loop import LOG
from deepmask.train.recall import DECIDING

COLUMN = DECIDING[0]


def test_a_log_of_before_recall_was_measured_is_continued(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("step,mask_loss,val_mask_iou\n2,0.5,0.7\n4,0.4,\n6,0.3,\n")
    log = Log(tmp_path / LOG, 4, columns(FAMILIES["deepmask"], ("mask", "score")))
    assert log.highest("val_mask_iou") == 0.7
    assert log.highest(COLUMN) == -math.inf
    log.write({"step": 5, COLUMN: 0.25})
    with (tmp_path / LOG).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["mask_loss"], row[COLUMN]) for row in rows] == [
        ("2", "0.5", ""),
        ("4", "0.4", ""),
        ("5", "", "0.25"),
    ]
