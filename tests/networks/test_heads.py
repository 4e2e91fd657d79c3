"""Heads: what a score head reads of a window is a layer of the mask head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from deepmask.networks.heads import (
    READINGS,
    FullMaskHead,
    LowRankMaskHead,
    MaskHead,
    make_mask_head,
    make_score_head,
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


def test_every_head_that_a_configuration_may_name_can_be_made() -> None:
    masks = [make_mask_head(one) for one in configs("mask_head", MASK_HEADS)]
    scores = [make_score_head(one) for one in configs("score_head", SCORE_HEADS)]
    assert [type(one) for one in masks] == [LowRankMaskHead, FullMaskHead]
    assert len({type(one) for one in scores}) == len(SCORE_HEADS)
    assert {one.reads for one in scores} == set(READINGS)
    for mask in masks:
        assert [name for name, _ in mask.named_children()] == list(mask.layers)
    for score in scores:
        assert score.first in dict(score.named_children())
    heads = [type(one) for one in (*masks, *scores)]
    for kind in heads:  # none is another one
        assert [other for other in heads if issubclass(kind, other)] == [kind]


def configs(field: str, names: Sequence[str]) -> list[DeepMaskConfig]:
    changes = [{field: name, **({"rank": 0} if name == "full" else {})} for name in names]
    base = replace(SMALL, score_head="pooled")
    return [replace(base, **change) for change in changes]  # type: ignore[arg-type]
