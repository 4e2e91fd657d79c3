"""Training settings that every family has: length, batch, optimiser, schedule, running average."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

SCHEDULES = ("constant", "cosine", "cooldown")


def knob(default: Any, text: str, low: float = 0.0, high: float = math.inf) -> Any:
    """Declare a setting; numbers must be finite and lie within low … high.

    Each one is an option of `deepmask-train`, for the presets whose recipe has it, and `text` is
    its help. The type of `default` is the setting's.
    """
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Recipe:
    """Base of every family's training settings; by default the paper's (DeepMask §3, §3.4)."""

    steps: int = knob(480_000, "Batches to train.", low=1)
    batch: int = knob(32, "Samples in a batch.", low=1)
    optimiser: str = knob("sgd", "sgd or adamw.")
    lr: float = knob(1e-3, "Learning rate.")
    momentum: float = knob(0.9, "Momentum (sgd).", high=1)
    weight_decay: float = knob(5e-5, "Weight decay.")
    schedule: str = knob(
        "constant",
        "constant, cosine (to zero at the last step), or cooldown (constant, then linearly to "
        "zero: a run that is stopped before can be made longer).",
    )
    cooldown: float = knob(0.3, "Share of the steps that the cooldown schedule takes.", high=1)
    warmup: int = knob(0, "Steps of linear warm-up.")
    clip: float = knob(0.0, "Largest gradient norm; 0: no clipping.")
    average: float = knob(0.0, "Decay of the running average of the weights; 0: none.", high=1)
    categories: str = knob(
        "",
        "Learn from these categories only, ids or names between commas, voc for PASCAL's 20 "
        "(DeepMask20), or all but these, as in 'not voc'; others are background. Empty: all.",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            value, low, high = getattr(self, item.name), item.metadata["low"], item.metadata["high"]
            number = isinstance(value, (int, float))
            if number and not (math.isfinite(value) and low <= value <= high):
                accepted = "finite" if high == math.inf else f"at most {high:g}"
                raise ValueError(
                    f"{item.name.replace('_', '-')} is {value}, "
                    f"it must be at least {low:g} and {accepted}"
                )
        if self.optimiser not in ("sgd", "adamw"):
            raise ValueError(f"optimiser is {self.optimiser!r}, it must be sgd or adamw")
        if self.schedule not in SCHEDULES:
            accepted = f"{', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}"
            raise ValueError(f"schedule is {self.schedule!r}, it must be {accepted}")
        if self.lr == 0:
            raise ValueError("lr is 0, it must be above 0")
        if self.average == 1:
            raise ValueError("average is 1, it must be below 1: the start would never be left")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return asdict(self)
