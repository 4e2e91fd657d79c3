"""Options that only a model with masks can follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from deepmask.runtime.io.formats import MASKS_ONLY
from deepmask.runtime.model.manifest import Manifest


def require_masks(manifest: Manifest, options: Mapping[str, Any]) -> None:
    """Raise `click.UsageError` for an option that needs masks, of a model that gives boxes only."""
    needing = {
        f"--format {options['kind']}": options["kind"] in MASKS_ONLY,
        "--flat": options["flat"],
        "--threshold": options["threshold"] is not None,
    }
    given = [flag for flag, is_given in needing.items() if is_given]
    if given and not manifest.has_masks:
        raise click.UsageError(
            f"{given[0]}: {manifest.name} gives boxes only, no masks: leave it out, or give the "
            "--model of one that gives masks"
        )
