"""The categories of networks that name boxes, and the configuration of Fast R-CNN on `fpn-lite`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deepmask.networks.config import ConfigError, NetworkConfig, require_known
from deepmask.networks.whole.config import LITE_TRUNKS, FpnLiteConfig


@dataclass(frozen=True)
class CategoriesConfig(NetworkConfig):
    """A network that tells categories apart; training takes them from its labels.

    category_ids  of the categories in the labels, and `category_names` beside them.
    """

    category_ids: tuple[int, ...] = (1,)
    category_names: tuple[str, ...] = ("object",)

    def check_categories(self) -> None:
        """Raise `ConfigError` for ids and names that do not go together."""
        ids, names = self.category_ids, self.category_names
        if not ids or len(ids) != len(names):
            raise ConfigError(
                f"{len(ids)} ids and {len(names)} names of categories, expected one of each or more"
            )
        for what, values in (("ids", ids), ("names", names)):
            if len(set(values)) < len(values):
                raise ConfigError(f"two categories have the same {what[:-1]}")


@dataclass(frozen=True)
class FastRcnnConfig(CategoriesConfig, FpnLiteConfig):
    """The network that proposes, and the head that names its boxes.

    name_trunk      of `LITE_TRUNKS`: a trunk of its own that boxes are read from, which ImageNet
                    taught; "" for the pyramid, as in the thesis (§4.4.2).
    roi             cells a side of a box's features (7 there), from `samples` bilinear samples a
                    cell, a side.
    hidden          width of each of the two hidden layers (1024 there).
    dropout         share of their values that training leaves out.
    """

    name_trunk: str = ""
    roi: int = 7
    samples: int = 2
    hidden: int = 1024
    dropout: float = 0.0

    def __post_init__(self) -> None:
        FpnLiteConfig.__post_init__(self)
        self.check_categories()
        require_known("name_trunk", self.name_trunk, ("", *LITE_TRUNKS))
        for name in ("roi", "samples", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, it must be at least 0 and below 1")

    def base(self) -> FpnLiteConfig:
        """Return the configuration of the network that proposes."""
        return FpnLiteConfig(
            **{item.name: getattr(self, item.name) for item in fields(FpnLiteConfig)}
        )

    def has_own_trunk(self) -> bool:
        """Return whether boxes are read from a trunk beside that of the network that proposes."""
        return bool(self.name_trunk)
