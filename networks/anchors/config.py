"""Configurations of networks with anchors: `rpn`, `retinanet` and `faster-rcnn`."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.anchors.levels import AnchorLevel, anchor_levels
from deepmask.networks.boxes.config import CategoriesConfig
from deepmask.networks.config import ConfigError, NetworkConfig, require_known
from deepmask.networks.whole.config import LITE_TRUNKS, FpnLiteConfig
from deepmask.networks.whole.masks_config import PYRAMID_TRUNKS


@dataclass(frozen=True)
class AnchorConfig(NetworkConfig):
    """Trunk, pyramid, anchors, and the layers that read each level.

    trunk      one of `PYRAMID_TRUNKS`, or of `LITE_TRUNKS` with the pyramid of `fpn-lite`.
    width      channels of every pyramid level (d).
    cells      √(height · width) of the smallest anchors, in cells of their level.
    octave     sizes of anchors in an octave, each in three aspect ratios.
    layers     3×3 convolutions with ReLU before the last; `hidden` is their channels.
    separable  each of these convolves channels apart first, then joins them.
    """

    trunk: str = "resnet50"
    width: int = 256
    cells: float = 8.0
    octave: int = 1
    layers: int = 1
    hidden: int = 256
    separable: bool = False

    def __post_init__(self) -> None:
        require_known("trunk", self.trunk, (*PYRAMID_TRUNKS, *LITE_TRUNKS))
        for name in ("width", "octave", "layers", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if not 0.5 <= self.cells <= 64:
            raise ConfigError(f"cells is {self.cells}, it must be 0.5 to 64")

    @property
    def is_lite(self) -> bool:
        """Whether trunk and pyramid are those of an `fpn-lite`."""
        return self.trunk in LITE_TRUNKS

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the levels, finest first: P3 … P7."""
        return (8, 16, 32, 64, 128)

    def levels(self) -> tuple[AnchorLevel, ...]:
        """List the levels and their anchors."""
        return anchor_levels(self.strides, self.cells, self.octave)

    def base(self) -> FpnLiteConfig | None:
        """Return the network whose trunk and pyramid training may start from; None for a ResNet."""
        return FpnLiteConfig(trunk=self.trunk, width=self.width) if self.is_lite else None


@dataclass(frozen=True)
class RpnConfig(AnchorConfig):
    """Region proposals (§4.4.1): on P2 … P6 of a ResNet, or on the levels of `fpn-lite`."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the levels, finest first."""
        return super().strides if self.is_lite else (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class RetinaNetConfig(CategoriesConfig, AnchorConfig):
    """RetinaNet (chapter 5): two subnets on P3 … P7.

    last  cells a side of each subnet's last convolution: 3 there, 1 is lighter.
    """

    cells: float = 4.0
    octave: int = 3
    layers: int = 4
    last: int = 3

    def __post_init__(self) -> None:
        AnchorConfig.__post_init__(self)
        self.check_categories()
        if self.last not in (1, 3):
            raise ConfigError(f"last is {self.last}, it must be 1 or 3")


@dataclass(frozen=True)
class FasterRcnnConfig(CategoriesConfig, RpnConfig):
    """RPN and Fast R-CNN on the levels of one pyramid (§4.4.2).

    roi      cells a side of a box's features, from `samples` bilinear samples a cell, a side.
    code     width of each of the two hidden layers that read them.
    dropout  share of their values that training leaves out.
    """

    roi: int = 7
    samples: int = 2
    code: int = 1024
    dropout: float = 0.0

    def __post_init__(self) -> None:
        RpnConfig.__post_init__(self)
        self.check_categories()
        for name in ("roi", "samples", "code"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, it must be at least 0 and below 1")

    @property
    def box_strides(self) -> tuple[int, ...]:
        """Strides of the levels that boxes are read from: all but the coarsest."""
        return self.strides[:-1]
