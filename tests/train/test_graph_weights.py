"""Weights of the shipped model are read back from its graphs, or refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepmask.export import parity
from deepmask.networks.boxes.config import FastRcnnConfig
from deepmask.networks.config import NetworkConfig
from deepmask.networks.families import build, dense_model
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import shipped_model
from deepmask.train.initialise import initialise_from, read_trained

SHIPPED = PRESETS["fpn-lite"].config


def shipped_config() -> FastRcnnConfig:
    """Return the configuration of the whole shipped model, with its categories."""
    categories = load_manifest(shipped_model()).categories
    assert categories is not None
    ids, names = (tuple(getattr(one, what) for one in categories) for what in ("id", "name"))
    preset: FastRcnnConfig = PRESETS["fast-rcnn-lite"].config
    return replace(preset, category_ids=ids, category_names=names)


def test_the_shipped_model_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it computes tells whether each weight has its place, also one the graph leaves out."""
    monkeypatch.setattr(parity, "PICTURE_SIZES", parity.PICTURE_SIZES[:1])
    config = shipped_config()
    trained = read_trained(Path("fpn-lite"), config)
    network = build(config)
    initialise_from(network, trained)
    dense, folder = dense_model(network.eval()), shipped_model()
    deviations, _ = parity.compare(folder, load_manifest(folder), dense, dense)
    parity.require_parity(deviations)


def test_the_network_that_proposes_is_read_without_the_names() -> None:
    whole = read_trained(Path("fpn-lite"), shipped_config()).weights
    for config in (SHIPPED, PRESETS["fast-rcnn-lite"].config):  # the preset has other categories
        part = read_trained(Path("fpn-lite"), config)
        assert part.family == "fpn-lite"
        assert all(
            torch.equal(weight, whole[f"base.{name}"]) for name, weight in part.weights.items()
        )
    assert torch.equal(part.weights["second.pooled.bias"], part.weights["second.code.bias"])


@pytest.mark.parametrize(
    ("where", "config", "text"),
    [
        ("fpn-lite-int8", SHIPPED, "computes in int8, .*: give the fp32 model"),
        (
            "fpn-lite",
            replace(SHIPPED, code=24),
            r"its .* is \[.*256\], not \[.*24\]; give --preset",
        ),
        ("fpn-lite", PRESETS["deepmask-r18"].config, "of another family than deepmask: its graphs"),
        ("none", SHIPPED, "no such checkpoint or model folder, .*: fpn-lite"),
    ],
)
def test_other_models_are_refused_in_a_line(where: str, config: NetworkConfig, text: str) -> None:
    with pytest.raises(InitialiseError, match=text):
        read_trained(Path(where), config)
