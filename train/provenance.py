"""Record what a run depends on beside model, recipe and seed, and name what changed on --resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepmask.runtime.errors import printable
from deepmask.train.device import Hardware

LABELS, PROPOSALS = "annotations", "proposals"


def conditions(labels: Sequence[str], hardware: Hardware, proposals: str = "") -> dict[str, str]:
    """Return plain values for a checkpoint: arithmetic and what is trained on.

    labels, proposals  digests: the content of files counts, not where they lie.
    """
    return {
        "precision": "bf16" if hardware.bf16 else "fp32",
        "execution": "compiled" if hardware.compiled else "eager",
        LABELS: " ".join(labels),
        PROPOSALS: proposals,
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
                f"the training {name} have changed"
                if name in (LABELS, PROPOSALS)
                else f"{name} was {printable(then[:20])}, is {value}"
            )
    return phrases
