"""What fuzzing found in readers of checkpoints, each as a test of its own."""

from __future__ import annotations

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig, sharpened
from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import InitialiseError
from deepmask.train.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from deepmask.train.initialise import read_weights
from tests.fuzz import checkpoints


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_archives_that_unpack_to_more_than_they_are(tmp_path: Path) -> None:
    """PyTorch unpacks compressed entries without a limit."""
    file = io.BytesIO()
    torch.save({"zeros": torch.zeros(1 << 20)}, file)
    source = zipfile.ZipFile(file)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 10_000
    with pytest.raises(CheckpointError, match="compressed archive"):
        load_checkpoint(tmp_path / "bomb.pt")
    with pytest.raises(InitialiseError, match="compressed archive"):
        read_weights(str(tmp_path / "bomb.pt"), "")


def test_a_format_without_end(tmp_path: Path) -> None:
    """A list of two lists of two lists …, forty times, was printed."""
    with pytest.raises(CheckpointError, match="format is 'list'"):
        load_checkpoint(saved(tmp_path / "a.pt", {"format": checkpoints.hostile()[0]}))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 1 << 40}, "channels is no int that a network can have"),
        ({"rank": -1}, "rank is no int"),
        ({"rank": True}, "rank is no int"),
        ({"patch": torch.tensor(160)}, "patch is no int"),
        ({"trunk": ["resnet18"] * 99}, "trunk is no str"),
        ({"trunk": "x" * 101}, "trunk is no str"),
        ({1: 2}, "its model is missing or no table"),
    ],
)
def test_configurations_beyond_reason(tmp_path: Path, change: dict[Any, Any], text: str) -> None:
    """Sizes of another type ended in tracebacks, and lists of lists in a text without end."""
    content = copy.copy(checkpoints.content())
    content["model"] = {**content["model"], **change}
    with pytest.raises(CheckpointError, match=text):
        load_checkpoint(saved(tmp_path / "a.pt", content))


def test_rows_of_sizes_beyond_reason(tmp_path: Path) -> None:
    sharp = sharpened(checkpoints.SMALL, (8, 6, 4, 4, 4), (8, 6, 6, 4), 32).to_dict()
    for wrong in ([4] * 5, (1 << 20,) * 5, (4,) * 1001, 4):
        content = {**checkpoints.content(), "family": "sharpmask"}
        content["model"] = {**sharp, "refine_widths": wrong}
        with pytest.raises(CheckpointError, match="refine_widths is no tuple that a network"):
            load_checkpoint(saved(tmp_path / "a.pt", content))


def test_sizes_that_the_file_does_not_hold() -> None:
    """A network of terabytes was made before a file of kilobytes was asked for its weights."""
    model = PRESETS["deepmask-r18"].config.to_dict() | {"rank": 1 << 16, "channels": 1 << 16}
    config = DeepMaskConfig.from_dict(model)
    with pytest.raises(CheckpointError, match=r"do not fit its configuration: '.*' is missing"):
        Checkpoint(config, {}, {}).build()
    with torch.device("meta"):
        names = DeepMaskNetwork(config).state_dict()
    weights = {
        name: torch.zeros((), dtype=value.dtype).expand(value.shape)
        for name, value in names.items()
    }
    with pytest.raises(CheckpointError, match="fewer values than its shape says"):
        Checkpoint(config, weights, {}).build()


def with_momentum(value: Any) -> dict[str, Any]:
    return {"optimiser": {"state": {0: {"momentum_buffer": value}}}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"step": -1}, "its step is no number of steps"),
        ({"optimiser": torch.zeros(3)}, "training state is not whole: IndexError"),
        ({"recipe": {"lr": checkpoints.hostile()[0]}}, "lr was a list, is "),
        (with_momentum(torch.zeros(3)), "does not fit its"),
        (with_momentum(torch.zeros(())), "does not fit its"),
        (with_momentum("x"), "is no tensor"),
        (with_momentum(checkpoints.hostile()[0]), "is no tensor"),
    ],
)
def test_runs_that_nobody_began(change: dict[str, Any], text: str) -> None:
    """A list of lists without end was printed; the rest ended in tracebacks at the first step."""
    one = checkpoints.trainer()
    training = {**checkpoints.halfway(), **change}
    with pytest.raises(CheckpointError, match=text):
        one.resume(Checkpoint(checkpoints.SMALL, one.model.state_dict(), training))
