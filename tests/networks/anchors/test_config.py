"""Configurations of networks with anchors: what can be built, and on which levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepmask.networks.anchors.config import FasterRcnnConfig, RetinaNetConfig, RpnConfig
from deepmask.networks.config import ConfigError
from deepmask.networks.whole.config import FpnLiteConfig


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trunk": "vgg-a"}, "trunk 'vgg-a' is not one of resnet18, resnet50, efficientnet-lite0"),
        ({"width": 0}, "width is 0"),
        ({"octave": 0}, "octave is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"hidden": 0}, "hidden is 0"),
        ({"cells": 0.25}, "cells is 0.25, it must be 0.5 to 64"),
        ({"last": 2}, "last is 2, it must be 1 or 3"),
        ({"category_ids": ()}, "0 ids and 1 names of categories"),
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(RetinaNetConfig(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roi": 0}, "roi is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"code": 0}, "code is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"category_names": ("a", "b")}, "1 ids and 2 names of categories"),
        ({"layers": 0}, "layers is 0"),
    ],
)
def test_heads_that_cannot_be_built_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(FasterRcnnConfig(), **change)  # type: ignore[arg-type]


def test_only_light_networks_start_from_an_fpn_lite() -> None:
    light = RpnConfig(trunk="efficientnet-lite2", width=128)
    assert light.base() == FpnLiteConfig()
    assert light.strides == RetinaNetConfig().strides
    assert RpnConfig().base() is None


def test_faster_rcnn_reads_boxes_from_all_levels_but_the_coarsest() -> None:
    """P6 is for proposals only (§4.3)."""
    assert FasterRcnnConfig().box_strides == (4, 8, 16, 32)
