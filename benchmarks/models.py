"""Provide the models to measure: the shipped ones, and presets with random weights.

Weights do not change the network's time. Masks of random weights would be noise and take longer to
encode than those of objects; so the mask head's bias is a disc, which outweighs the noise.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import deepmask.export
import deepmask.networks
import deepmask.runtime.model
from benchmarks.scenes import write_picture
from deepmask.export.exporter import export_model
from deepmask.export.options import ExportOptions
from deepmask.networks.config import NetworkConfig
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import build
from deepmask.networks.presets import PRESETS as NETWORKS
from deepmask.networks.sharpmask import SharpMaskNetwork
from deepmask.runtime.model.folder import MANIFEST_NAME
from deepmask.runtime.model.shipped import SHIPPED_MODEL, shipped_model, shipped_names
from deepmask.train.checkpoint import Checkpoint, save_checkpoint

PRESETS = (SHIPPED_MODEL, "deepmask-r18", "sharpmask-r18", "deepmask-vgg-a")
#: A preset's name followed by this: its int8 export.
INT8 = "-int8"
#: What the latency suite measures.
MODELS = (*PRESETS, *(f"{preset}{INT8}" for preset in PRESETS))

_DISC_LOGIT = 6.0
#: Height and width of the drawn pictures that random weights are calibrated on: their ranges mean
#: nothing, so two small ones do.
_CALIBRATION_SIZES = ((96, 128), (128, 96))


@dataclass(frozen=True)
class Candidate:
    """A model folder, and where its weights are from: "shipped", "random" or "given"."""

    name: str
    folder: Path
    weights: str


def candidate(name: str, cache: Path) -> Candidate:
    """Return a shipped model, a preset with random weights, or the model folder of a path."""
    if name in shipped_names():
        return Candidate(name, shipped_model(name), "shipped")
    if name not in (*NETWORKS, *MODELS):
        return Candidate(Path(name).name, Path(name), "given")
    return Candidate(name, random_export(name, cache)[1], "random")


def random_export(name: str, cache: Path) -> tuple[Path, Path]:
    """Make a checkpoint and a model folder of a preset with random weights, once.

    They lie in `cache` under a name that changes with the code that makes them.
    """
    preset = name.removesuffix(INT8)
    folder = cache / f"{preset}-{_code_digest()}"
    checkpoint, model = folder / "checkpoint.pt", folder / name
    if not checkpoint.is_file():
        for outdated in cache.glob(f"{preset}-*"):
            shutil.rmtree(outdated)
        folder.mkdir(parents=True)
        network = random_network(NETWORKS[preset].config)
        save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), checkpoint)
    if not (model / MANIFEST_NAME).is_file():
        options = ExportOptions(name=name)
        if name.endswith(INT8):
            photographs = _photographs(folder / "photographs")
            options = replace(options, precision="int8", photographs=photographs)
        export_model(checkpoint, model, options)
    return checkpoint, model


def _photographs(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, (height, width) in enumerate(_CALIBRATION_SIZES):
        write_picture(folder / f"{seed}.jpg", height, width, seed)
    return folder


def random_network(config: NetworkConfig) -> DeepMaskNetwork:
    """Build a network with random weights, the same each time, whose masks are about a disc."""
    torch.manual_seed(0)
    network = build(config).eval()
    assert isinstance(network, DeepMaskNetwork)
    steps = torch.linspace(-1, 1, network.config.mask_size)
    radius = steps.square() + steps.square()[:, None]
    network.mask_head.classify.bias.data = (_DISC_LOGIT * (0.3 - radius)).flatten()
    if isinstance(network, SharpMaskNetwork):
        network.refine.start_from(network.mask_head)
    return network


def _code_digest() -> str:
    digest = hashlib.sha256()
    for path in code_files():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def code_files() -> list[Path]:
    """Return the source files that decide what an exported model of random weights is."""
    rooms = (deepmask.export, deepmask.networks, deepmask.runtime.model)
    folders = [Path(str(room.__file__)).parent for room in rooms]
    return [Path(__file__), *(path for one in folders for path in sorted(one.rglob("*.py")))]
