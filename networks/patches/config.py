"""Configurations of the networks that learn from patches: DeepMask, and SharpMask on top of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from deepmask.networks.config import (
    PADDINGS,
    TRUNK_STAGES,
    ConfigError,
    NetworkConfig,
    require_known,
)

MASK_HEADS = ("low-rank", "full")
SCORE_HEADS = ("pooled", "separate", "reduced", "shared")


@dataclass(frozen=True)
class DeepMaskConfig(NetworkConfig):
    """Trunk, heads and sizes of one network. Lengths are pixels of the patch.

    patch       side of the window one mask is predicted for (224 in DeepMask §3.1).
    context     extra picture on each side that the trunk sees in training; its feature cells are
                cropped before the heads, as dense inference sees a neighbourhood too (thesis §3.4).
    trunk       a key of `TRUNK_STAGES`.
    channels    feature channels after the mask head's 1×1 convolution.
    mask_head   "low-rank": a linear code, then a linear classifier (§3.1); "full": DeepMaskFull.
    rank        length of that code; 0 with the full head.
    mask_size   side of the mask that the mask head predicts.
    score_head  "pooled": max-pool and three linear layers on the features (§3.1);
                "separate": 1×1 convolution, no pool, three linear layers (thesis head A);
                "reduced": the same layers on the mask head's 1×1 convolution (head B);
                "shared": two linear layers on the mask head's code (head C).
    score_width width of the hidden layer before the score's logit.
    padding     "zero" or "reflect": what every 3×3 and larger convolution sees beyond its input.
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
    padding: str = "zero"

    def __post_init__(self) -> None:
        require_known("trunk", self.trunk, tuple(TRUNK_STAGES))
        require_known("mask head", self.mask_head, MASK_HEADS)
        require_known("score head", self.score_head, SCORE_HEADS)
        require_known("padding", self.padding, PADDINGS)
        for name in ("patch", "channels", "mask_size", "score_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.patch % self.stride:
            raise ConfigError(
                f"patch is {self.patch}; it is whole feature cells, a multiple of {self.stride}"
            )
        if self.context < 0 or self.context % self.stride:
            raise ConfigError(
                f"context is {self.context}; whole feature cells are cropped, so it must be a "
                f"multiple of {self.stride}, 0 or more"
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
        if self.score_head == "pooled" and self.cells % 2:
            raise ConfigError(
                f"the pooled score head pools 2×2 cells, and the window has {self.cells}: "
                f"patch must be a multiple of {2 * self.stride}"
            )

    @property
    def stride(self) -> int:
        """Picture pixels between neighbouring locations: a feature cell of the trunk."""
        return 1 << len(TRUNK_STAGES[self.trunk])

    @property
    def features(self) -> int:
        """Channels of the trunk's features."""
        return TRUNK_STAGES[self.trunk][-1]

    @property
    def output_size(self) -> int:
        """Side of the masks that the network is used for."""
        return self.mask_size

    @property
    def cells(self) -> int:
        """Side of a window in feature cells: 14 for 224 px."""
        return self.patch // self.stride

    @property
    def input_size(self) -> int:
        """Side of the picture the trunk sees in training: patch and context."""
        return self.patch + 2 * self.context

    @property
    def object_size(self) -> float:
        """Larger box side of a canonical object: 128 px in a 224 px patch (§3)."""
        return self.patch * 128.0 / 224.0

    def coarse(self) -> DeepMaskConfig:
        """Return the network without refinement: what the first stage of training makes."""
        own = (item.name for item in fields(DeepMaskConfig))
        return DeepMaskConfig(**{name: getattr(self, name) for name in own})


@dataclass(frozen=True, kw_only=True)
class SharpMaskConfig(DeepMaskConfig):
    """A DeepMask with SharpMask's refinement on top, see `networks/sharpmask.py`.

    refine_widths  channels of the mask encodings M^1 … M^(n+1).
    skip_widths    channels that each of the n skip features is reduced to first, coarsest first.
    sharp_size     side of the refined mask: `patch` (thesis §3.3), or that halved so many times.
    """

    refine_widths: tuple[int, ...]
    skip_widths: tuple[int, ...]
    sharp_size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_head != "low-rank":
            raise ConfigError("refinement starts from the code of the low-rank mask head")
        stages = len(TRUNK_STAGES[self.trunk])
        sizes = [self.cells << level for level in range(1, stages + 1)]
        if self.sharp_size not in sizes:
            raise ConfigError(f"sharp_size is {self.sharp_size}, it must be one of {sizes}")
        levels = min(sizes.index(self.sharp_size) + 2, stages)
        if len(self.skip_widths) != levels or len(self.refine_widths) != levels + 1:
            raise ConfigError(
                f"a mask of {self.sharp_size} px takes {levels} skip widths and {levels + 1} "
                f"refinement widths, not {len(self.skip_widths)} and {len(self.refine_widths)}"
            )
        if min(self.refine_widths) < 2 or min(self.skip_widths) < 1:
            raise ConfigError("refinement widths must be at least 2, skip widths at least 1")

    @property
    def output_size(self) -> int:
        return self.sharp_size


def sharpened(
    coarse: DeepMaskConfig,
    refine_widths: tuple[int, ...],
    skip_widths: tuple[int, ...],
    sharp_size: int,
) -> SharpMaskConfig:
    """Return the network `coarse` with a refinement on top."""
    return SharpMaskConfig(
        **coarse.coarse().to_dict(),
        refine_widths=refine_widths,
        skip_widths=skip_widths,
        sharp_size=sharp_size,
    )


def constant_widths(levels: int, k: int = 32) -> tuple[int, ...]:
    """Schedule (a) of thesis §3.3: k channels at every one of the levels + 1 mask encodings."""
    return (k,) * (levels + 1)


def halved_widths(levels: int, k: int = 32) -> tuple[int, ...]:
    """Schedule (b) of thesis §3.3: k^i = k / 2^(i-1), as many multiply-adds at every level."""
    return tuple(k >> level for level in range(levels + 1))
