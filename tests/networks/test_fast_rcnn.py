"""Fast R-CNN: parameters, what learns, and what a box reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.config import ConfigError
from deepmask.networks.families import build
from deepmask.networks.fast_rcnn import FastRcnn, start_from_proposals, train_head
from deepmask.networks.fpn_lite import FpnLite
from deepmask.networks.presets import PRESETS
from tests.networks.tiny_fast_rcnn import OF_PYRAMID, OF_TRUNK

COCO = {
    "category_ids": tuple(range(1, 81)),
    "category_names": tuple(f"thing {k}" for k in range(80)),
}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("fast-rcnn", (49 * 128 + 1) * 1024 + 1025 * 1024 + 1025 * (81 + 320)),
        ("fast-rcnn-lite", (4 * (112 + 320) + 1) * 384 + 385 * 384 + 385 * (81 + 320)),
    ],
)
def test_heads_have_as_many_parameters_as_they_should(preset: str, expected: int) -> None:
    with torch.device("meta"):
        network = build(replace(PRESETS[preset].config, **COCO))
    assert isinstance(network, FastRcnn)
    assert sum(p.numel() for p in network.head.parameters()) == expected


def test_the_base_of_the_light_preset_is_the_shipped_network() -> None:
    assert PRESETS["fast-rcnn-lite"].config.base() == PRESETS["fpn-lite"].config


@pytest.mark.parametrize("config", [OF_PYRAMID, OF_TRUNK], ids=["pyramid", "trunk"])
def test_names_and_offsets_of_boxes(config: FastRcnnConfig) -> None:
    torch.manual_seed(0)
    network = FastRcnn(config).eval()
    image = torch.rand(1, 3, 128, 256) * 255
    maps = network.maps(image, network.base.features(image))
    found = {
        stride: (1, channels, 128 // stride, 256 // stride)
        for stride, channels in network.map_channels().items()
    }
    assert [tuple(one.shape) for one in maps] == list(found.values())
    boxes = torch.tensor([[0.0, 0.0, 30.0, 40.0], [-20.0, 10.0, 400.0, 90.0]])
    logits, offsets = network.name(maps, boxes)
    assert (logits.shape, offsets.shape) == ((2, 3), (2, 2, 4))
    alone = network.name(maps, boxes[1:])
    torch.testing.assert_close(alone[0][0], logits[1])
    torch.testing.assert_close(alone[1][0], offsets[1])


def test_only_the_head_learns() -> None:
    network = FastRcnn(OF_TRUNK)
    (group,) = train_head(network, PRESETS["fast-rcnn-lite"].recipe)
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning == {f"head.{name}" for name, _ in network.head.named_parameters()}
    assert len(group.parameters) == len(learning)


def test_the_base_is_copied_whole() -> None:
    base, network = FpnLite(OF_PYRAMID.base()), FastRcnn(OF_PYRAMID)
    start_from_proposals(network, base)
    for name, value in base.state_dict().items():
        assert torch.equal(network.base.state_dict()[name], value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"category_ids": ()}, "0 ids and 2 names of categories"),
        ({"category_ids": (1, 1)}, "two categories have the same id"),
        ({"category_names": ("a", "a")}, "two categories have the same name"),
        ({"name_trunk": "vgg-a"}, "name_trunk 'vgg-a' is not one of"),
        ({"roi": 0}, "roi is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_what_cannot_be_built_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(OF_PYRAMID, **change)  # type: ignore[arg-type]
