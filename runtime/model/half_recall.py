"""Hold what float16 was measured to do to a model's recall: whether it may be taken by default."""

from __future__ import annotations

from dataclasses import dataclass

#: Mask AR@100 that a model may lose in float16.
MOST_LOST = 0.002


@dataclass(frozen=True)
class HalfRecall:
    """What float16 does to a model's recall: mask AR@100 of both on some validation pictures."""

    fp32: float
    fp16: float
    pictures: int

    @property
    def holds(self) -> bool:
        """Whether the loss is small enough for float16 to be taken where nothing else is said."""
        return self.fp32 - self.fp16 <= MOST_LOST
