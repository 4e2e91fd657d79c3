"""Settings of networks with anchors: what is refused."""

from __future__ import annotations

import pytest

from deepmask.networks.anchors.recipe import AnchorRecipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crop": 200}, "crop is 200, it must be a multiple of 128"),
        ({"crop": 0}, "crop is 0, it must be at least 128"),
        (
            {"class_loss": "hinge"},
            "class-loss is 'hinge', it must be focal, cross-entropy, ohem or",
        ),
        ({"shrink": -1.0}, "shrink is -1.0"),
    ],
)
def test_settings_that_nothing_can_be_trained_with(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AnchorRecipe(**change)  # type: ignore[arg-type]
