"""A model that has no room on the GPU is refused before its plans are built."""

from __future__ import annotations

import pytest

from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.engines.tensorrt.memory import first_layer, require_room
from deepmask.runtime.engines.tensorrt.profile import profiles
from deepmask.runtime.model.folder import load_manifest
from deepmask.runtime.model.shipped import find_model


def test_the_first_layer_is_found_behind_its_cast() -> None:
    """EfficientNet-Lite2 begins with 32 channels at stride 2."""
    folder = find_model(None)
    manifest = load_manifest(folder)
    assert first_layer((folder / manifest.view_stages[0].file).read_bytes()) == 32 / 2**2
    assert first_layer(b"") == 0


def test_what_has_no_room_is_told_with_the_side_that_fits() -> None:
    folder = find_model(None)
    manifest = load_manifest(folder)
    stage = manifest.view_stages[0]
    graph = (folder / stage.file).read_bytes()

    def needed(side: int) -> int:
        _, _, height, width = profiles(manifest, stage, side, 0.0)[-1]["image"].max
        return 8 * 32 // 4 * height * width  # two maps of float32

    require_room(manifest, stage, graph, 8192, 0.0, needed(8192))
    with pytest.raises(EngineError) as caught:
        require_room(manifest, stage, graph, 8192, 0.0, needed(8192) - 1)
    text = str(caught.value)
    assert text.startswith("fpn-lite needs at least 4.0 GiB on the GPU for pictures of 8192 pixels")
    with pytest.raises(EngineError, match=r"give --max-side 4096 or smaller --scales"):
        require_room(manifest, stage, graph, 8192, 0.0, needed(4096))
    require_room(manifest, stage, graph, 4096, 0.0, needed(4096))
    mask = manifest.window_stages[0]
    require_room(manifest, mask, (folder / mask.file).read_bytes(), 8192, 0.0, 1)
