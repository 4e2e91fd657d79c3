"""Network configurations: frozen values, checked when made, that a checkpoint can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

#: ImageNet statistics of RGB in [0, 1]; the gray of the border is 0.5 of that range.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BORDER_FILL = 127.5

#: Ends the name of a trunk that is two trunks side by side, as `score_swap` joins two networks.
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
PADDINGS = ("zero", "reflect")
#: Limits of a configuration read from a file: letters of a text, a number, values in a row.
LONGEST_TEXT, LARGEST_SIZE, LONGEST_ROW = 100, 1 << 16, 1000

Config = TypeVar("Config", bound="NetworkConfig")


class ConfigError(ValueError):
    """A configuration that no network can be built from; the text says why."""


@dataclass(frozen=True)
class NetworkConfig:
    """Base of every family's configuration: a frozen dataclass of plain values.

    Fields are texts, whole numbers from 0, finite floats, booleans, or tuples of these. A subclass
    raises `ConfigError` in `__post_init__` for values that do not go together.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Return the configuration that a checkpoint holds; a missing field means its default.

        Raises `ConfigError` for missing or unknown keys, and for values of another type or beyond
        reason.
        """
        known = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not needed <= set(values) <= known:
            missing, unknown = sorted(needed - set(values)), len(set(values) - known)
            raise ConfigError(f"model configuration: missing {missing}, {unknown} unknown")
        types = get_type_hints(cls)
        for name, value in values.items():
            if not _fits(value, types[name]):
                kind = getattr(types[name], "__name__", str(types[name]))
                raise ConfigError(
                    f"model configuration: {name} is no {kind} that a network can have "
                    f"(texts to {LONGEST_TEXT} letters, sizes to {LARGEST_SIZE}, "
                    f"{LONGEST_ROW} at most)"
                )
        return cls(**values)


def _fits(value: object, kind: Any) -> bool:
    if isinstance(value, tuple):
        items = [item for item in get_args(kind) if item is not Ellipsis]
        short = len(items) == 1 and len(value) <= LONGEST_ROW
        return short and all(_fits(item, *items) for item in value)
    if type(value) is str:
        return kind is str and len(value) <= LONGEST_TEXT
    if type(value) is float:
        return kind is float and math.isfinite(value)
    if type(value) is int:
        return kind in (int, float) and 0 <= value <= LARGEST_SIZE
    return type(value) is bool and kind is bool


def require_known(what: str, value: str, known: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `known`."""
    if value not in known:
        raise ConfigError(f"{what} {value!r} is not one of {', '.join(known)}")
