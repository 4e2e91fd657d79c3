"""Two small networks, one of each score head, with their checkpoints and exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.models import random_network
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.train.checkpoint import Checkpoint, save_checkpoint

SMALL = DeepMaskConfig(
    patch=64,
    context=16,
    trunk="resnet18",
    channels=8,
    mask_head="low-rank",
    rank=12,
    mask_size=14,
    score_head="shared",
    score_width=20,
)
#: Model folder and network by score head.
Exports = dict[str, tuple[Path, DeepMaskNetwork]]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Return model folder and network by score head; `checkpoint.pt` lies beside the folder."""
    made = {}
    for head in ("shared", "pooled"):
        network = random_network(replace(SMALL, score_head=head))
        folder = tmp_path_factory.mktemp(head)
        checkpoint = folder / "checkpoint.pt"
        save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), checkpoint)
        export_model(checkpoint, folder / "model", ExportOptions(name=head))
        made[head] = (folder / "model", network)
    return made
