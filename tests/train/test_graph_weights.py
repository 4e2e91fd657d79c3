"""Weights of the shipped model are read back from its graphs, or refused in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepmask.export import parity
from deepmask.networks.config import NetworkConfig
from deepmask.networks.families import build, dense_model
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import shipped_model
from deepmask.train.initialise import initialise_from, read_trained

SHIPPED = PRESETS["fpn-lite"].config


def test_the_shipped_model_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it computes tells whether each weight has its place, also one the graph leaves out."""
    monkeypatch.setattr(parity, "PICTURE_SIZES", parity.PICTURE_SIZES[:1])
    trained = read_trained(Path("fpn-lite"), SHIPPED)
    second = trained.weights
    assert torch.equal(second["second.pooled.bias"], second["second.code.bias"])
    network = build(SHIPPED)
    initialise_from(network, trained)
    dense, folder = dense_model(network.eval()), shipped_model()
    deviations, _ = parity.compare(folder, load_manifest(folder), dense, dense)
    parity.require_parity(deviations)


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
