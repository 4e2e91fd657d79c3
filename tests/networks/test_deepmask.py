"""The networks: sizes against the papers, combinations, and what the configuration refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from deepmask.networks.config import TRUNK_STAGES, ConfigError
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import build
from deepmask.networks.patches.config import MASK_HEADS, SCORE_HEADS, DeepMaskConfig
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import PADDING_MODES, TRUNKS


@pytest.mark.parametrize(
    ("preset", "millions"),
    [
        ("deepmask-vgg-a", 75.8),  # DeepMask §3.1: about 75 M
        ("deepmask-full", 337.6),  # over 300 M
        ("deepmask-r18", 11.5),  # under 30 MB as float16
        ("deepmask-ours", 17.4),  # the thesis: from about 75 M to about 17 M (§3.4)
        ("deepmask-ours-head-a", 24.0),
        ("deepmask-ours-head-b", 23.9),
        ("w160-p4-d8-vgg", 37.8),
        ("w160-p4-d39", 37.4),
        ("w112-p4-d39", 24.0),
        ("w112-p3-d21", 55.2),
        ("w112-p3-d21-f128", 16.5),
    ],
)
def test_networks_have_the_sizes_of_the_papers(preset: str, millions: float) -> None:
    with torch.device("meta"):
        network = build(PRESETS[preset].config)
    found = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert found == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(
    ("preset", "patch", "stride", "channels", "cells", "reduced"),
    [
        ("deepmask-vgg-a", 224, 16, 512, 14, 512),
        ("w160-p4-d8-vgg", 160, 16, 512, 10, 512),
        ("w160-p4-d39", 160, 16, 1024, 10, 512),
        ("deepmask-ours", 160, 16, 1024, 10, 128),
        ("w112-p4-d39", 112, 16, 1024, 7, 512),
        ("w112-p3-d21", 112, 8, 512, 14, 512),
        ("w112-p3-d21-f128", 112, 8, 512, 14, 128),
    ],
)
def test_rows_of_table_31(
    preset: str, patch: int, stride: int, channels: int, cells: int, reduced: int
) -> None:
    """W, stride 2^P, the kernel C × S × S and F, as the thesis prints them."""
    config = PRESETS[preset].config
    sizes = (config.patch, config.stride, config.cells, config.channels)
    assert sizes == (patch, stride, cells, reduced)
    with torch.device("meta"):
        features = TRUNKS[config.trunk](config.padding)(torch.zeros(1, 3, patch, patch))
    assert features.shape == (1, channels, cells, cells)


def test_trunks_have_the_parameters_and_names_of_torchvision() -> None:
    """ResNet-50's conv1 to layer3, and no name that its published weights lack."""
    with torch.device("meta"):
        state = TRUNKS["resnet50"]("reflect").state_dict()
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    learnt = [name for name in names if "running" not in name]
    count = 9_408 + 128 + 215_808 + 1_219_584 + 7_098_368  # conv1, bn1, layer1 … layer3
    assert sum(state[name].numel() for name in learnt) == count
    blocks = {name.rpartition(".conv")[0] for name in names if ".conv" in name}
    assert blocks == {f"layer{k}.{i}" for k, n in ((1, 3), (2, 4), (3, 6)) for i in range(n)}
    parts = {name.split(".", 2)[2] for name in names if name.startswith("layer1.0.")}
    norm = ("weight", "bias", "running_mean", "running_var")
    expected = {f"conv{k}.weight" for k in (1, 2, 3)} | {"downsample.0.weight"}
    expected |= {f"{part}.{one}" for part in ("bn1", "bn2", "bn3", "downsample.1") for one in norm}
    assert parts == expected
    assert state["layer2.0.conv2.weight"].shape == (128, 128, 3, 3)
    assert state["layer2.0.downsample.0.weight"].shape == (512, 256, 1, 1)


@pytest.mark.parametrize("trunk", ["vgg-a", "resnet18", "resnet50"])
def test_reflection_pads_every_convolution_that_pads(trunk: str) -> None:
    for padding, mode in (("zero", "zeros"), ("reflect", "reflect")):
        with torch.device("meta"):
            modules = list(TRUNKS[trunk](padding).modules())
        convolutions = [one for one in modules if isinstance(one, nn.Conv2d)]
        assert {one.padding_mode for one in convolutions if one.padding != (0, 0)} == {mode}


def test_weights_of_one_padding_are_those_of_the_other() -> None:
    """ImageNet's, learnt with zeros around, start a network that reflects."""
    for name in ("resnet18", "vgg-a"):
        with torch.device("meta"):
            zero, reflect = (TRUNKS[name](padding).state_dict() for padding in PADDING_MODES)
        assert [(k, v.shape) for k, v in zero.items()] == [(k, v.shape) for k, v in reflect.items()]


def runs(**changes: Any) -> None:
    sizes: dict[str, Any] = {"patch": 64, "channels": 4, "mask_size": 12, "score_width": 6}
    config = DeepMaskConfig(**sizes, **changes)
    model = DeepMaskNetwork(config).eval()
    patches = 255 * torch.rand(2, 3, config.input_size, config.input_size)
    masks, scores = model(patches)
    assert masks.shape == (2, 12, 12)
    assert scores.shape == (2,)
    assert torch.equal(scores, model.score(model.windows(patches)))


@pytest.mark.parametrize("trunk", TRUNK_STAGES)
@pytest.mark.parametrize(("context", "padding"), [(0, "zero"), (16, "reflect")])
def test_every_trunk_runs(trunk: str, context: int, padding: str) -> None:
    heads = {"mask_head": "low-rank", "rank": 5, "score_head": "shared"}
    runs(trunk=trunk, context=context, padding=padding, **heads)


@pytest.mark.parametrize(("mask_head", "rank"), list(zip(MASK_HEADS, (5, 0), strict=True)))
@pytest.mark.parametrize("score_head", SCORE_HEADS)
def test_every_combination_of_heads_runs(mask_head: str, rank: int, score_head: str) -> None:
    heads = {"mask_head": mask_head, "rank": rank, "score_head": score_head}
    if (mask_head, score_head) == ("full", "shared"):
        with pytest.raises(ConfigError, match="use the pooled score head"):
            runs(trunk="resnet18", context=16, **heads)
        return
    runs(trunk="resnet18", context=16, **heads)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"trunk": "vgg-z"}, "not one of vgg-a, resnet18"),
        ({"patch": 150}, "multiple of 16"),
        ({"patch": 112, "score_head": "pooled"}, "multiple of 32"),
        ({"context": 10}, "multiple of 16"),
        ({"rank": 0}, "rank of at least 1"),
        ({"mask_head": "full"}, "rank must be 0"),
        ({"score_head": "none"}, "not one of pooled, separate"),
        ({"mask_size": 0}, "at least 1"),
    ],
)
def test_impossible_configurations_say_why(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(PRESETS["deepmask-r18"].config, **change)


def test_context_is_cropped_before_the_heads(tiny_model: DeepMaskConfig) -> None:
    """Of the 6×6 cells of patch and context, the heads see the inner 4×4."""
    model = DeepMaskNetwork(tiny_model).eval()
    patches = 255 * torch.rand(1, 3, 96, 96)
    features = model.features(patches)
    assert features.shape[-2:] == (6, 6)
    assert torch.equal(model.windows(patches), features[:, :, 1:5, 1:5])


def test_normalisation_is_inside() -> None:
    model = DeepMaskNetwork(PRESETS["deepmask-r18"].config).eval()
    seen = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean_colour = 255 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    model.features(mean_colour.expand(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-6, rtol=0)
