"""The configuration of `fpn-masks`, the thesis' feature pyramid for masks (§4.6)."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.config import ConfigError, NetworkConfig, require_known

PYRAMID_TRUNKS = ("resnet18", "resnet50")
#: Cells a side that a head may read: of canonical objects, and of those half an octave larger.
HEADS = (5, 7)


@dataclass(frozen=True)
class FpnMasksConfig(NetworkConfig):
    """Trunk, heads and sizes.

    trunk      one of `PYRAMID_TRUNKS`.
    heads      cells a side of each head's convolution: 5, 7, or both.
    width      channels of every pyramid level (d).
    code       channels of the heads' hidden layer.
    mask_size  of the masks, samples a side.
    """

    trunk: str = "resnet50"
    heads: tuple[int, ...] = HEADS
    width: int = 128
    code: int = 512
    mask_size: int = 14

    def __post_init__(self) -> None:
        require_known("trunk", self.trunk, PYRAMID_TRUNKS)
        if (
            not self.heads
            or not set(self.heads) <= set(HEADS)
            or len(set(self.heads)) < len(self.heads)
        ):
            raise ConfigError(f"heads is {self.heads}, it must be some of {HEADS}, each once")
        for name in ("width", "code", "mask_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
