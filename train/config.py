"""What a DeepMask is: one small frozen description, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

STRIDE = 16
#: ImageNet statistics of RGB in [0, 1]; the gray of the border is 0.5 of that range.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BORDER_FILL = 127.5

#: Two trunks of a kind side by side: what `twin` makes of two networks.
TWIN = "-twin"
TRUNK_CHANNELS: Mapping[str, int] = {
    "vgg-a": 512,
    "resnet18": 256,
    "vgg-a" + TWIN: 1024,
    "resnet18" + TWIN: 512,
}
MASK_HEADS = ("low-rank", "full")
SCORE_HEADS = ("pooled", "shared")


class ConfigError(ValueError):
    """A combination of trunk, heads and sizes that cannot be built; the text says why."""


@dataclass(frozen=True)
class ModelConfig:
    """Trunk, heads and sizes of one network. Lengths are pixels of the patch.

    patch       side of the window one mask is predicted for (224 in DeepMask §3.1).
    context     extra picture on each side that the trunk sees in training; its feature cells are
                cropped before the heads, as dense inference sees a neighbourhood too (thesis §3.4).
    trunk       a key of `TRUNK_CHANNELS`.
    channels    feature channels after the mask head's 1×1 convolution.
    mask_head   "low-rank": a linear code, then a linear classifier (§3.1); "full": DeepMaskFull.
    rank        length of that code; 0 with the full head.
    mask_size   side of the predicted mask.
    score_head  "pooled": max-pool and three linear layers on the features (§3.1);
                "shared": two linear layers on the mask head's code (thesis head C).
    score_width width of the hidden layer before the score's logit.
    """

    patch: int
    context: int
    trunk: str
    channels: int
    mask_head: str
    rank: int
    mask_size: int
    score_head: str
    score_width: int

    def __post_init__(self) -> None:
        """Raise `ConfigError` for what cannot be built."""
        if self.trunk not in TRUNK_CHANNELS:
            raise ConfigError(f"trunk {self.trunk!r} is not one of {', '.join(TRUNK_CHANNELS)}")
        if self.mask_head not in MASK_HEADS:
            raise ConfigError(f"mask head {self.mask_head!r} is not one of {', '.join(MASK_HEADS)}")
        if self.score_head not in SCORE_HEADS:
            raise ConfigError(
                f"score head {self.score_head!r} is not one of {', '.join(SCORE_HEADS)}"
            )
        for name in ("patch", "channels", "mask_size", "score_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.patch % (2 * STRIDE):
            raise ConfigError(
                f"patch is {self.patch}; windows are centred on stride-{STRIDE} locations, "
                f"so it must be a multiple of {2 * STRIDE}"
            )
        if self.context < 0 or self.context % STRIDE:
            raise ConfigError(
                f"context is {self.context}; whole feature cells are cropped, so it must be a "
                f"multiple of {STRIDE}, 0 or more"
            )
        if self.mask_head == "low-rank" and self.rank < 1:
            raise ConfigError(f"the low-rank mask head needs a rank of at least 1, not {self.rank}")
        if self.mask_head == "full" and self.rank != 0:
            raise ConfigError(f"the full mask head has no code: rank must be 0, not {self.rank}")
        if self.score_head == "shared" and self.mask_head != "low-rank":
            raise ConfigError(
                "the shared score head reads the low-rank mask head's code, "
                f"and the {self.mask_head} mask head has none: use the pooled score head"
            )

    @property
    def cells(self) -> int:
        """Side of a window in feature cells: 14 for 224 px."""
        return self.patch // STRIDE

    @property
    def margin(self) -> int:
        """Feature cells cropped on each side of a training patch."""
        return self.context // STRIDE

    @property
    def input_size(self) -> int:
        """Side of the picture the trunk sees in training: patch and context."""
        return self.patch + 2 * self.context

    @property
    def object_size(self) -> float:
        """Larger box side of a canonical object: 128 px in a 224 px patch (§3)."""
        return self.patch * 128.0 / 224.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ModelConfig:
        """The configuration a checkpoint holds; `ConfigError` names missing or unknown keys."""
        known = {field.name for field in fields(ModelConfig)}
        if set(values) != known:
            missing, unknown = sorted(known - set(values)), sorted(set(values) - known)
            raise ConfigError(f"model configuration: missing {missing}, unknown {unknown}")
        return ModelConfig(**values)


#: The networks that have a name. `deepmask-vgg-a` and `deepmask-full` are the paper's (§3.1, §3.4);
#: `deepmask-r18` is the light form of the thesis (W160-P4, F128, head C) on a ResNet-18.
MODEL_PRESETS: Mapping[str, ModelConfig] = {
    "deepmask-vgg-a": ModelConfig(
        patch=224,
        context=0,
        trunk="vgg-a",
        channels=512,
        mask_head="low-rank",
        rank=512,
        mask_size=56,
        score_head="pooled",
        score_width=1024,
    ),
    "deepmask-full": ModelConfig(
        patch=224,
        context=0,
        trunk="vgg-a",
        channels=512,
        mask_head="full",
        rank=0,
        mask_size=56,
        score_head="pooled",
        score_width=1024,
    ),
    "deepmask-r18": ModelConfig(
        patch=160,
        context=16,
        trunk="resnet18",
        channels=128,
        mask_head="low-rank",
        rank=512,
        mask_size=56,
        score_head="shared",
        score_width=1024,
    ),
}
