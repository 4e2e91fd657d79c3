"""Heads: what a score head reads of a window is a layer of the mask head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deepmask.networks.heads import (
    MASK_HEAD_CLASSES,
    READINGS,
    SCORE_HEAD_CLASSES,
    FullMaskHead,
    LowRankMaskHead,
    MaskHead,
)
from deepmask.networks.patches.config import MASK_HEADS, SCORE_HEADS, DeepMaskConfig

SMALL = DeepMaskConfig(64, 0, "resnet18", 4, "low-rank", 5, 7, "shared", 6)


@pytest.fixture
def window() -> Tensor:
    return torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "head", [LowRankMaskHead(6, 3, 4, 5, 7), FullMaskHead(6, 3, 4, 7)], ids=["low-rank", "full"]
)
def test_a_mask_is_made_of_its_code_and_the_code_of_the_reduced_window(
    head: MaskHead, window: Tensor
) -> None:
    features, reduced, code = (head.read(reading, window) for reading in READINGS)
    assert features is window
    torch.testing.assert_close(reduced, torch.relu(head.reduce(window)))
    torch.testing.assert_close(code, head.code(window))
    torch.testing.assert_close(head(window), head.from_code(code))
    assert head(window).shape == (2, 7, 7)
    assert len(code) == 2


def test_every_head_that_a_configuration_may_name_is_there() -> None:
    assert tuple(MASK_HEAD_CLASSES) == MASK_HEADS
    assert tuple(SCORE_HEAD_CLASSES) == SCORE_HEADS
    assert {head.reads for head in SCORE_HEAD_CLASSES.values()} == set(READINGS)


def test_no_head_is_another_one() -> None:
    heads = [*MASK_HEAD_CLASSES.values(), *SCORE_HEAD_CLASSES.values()]
    for one in heads:
        assert [other for other in heads if issubclass(one, other)] == [one]
        names = [name for name, _ in one.of(SMALL).named_children()]
        first = getattr(one, "first", "reduce")
        assert first in names
