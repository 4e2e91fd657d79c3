"""What a DeepMask is: one small frozen description, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

#: ImageNet statistics of RGB in [0, 1]; the gray of the border is 0.5 of that range.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BORDER_FILL = 127.5

#: Two trunks of a kind side by side: what `twin` makes of two networks.
TWIN = "-twin"
_TRUNKS: Mapping[str, tuple[int, ...]] = {
    "vgg-a": (128, 256, 512, 512),
    "resnet18": (64, 64, 128, 256),
    "resnet50": (64, 256, 512, 1024),
    "resnet50-stride8": (64, 256, 512),
}
#: Channels of each trunk's last feature maps at strides 2, 4, … ; the last map is its features.
TRUNK_STAGES: Mapping[str, tuple[int, ...]] = {
    **_TRUNKS,
    **{name + TWIN: tuple(2 * width for width in widths) for name, widths in _TRUNKS.items()},
}
#: What a checkpoint may say of a network: longest text, largest number, most numbers in a row.
LONGEST_TEXT, LARGEST_SIZE, MOST_LEVELS = 100, 1 << 16, 16
MASK_HEADS = ("low-rank", "full")
SCORE_HEADS = ("pooled", "separate", "reduced", "shared")
PADDINGS = ("zero", "reflect")


class ConfigError(ValueError):
    """A combination of trunk, heads and sizes that cannot be built; the text says why."""


@dataclass(frozen=True)
class ModelConfig:
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
    refine_widths  channels of SharpMask's mask encodings M^1 … M^(n+1), see `refine`; () for a
                network without refinement, which is then not asked for the next two.
    skip_widths  channels that each of the n skip features is reduced to first, coarsest first.
    sharp_size  side of the refined mask: `patch` (thesis §3.3), or that halved so many times.
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
    refine_widths: tuple[int, ...] = ()
    skip_widths: tuple[int, ...] = ()
    sharp_size: int = 0

    def __post_init__(self) -> None:
        """Raise `ConfigError` for what cannot be built."""
        for name, value, known in (
            ("trunk", self.trunk, tuple(TRUNK_STAGES)),
            ("mask head", self.mask_head, MASK_HEADS),
            ("score head", self.score_head, SCORE_HEADS),
            ("padding", self.padding, PADDINGS),
        ):
            if value not in known:
                raise ConfigError(f"{name} {value!r} is not one of {', '.join(known)}")
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
        self._check_refinement()

    def _check_refinement(self) -> None:
        if not self.refined:
            if self.skip_widths or self.sharp_size:
                raise ConfigError("skip_widths and sharp_size belong to refinement: give widths")
            return
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
    def stride(self) -> int:
        """Picture pixels between neighbouring locations: a feature cell of the trunk."""
        return 1 << len(TRUNK_STAGES[self.trunk])

    @property
    def features(self) -> int:
        """Channels of the trunk's features."""
        return TRUNK_STAGES[self.trunk][-1]

    @property
    def refined(self) -> bool:
        """Whether the network has SharpMask's refinement, and so a second, sharper mask."""
        return bool(self.refine_widths)

    @property
    def output_size(self) -> int:
        """Side of the masks the network is used for: refined where it can, else the mask head's."""
        return self.sharp_size if self.refined else self.mask_size

    def coarse(self) -> ModelConfig:
        """The same network without refinement: what the first stage of training makes."""
        return replace(self, refine_widths=(), skip_widths=(), sharp_size=0)

    @property
    def cells(self) -> int:
        """Side of a window in feature cells: 14 for 224 px."""
        return self.patch // self.stride

    @property
    def margin(self) -> int:
        """Feature cells cropped on each side of a training patch."""
        return self.context // self.stride

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
        """The configuration a checkpoint holds; `ConfigError` names missing or unknown keys, and
        values of another type or beyond reason.

        Checkpoints of before a field existed lack it: they mean its default.
        """
        known = {field.name for field in fields(ModelConfig)}
        needed = {field.name for field in fields(ModelConfig) if field.default is MISSING}
        if not needed <= set(values) <= known:
            missing, unknown = sorted(needed - set(values)), len(set(values) - known)
            raise ConfigError(f"model configuration: missing {missing}, {unknown} unknown")
        return ModelConfig(**{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    """A field's value as a file may hold it: a short text, a size, or a few sizes."""
    known = getattr(MODEL_PRESETS["deepmask-r18"], name)
    if isinstance(known, str):
        good = type(value) is str and len(value) <= LONGEST_TEXT
    elif isinstance(known, int):
        good = _is_size(value)
    else:
        good = type(value) is tuple and len(value) <= MOST_LEVELS and all(map(_is_size, value))
    if not good:
        raise ConfigError(
            f"model configuration: {name} is no {type(known).__name__} that a network can have "
            f"(texts to {LONGEST_TEXT} letters, sizes to {LARGEST_SIZE}, {MOST_LEVELS} at most)"
        )
    return value


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_SIZE


def constant_widths(levels: int, k: int = 32) -> tuple[int, ...]:
    """Schedule (a) of thesis §3.3: k channels at every one of the levels + 1 mask encodings."""
    return (k,) * (levels + 1)


def halved_widths(levels: int, k: int = 32) -> tuple[int, ...]:
    """Schedule (b) of thesis §3.3: k^i = k / 2^(i-1), as many multiply-adds at every level."""
    return tuple(k >> level for level in range(levels + 1))


def study_row(trunk: str, patch: int, channels: int) -> ModelConfig:
    """A row of thesis table 3.1, with head C, 32 px of context and reflection (§3.4)."""
    return ModelConfig(
        patch=patch,
        context=16,
        trunk=trunk,
        channels=channels,
        mask_head="low-rank",
        rank=512,
        mask_size=56,
        score_head="shared",
        score_width=1024,
        padding="reflect",
    )


_VGG_A = ModelConfig(
    patch=224,
    context=0,
    trunk="vgg-a",
    channels=512,
    mask_head="low-rank",
    rank=512,
    mask_size=56,
    score_head="pooled",
    score_width=1024,
)
_R18 = replace(study_row("resnet18", 160, 128), padding="zero")
_OURS = study_row("resnet50", 160, 128)
_SHARP = replace(_OURS, refine_widths=halved_widths(4), skip_widths=(64,) * 4, sharp_size=160)

#: The networks that have a name. `deepmask-vgg-a` and `deepmask-full` are the paper's (§3.1, §3.4);
#: the others are the thesis', named W-P-D-F as in its table 3.1: W the patch, P poolings before the
#: features, D layers of the trunk, F channels before the window's linear code (512 where not said).
#: `deepmask-ours` is W160-P4-D39-F128, and `sharpmask` refines it by schedule (b),
#: `sharpmask-constant` by (a). The networks with r18 are their light forms on a ResNet-18:
#: `sharpmask-r18` ends at half the patch's size, whose masks can be right to an IoU of 0.99, and
#: reduces its fine skip features further. As exported, that is 3.6 M multiply-adds a window (the
#: coarse mask: 1.6 M) and 5.8 k a pixel, beside the trunk's 28 k.
MODEL_PRESETS: Mapping[str, ModelConfig] = {
    "deepmask-vgg-a": _VGG_A,
    "deepmask-full": replace(_VGG_A, mask_head="full", rank=0),
    "deepmask-r18": _R18,
    "w160-p4-d8-vgg": study_row("vgg-a", 160, 512),
    "w160-p4-d39": study_row("resnet50", 160, 512),
    "w112-p4-d39": study_row("resnet50", 112, 512),
    "w112-p3-d21": study_row("resnet50-stride8", 112, 512),
    "w112-p3-d21-f128": study_row("resnet50-stride8", 112, 128),
    "deepmask-ours": _OURS,
    "deepmask-ours-head-a": replace(_OURS, score_head="separate"),
    "deepmask-ours-head-b": replace(_OURS, score_head="reduced"),
    "sharpmask": _SHARP,
    "sharpmask-constant": replace(_SHARP, refine_widths=constant_widths(4)),
    "sharpmask-r18": replace(
        _R18, refine_widths=(32, 16, 8, 4, 4), skip_widths=(64, 64, 32, 16), sharp_size=80
    ),
}
