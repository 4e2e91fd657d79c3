"""Checkpoints: whole, loadable without running code, and honest about what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from torch import Tensor

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.families import FAMILIES
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.trunks import TRUNKS, InitialiseError
from deepmask.train.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from deepmask.train.initialise import read_weights


def test_round_trip_rebuilds_the_model(tmp_path: Path, tiny_model: DeepMaskConfig) -> None:
    model = DeepMaskNetwork(tiny_model).eval()
    save_checkpoint(Checkpoint(tiny_model, model.state_dict(), {}), tmp_path / "a.pt")
    rebuilt = load_checkpoint(tmp_path / "a.pt").build()
    patches = 255 * torch.rand(1, 3, 96, 96)
    assert all(torch.equal(a, b) for a, b in zip(model(patches), rebuilt(patches), strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_failed_write_leaves_the_old_file(
    tmp_path: Path, tiny_model: DeepMaskConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")

    def full_disk(content: object, file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(Checkpoint(tiny_model, {}, {}), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    torch.save({"format": "deepmask-checkpoint/2", "model": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match="not a checkpoint of deepmask-train"):
            load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "x/1"}, "format is 'x/1', expected 'deepmask-checkpoint/2': train it again"),
        ({"format": None}, "format is None"),
        (
            {"family": "retina"},
            f"family is 'retina', known are {', '.join(FAMILIES)}: use",
        ),
        ({"family": ["deepmask"]}, r"family is \['deepmask'\], known are"),
        ({"family": "sharpmask"}, r"missing \['refine_widths', 'sharp_size', 'skip_widths'\]"),
        ({"weights": 3}, "its weights is missing or no table"),
    ],
)
def test_other_formats_and_families_are_refused_in_one_line(
    tmp_path: Path, tiny_model: DeepMaskConfig, change: dict[str, Any], text: str
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(Checkpoint(tiny_model, {}, {}), path)
    whole = torch.load(path, weights_only=True)
    assert whole["family"] == load_checkpoint(path).family == "deepmask"
    torch.save({**whole, **change}, path)
    with pytest.raises(CheckpointError, match=text) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_foreign_and_truncated_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_checkpoint(tmp_path / "x.pt")


def test_missing_files_lists_and_weights_that_do_not_fit_are_named(
    tmp_path: Path, tiny_model: DeepMaskConfig
) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="format is 'list'"):
        load_checkpoint(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="do not fit"):
        Checkpoint(tiny_model, {"trunk.conv1.weight": torch.zeros(1)}, {}).build()


@pytest.fixture
def state() -> dict[str, Tensor]:
    return TRUNKS["resnet18"]("zero").state_dict()


def test_initialisation_copies_every_trunk_weight(tmp_path: Path, state: dict[str, Tensor]) -> None:
    more = {"fc.weight": torch.zeros(2), "layer4.x": torch.zeros(1)}
    torch.save({**state, **more}, tmp_path / "w.pth")
    trunk = TRUNKS["resnet18"]("zero")
    trunk.start_from(read_weights(str(tmp_path / "w.pth"), trunk.published))
    assert all(torch.equal(value, state[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize(
    ("lost", "put", "text"),
    [
        ("layer3.0.conv1.weight", {}, r"lacks layer3\.0\.conv1\.weight"),
        ("", {"conv1.weight": torch.zeros(1)}, "another shape"),
        ("", {"module.conv1": torch.zeros(1)}, r"unknown entries module\.conv1"),
    ],
)
def test_initialisation_is_never_partial(
    state: dict[str, Tensor], lost: str, put: dict[str, Tensor], text: str
) -> None:
    changed = {name: value for name, value in state.items() if name != lost} | put
    with pytest.raises(InitialiseError, match=text):
        TRUNKS["resnet18"]("zero").start_from(changed)


def test_weights_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InitialiseError, match="no such weights file"):
        read_weights(str(tmp_path / "none.pth"), "")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InitialiseError, match="give --init"):
        read_weights(str(tmp_path / "evil.pth"), "")
