"""Checkpoints: whole, loadable without running code, and honest about what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from deepmask.networks.deepmask import DeepMaskNetwork
from deepmask.networks.patches.config import DeepMaskConfig
from deepmask.networks.pretrained import InitialiseError, initialise_trunk
from deepmask.networks.trunks import TRUNKS
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


def test_other_formats_and_families_are_refused_in_one_line(
    tmp_path: Path, tiny_model: DeepMaskConfig
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(Checkpoint(tiny_model, {}, {}), path)
    whole = torch.load(path, weights_only=True)
    assert whole["family"] == load_checkpoint(path).family == "deepmask"
    cases: dict[str, dict[str, Any]] = {
        "format is 'deepmask-checkpoint/1', expected 'deepmask-checkpoint/2': train it again": {
            "format": "deepmask-checkpoint/1"
        },
        "family is 'retina', known are deepmask, sharpmask: use the version": {"family": "retina"},
        "family is \\['deepmask'\\], known are": {"family": ["deepmask"]},
        "missing \\['refine_widths', 'sharp_size', 'skip_widths'\\]": {"family": "sharpmask"},
        "its weights is missing or no table": {"weights": 3},
    }
    for text, change in cases.items():
        torch.save({**whole, **change}, path)
        with pytest.raises(CheckpointError, match=text) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_foreign_and_truncated_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt"):
        load_checkpoint(tmp_path / "x.pt")


def test_missing_file_and_other_formats_are_named(
    tmp_path: Path, tiny_model: DeepMaskConfig
) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint file"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="format is None"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="format is 'list'"):
        load_checkpoint(tmp_path / "list.pt")
    checkpoint = Checkpoint(tiny_model, {"trunk.conv1.weight": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="do not fit"):
        checkpoint.build()


def test_initialisation_copies_every_trunk_weight(tmp_path: Path) -> None:
    state = TRUNKS["resnet18"]("zero").state_dict()
    torch.save(
        {**state, "fc.weight": torch.zeros(2), "layer4.x": torch.zeros(1)}, tmp_path / "w.pth"
    )
    trunk = TRUNKS["resnet18"]("zero")
    initialise_trunk(trunk, read_weights(str(tmp_path / "w.pth"), trunk.published))
    assert all(torch.equal(value, state[name]) for name, value in trunk.state_dict().items())


def test_initialisation_is_never_partial(tmp_path: Path) -> None:
    state = TRUNKS["resnet18"]("zero").state_dict()
    short = {name: value for name, value in state.items() if name != "layer3.0.conv1.weight"}
    with pytest.raises(InitialiseError, match=r"lacks layer3\.0\.conv1\.weight"):
        initialise_trunk(TRUNKS["resnet18"]("zero"), short)
    with pytest.raises(InitialiseError, match="another shape"):
        initialise_trunk(TRUNKS["resnet18"]("zero"), {**state, "conv1.weight": torch.zeros(1)})
    with pytest.raises(InitialiseError, match=r"unknown entries module\.conv1"):
        initialise_trunk(TRUNKS["resnet18"]("zero"), {**state, "module.conv1": torch.zeros(1)})
    with pytest.raises(InitialiseError, match="no such weights file"):
        read_weights(str(tmp_path / "none.pth"), "")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InitialiseError, match="give --init"):
        read_weights(str(tmp_path / "evil.pth"), "")
