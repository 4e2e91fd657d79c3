"""The table of families: every preset is of one, and every family is whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from deepmask.networks.config import NetworkConfig
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import (
    FAMILIES,
    build,
    family_name,
    family_of,
)
from deepmask.networks.patches.config import DeepMaskConfig, SharpMaskConfig
from deepmask.networks.presets import PRESETS, STUDIED, USED
from deepmask.networks.sharpmask import SharpMaskNetwork


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_of_its_family(name: str) -> None:
    preset = PRESETS[name]
    family = FAMILIES[preset.family]
    assert type(preset.config) is family.config
    assert type(preset.recipe) is family.recipe
    assert family_name(preset.config) == preset.family
    assert all(weight > 0 for weight in family.loss_weights(preset.recipe).values())
    assert type(preset.config).from_dict(preset.config.to_dict()) == preset.config


def test_presets_of_studies_are_apart_from_those_to_use() -> None:
    assert not set(USED) & set(STUDIED)
    assert {*USED, *STUDIED} == set(PRESETS)
    assert "deepmask-r18" in USED


def test_no_two_families_share_a_configuration() -> None:
    assert len({family.config for family in FAMILIES.values()}) == len(FAMILIES)


def test_each_configuration_is_built_by_its_family(
    tiny_model: DeepMaskConfig, tiny_refined: SharpMaskConfig
) -> None:
    assert type(build(tiny_model)) is DeepMaskNetwork
    assert type(build(tiny_refined)) is SharpMaskNetwork
    assert family_of(tiny_refined).base(tiny_refined) == tiny_refined.coarse()
    assert family_of(tiny_model).base(tiny_model) is None
    assert tiny_refined.coarse() == tiny_model
    assert tiny_model.coarse() == tiny_model


def test_a_configuration_of_no_family_has_none() -> None:
    with pytest.raises(StopIteration):
        family_of(NetworkConfig())


def test_parameters_that_learn_are_each_in_one_group(tiny_model: DeepMaskConfig) -> None:
    recipe = replace(PRESETS["deepmask-r18"].recipe, freeze_stem=True)
    network = build(tiny_model)
    groups = family_of(tiny_model).trainable(network, recipe)
    assert [group.factor for group in groups] == [1.0, 0.5]
    grouped = [id(one) for group in groups for one in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    frozen = {name for name, one in network.named_parameters() if not one.requires_grad}
    assert frozen
    assert all(name.startswith(("trunk.conv1", "trunk.bn1", "trunk.layer1")) for name in frozen)


@pytest.mark.parametrize("head", ["pooled", "separate", "reduced", "shared"])
def test_weights_keep_the_names_of_published_checkpoints(
    tiny_refined: SharpMaskConfig, head: str
) -> None:
    with torch.device("meta"):
        names = set(build(replace(tiny_refined, score_head=head)).state_dict())
    layers = {"pooled": ("encode",), "separate": ("encode", "reduce"), "reduced": ("encode",)}
    expected = {*layers.get(head, ()), "widen", "classify"}
    assert {name.split(".")[1] for name in names if name.startswith("score_head.")} == expected
    assert {name.split(".")[1] for name in names if name.startswith("mask_head.")} == {
        *("reduce", "encode", "classify")
    }
    assert {name.split(".")[1] for name in names if name.startswith("refine.")} == {
        *("encode", "skips", "joins", "predict")
    }
    assert "trunk.layer3.1.bn2.running_mean" in names
    assert {name.split(".")[0] for name in names} == {"trunk", "mask_head", "score_head", "refine"}
