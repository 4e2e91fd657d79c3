"""What is noticed when a run is resumed under other conditions."""

from __future__ import annotations

import torch

from deepmask.train.device import Hardware
from deepmask.train.provenance import changes, conditions


def test_changes_are_named() -> None:
    cpu = torch.device("cpu")
    before = conditions(["aa"], Hardware(cpu, bf16=True))
    assert changes(before, conditions(["aa"], Hardware(cpu, bf16=True))) == []
    now = conditions(["aa", "bb"], Hardware(cpu, bf16=False))
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
