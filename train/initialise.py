"""Weights to start from: ImageNet's for a trunk, or a trained network's for its refinement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.heads import LowRankMaskHead
from deepmask.networks.trunks import Trunk
from deepmask.runtime.errors import OneLineError
from deepmask.train.checkpoint import Checkpoint
from deepmask.train.safe_load import read_tensors

#: What torchvision publishes for each trunk.
PUBLISHED = {
    "vgg-a": "https://download.pytorch.org/models/vgg11-8a719046.pth",
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "resnet50-stride8": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
#: Entries of a classification network that the trunk does not have.
_BEYOND_TRUNK = ("fc.", "classifier.", "layer3.", "layer4.", "avgpool.")


class InitialiseError(OneLineError):
    """Weights that cannot be started from; the text says why and what to do."""


def read_weights(source: str, trunk: str) -> dict[str, Tensor]:
    """A state dict with torchvision's names, from a file or, for "imagenet", from `PUBLISHED`.

    Loads tensors only: a file that holds other objects is refused.
    """
    try:
        if source == "imagenet":
            state = torch.hub.load_state_dict_from_url(
                PUBLISHED[trunk], map_location="cpu", weights_only=True, check_hash=True
            )
        else:
            state = read_tensors(Path(source))
    except FileNotFoundError:
        raise InitialiseError(f"{source}: no such weights file") from None
    except (OSError, RuntimeError, ValueError) as error:
        what = (
            f"{PUBLISHED[trunk]}: not reachable"
            if source == "imagenet"
            else f"{source}: unreadable"
        )
        reason = str(error).strip().split("\n", 1)[0][:120] or "empty or cut short"
        raise InitialiseError(
            f"{what} ({reason}); give --init a torchvision state dict file"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InitialiseError(f"{source}: holds no state dict of tensors")
    return dict(state)


def initialise_trunk(trunk: Trunk, state: Mapping[str, Tensor]) -> None:
    """Copy `state` into `trunk`; every trunk parameter must be there, in its shape.

    Left over may only be a classification network's further layers.
    """
    own = trunk.state_dict()
    missing = [
        name for name in own if name not in state and not name.endswith("num_batches_tracked")
    ]
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    foreign = [name for name in state if name not in own and not name.startswith(_BEYOND_TRUNK)]
    for problem, names in (
        ("lacks", missing),
        ("has another shape:", misshapen),
        ("has unknown entries", foreign),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise InitialiseError(
                f"the file does not fit this trunk: it {problem} {', '.join(names[:3])}{more}"
            )
    trunk.load_state_dict({name: state.get(name, value) for name, value in own.items()})


def initialise_refined(model: DeepMaskNetwork, base: Checkpoint) -> None:
    """Copy the trained network `base` into the refined `model`; see `Refinement.start_from`.

    Raises `InitialiseError` unless `base` is what `model` is without its refinement.
    """
    wanted, found = model.config.coarse().to_dict(), base.model.to_dict()
    differing = [
        f"{name} is {found[name]}, not {wanted[name]}"
        for name in wanted
        if found[name] != wanted[name]
    ]
    if differing:
        raise InitialiseError(
            f"the checkpoint's network is not the one to be refined: {'; '.join(differing)}"
        )
    model.load_state_dict({**model.state_dict(), **base.build().state_dict()})
    assert model.refine is not None
    assert isinstance(model.mask_head, LowRankMaskHead)  # ModelConfig saw to it
    model.refine.start_from(model.mask_head)
