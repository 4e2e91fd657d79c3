"""The configuration of `fpn-lite`, a network that learns from whole pictures."""

from __future__ import annotations

from dataclasses import dataclass

from deepmask.networks.config import ConfigError, NetworkConfig, require_known

LITE_TRUNKS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")


@dataclass(frozen=True)
class FpnLiteConfig(NetworkConfig):
    """Trunk and widths, in channels.

    trunk    one of `LITE_TRUNKS`.
    width    of every pyramid level.
    context  of the cells read for context; `code` of the vector made from them.
    fine     of the cells read for the mask; `last` of the last map before it.
    second   of the second look's hidden layer.
    """

    trunk: str = "efficientnet-lite2"
    width: int = 128
    context: int = 64
    code: int = 256
    fine: int = 48
    last: int = 32
    second: int = 128

    def __post_init__(self) -> None:
        require_known("trunk", self.trunk, LITE_TRUNKS)
        for name in ("width", "context", "code", "fine", "last", "second"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
