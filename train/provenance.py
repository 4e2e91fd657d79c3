"""Record what a run depends on beside model, recipe and seed, and name what changed on --resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepmask.runtime.errors import printable
from deepmask.train.device import Hardware

LABELS = "annotations"


def conditions(labels: Sequence[str], hardware: Hardware) -> dict[str, str]:
    """Return plain values for a checkpoint: arithmetic and the labels.

    labels   digests of what is trained on: its content counts, not where it lies.
    """
    return {
        "precision": "bf16" if hardware.bf16 else "fp32",
        "execution": "compiled" if hardware.compiled else "eager",
        LABELS: " ".join(labels),
    }


def changes(before: object, now: Mapping[str, str]) -> list[str]:
    """Return a phrase for each condition that differs from those in a checkpoint.

    before   what the checkpoint holds; None if it was written before conditions were kept.
    """
    if not isinstance(before, Mapping):
        return []
    phrases = []
    for name, value in now.items():
        then = before.get(name)
        if isinstance(then, str) and then != value:
            phrases.append(
                "the training annotations have changed"
                if name == LABELS
                else f"{name} was {printable(then[:20])}, is {value}"
            )
    return phrases
