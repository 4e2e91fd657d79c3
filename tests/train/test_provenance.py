"""What is noticed when a run is resumed under other conditions."""

from __future__ import annotations

from pathlib import Path

import torch

from deepmask.train.device import Hardware
from deepmask.train.provenance import changes, conditions


def test_changes_are_named_and_moved_files_are_none(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    for name, text in (("a", "1"), ("b", "2"), ("moved", "1")):
        (tmp_path / name).write_text(text)
    before = conditions([tmp_path / "a"], Hardware(cpu, bf16=True))
    assert changes(before, conditions([tmp_path / "moved"], Hardware(cpu, bf16=True))) == []
    now = conditions([tmp_path / "a", tmp_path / "b"], Hardware(cpu, bf16=False))
    assert changes(before, now) == [
        "precision was bf16, is fp32",
        "the training annotations have changed",
    ]


def test_what_a_checkpoint_says_cannot_steer_a_terminal() -> None:
    assert changes({"precision": "\x1b[2J\n"}, {"precision": "fp32"}) == [
        "precision was \\x1b[2J\\n, is fp32"
    ]


def test_checkpoints_without_them_are_taken_as_they_are() -> None:
    now = {"precision": "bf16"}
    for before in (None, {}, [1], {"precision": 3}):
        assert changes(before, now) == []
