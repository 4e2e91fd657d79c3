"""The networks: sizes against the papers, combinations, and what the configuration refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deepmask.train.config import (
    MASK_HEADS,
    MODEL_PRESETS,
    TRUNK_STAGES,
    ConfigError,
    ModelConfig,
)
from deepmask.train.model import DeepMask


def parameters(config: ModelConfig) -> float:
    """Millions of parameters."""
    with torch.device("meta"):
        return sum(p.numel() for p in DeepMask(config).parameters()) / 1e6


def test_paper_network_has_about_75_million_parameters():
    assert parameters(MODEL_PRESETS["deepmask-vgg-a"]) == pytest.approx(75, abs=1)


def test_full_rank_network_has_over_300_million_parameters():
    assert parameters(MODEL_PRESETS["deepmask-full"]) > 300


def test_small_network_fits_30_megabytes_in_fp16():
    assert 2 * parameters(MODEL_PRESETS["deepmask-r18"]) < 30


@pytest.mark.parametrize("trunk", TRUNK_STAGES)
@pytest.mark.parametrize("mask_head", MASK_HEADS)
@pytest.mark.parametrize("score_head", ["pooled", "shared"])
@pytest.mark.parametrize("context", [0, 16])
def test_every_possible_combination_runs(trunk, mask_head, score_head, context):
    sizes = {
        "patch": 64,
        "context": context,
        "channels": 4,
        "rank": 5 if mask_head == "low-rank" else 0,
        "mask_size": 12,
        "score_width": 6,
    }
    if (mask_head, score_head) == ("full", "shared"):
        with pytest.raises(ConfigError, match="use the pooled score head"):
            ModelConfig(trunk=trunk, mask_head=mask_head, score_head=score_head, **sizes)
        return
    config = ModelConfig(trunk=trunk, mask_head=mask_head, score_head=score_head, **sizes)
    model = DeepMask(config).eval()
    patches = 255 * torch.rand(2, 3, config.input_size, config.input_size)
    masks, scores = model(patches)
    assert masks.shape == (2, 12, 12)
    assert scores.shape == (2,)
    assert torch.equal(scores, model.score(model.windows(patches)))


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
def test_impossible_configurations_say_why(change, text):
    with pytest.raises(ConfigError, match=text):
        replace(MODEL_PRESETS["deepmask-r18"], **change)


def test_configuration_survives_a_round_trip_and_names_unknown_keys():
    config = MODEL_PRESETS["deepmask-vgg-a"]
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="unknown \\['depth'\\]"):
        ModelConfig.from_dict({**config.to_dict(), "depth": 3})


def test_context_is_cropped_before_the_heads(tiny_model):
    """Of the 6×6 cells of patch and context, the heads see the inner 4×4."""
    model = DeepMask(tiny_model).eval()
    patches = 255 * torch.rand(1, 3, 96, 96)
    features = model.features(patches)
    assert features.shape[-2:] == (6, 6)
    assert torch.equal(model.windows(patches), features[:, :, 1:5, 1:5])


def test_normalisation_is_inside():
    model = DeepMask(MODEL_PRESETS["deepmask-r18"]).eval()
    seen = []
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mean_colour = 255 * torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    model.features(mean_colour.expand(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 32, 32), atol=1e-6, rtol=0)
