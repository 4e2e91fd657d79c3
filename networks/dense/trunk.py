"""The trunk graph: a picture of 0…255 to features, one cell every 16 (or 8) pixels."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepmask.networks.config import BORDER_FILL
from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.dense.gray_border import around_the_picture

Model = TypeVar("Model", bound=nn.Module)


class Normalisation(nn.Module):
    """What is in front of a trunk.

    The normalisation stays in front of the first convolution: folded into its weights, the zero
    padding around the picture would mean another colour than in training.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: DeepMaskNetwork) -> None:
        super().__init__()
        self.register_buffer("mean", model.mean.unsqueeze(0))
        self.register_buffer("scale", 1 / model.std.unsqueeze(0))

    def normalised(self, image: Tensor) -> Tensor:
        """Return the image as the network was trained to see it."""
        return (image - self.mean) * self.scale


class TrunkGraph(Normalisation):
    """image (1, 3, H, W) RGB 0…255 → features (1, C, H/stride, W/stride).

    The image is a canvas: a picture, and `border` pixels of gray on each side of it, which a VGG-A
    takes for granted (see `gray_border`).
    """

    def __init__(self, model: DeepMaskNetwork, border: int) -> None:
        """`model` is in evaluation mode; images have sides that are multiples of the stride."""
        super().__init__(model)
        gray = self.normalised(torch.full_like(self.mean, BORDER_FILL))
        self.trunk = around_the_picture(model.trunk, border, gray)

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.trunk(self.normalised(image))
        return features


def fold_batchnorm(model: Model) -> Model:
    """Return a copy with each BatchNorm folded into the convolution in front of it.

    These are neighbours in a `Sequential`, or have names such as `conv1` and `bn1`: a network whose
    `bn1` does not follow its `conv1` must give them other names. Any other BatchNorm stays.
    """
    folded = copy.deepcopy(model).eval()
    for parent, conv_name, norm_name in list(_convolutions_before_batchnorm(folded)):
        conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
        setattr(parent, norm_name, nn.Identity())
    return folded


def unfold_batchnorm(model: nn.Module, folded: nn.Module) -> None:
    """Give a network the weights of a copy of it that `fold_batchnorm` made, and that has changed.

    Each BatchNorm, whose statistics training keeps, then only adds what was its convolution's bias.
    """
    state = {**model.state_dict(), **folded.state_dict()}
    names = {id(module): name for name, module in model.named_modules()}
    for parent, conv_name, norm_name in _convolutions_before_batchnorm(model):
        norm = parent.get_submodule(norm_name)
        conv = parent.get_submodule(conv_name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(conv, nn.Conv2d)
        bias = state.pop(f"{names[id(conv)]}.bias")
        prefix = names[id(norm)]
        state |= {
            f"{prefix}.weight": torch.full_like(bias, math.sqrt(1 + norm.eps)),
            f"{prefix}.bias": bias,
            f"{prefix}.running_mean": torch.zeros_like(bias),
            f"{prefix}.running_var": torch.ones_like(bias),
        }
    model.load_state_dict(state)


def _convolutions_before_batchnorm(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    # Neighbours in a `Sequential`, or `convX` and `bnX`.
    for parent in model.modules():
        children = dict(parent.named_children())
        if isinstance(parent, nn.Sequential):
            pairs = list(itertools.pairwise(children))
        else:
            pairs = [(name, "bn" + name.removeprefix("conv")) for name in children]
        for conv_name, norm_name in pairs:
            conv, norm = children[conv_name], children.get(norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield parent, conv_name, norm_name
