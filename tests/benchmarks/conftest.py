"""Two small networks, one of each score head, with their checkpoints and exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from benchmarks.models import random_network
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.deepmask import DeepMaskNetwork
from tests.export.conftest import TINY, write_checkpoint

Exports: TypeAlias = dict[str, tuple[Path, DeepMaskNetwork]]


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Return model folder and network by score head; `checkpoint.pt` lies beside the folder."""
    made = {}
    for head in ("shared", "pooled"):
        network = random_network(replace(TINY, score_head=head))
        folder = tmp_path_factory.mktemp(head)
        checkpoint = write_checkpoint(network, folder / "checkpoint.pt")
        export_model(checkpoint, folder / "model", ExportOptions(name=head))
        made[head] = (folder / "model", network)
    return made
