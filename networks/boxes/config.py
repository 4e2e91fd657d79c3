"""The configuration of Fast R-CNN on the trunk and pyramid of `fpn-lite`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deepmask.networks.config import ConfigError
from deepmask.networks.whole.config import FpnLiteConfig


@dataclass(frozen=True)
class FastRcnnConfig(FpnLiteConfig):
    """The network that proposes, and the head that names its boxes.

    roi             cells a side of a box's features (7 in the thesis, §4.4.2).
    hidden          width of each of the two hidden layers (1024 there).
    category_ids    of the categories in the labels, and `category_names` beside them; training
                    takes both from its labels.
    """

    roi: int = 7
    hidden: int = 1024
    category_ids: tuple[int, ...] = (1,)
    category_names: tuple[str, ...] = ("object",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("roi", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        ids, names = self.category_ids, self.category_names
        if not ids or len(ids) != len(names):
            raise ConfigError(
                f"{len(ids)} ids and {len(names)} names of categories, expected one of each or more"
            )
        for what, values in (("ids", ids), ("names", names)):
            if len(set(values)) < len(values):
                raise ConfigError(f"two categories have the same {what[:-1]}")

    def base(self) -> FpnLiteConfig:
        """Return the configuration of the network that proposes."""
        return FpnLiteConfig(**{item.name: getattr(self, item.name) for item in fields(FpnLiteConfig)})
