"""The model folder appears whole, replaces only a model, and survives a failure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepmask.export.errors import ExportUsageError
from deepmask.export.folder import require_replaceable, staged
from deepmask.runtime.io.atomic import _MACHINE
from deepmask.runtime.io.written import RECORD
from deepmask.runtime.model.shipped import shipped_model


def write_model(folder: Path, graph: str) -> None:
    """Write what says that it is a model, one of its graphs a text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.onnx").write_text(graph, encoding="utf-8")
    content = json.loads((shipped_model() / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")


def export(folder: Path, graph: str, *, force: bool = False) -> None:
    """Export a model."""
    with staged(folder, force) as stage:
        write_model(stage, graph)


def test_a_new_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    with staged(out) as stage:
        write_model(stage, "first")
        assert not out.exists()
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "model.json", "score.onnx"]
    assert list((tmp_path / "new").iterdir()) == [out]


def test_a_model_is_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export(out, "first")
    with staged(out) as stage:
        write_model(stage, "second")
        assert (out / "score.onnx").read_text(encoding="utf-8") == "first"
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "model.json", "score.onnx"]
    assert (out / "score.onnx").read_text(encoding="utf-8") == "second"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_model_and_nothing_else(
    failure: BaseException, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    export(out, "first")

    def fail() -> None:
        with staged(out) as stage:
            write_model(stage, "second")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert (out / "score.onnx").read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [out]


def test_the_old_model_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    export(out, "first")
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise PermissionError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), staged(out) as stage:
        write_model(stage, "second")
    assert (out / "score.onnx").read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("renames", [1, 2])
def test_an_interrupt_between_the_renames_loses_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Ctrl-C just after the old model was moved away, or the new one was moved in."""
    out = tmp_path / "model"
    export(out, "first")
    replace, done = Path.replace, list[str]()

    def interrupted(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        done.append(self.name)
        if len(done) == renames:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), staged(out) as stage:
        write_model(stage, "second")
    text = (out / "score.onnx").read_text(encoding="utf-8")
    assert text == {1: "first", 2: "second"}[renames]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["model.2023.tmp", f"model.1.{_MACHINE}.deepmask-tmp"])
def test_a_users_folder_of_a_name_like_ours_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "photograph.jpg").write_bytes(b"mine")
    with staged(tmp_path / "model") as stage:
        write_model(stage, "first")
    assert (tmp_path / name / "photograph.jpg").read_bytes() == b"mine"


def test_what_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    require_replaceable(folder)
    folder.mkdir()
    require_replaceable(folder)
    (folder / "one.jpg").write_bytes(b"")
    with pytest.raises(ExportUsageError, match="exists and is no exported model"):
        require_replaceable(folder)
    write_model(folder, "first")
    with pytest.raises(ExportUsageError, match=r"also holds one\.jpg, which no export wrote"):
        require_replaceable(folder)
    (folder / "one.jpg").unlink()
    (folder / RECORD).touch()  # of a picture that was drawn there, and is gone
    require_replaceable(folder, force=True)
    (folder / "coarse_trunk.onnx").write_bytes(b"")
    with pytest.raises(ExportUsageError, match=r"also holds coarse_trunk\.onnx, which no export"):
        require_replaceable(folder)
    (folder / "coarse_trunk.onnx").unlink()
    (folder / "model.json").write_text('{"format": "deepmask-model/1"}', encoding="utf-8")
    with pytest.raises(
        ExportUsageError, match=r"is no exported model .* give another --out"
    ) as told:
        require_replaceable(folder)
    assert "\n" not in str(told.value)
    with pytest.raises(ExportUsageError, match="is a file: give --out a folder"):
        require_replaceable(folder / "model.json")


@pytest.mark.parametrize("name", ["score.onnx", "model.json"])
def test_a_model_that_was_changed_by_hand_is_kept(tmp_path: Path, name: str) -> None:
    out = tmp_path / "model"
    export(out, "first")
    content = (out / name).read_bytes() + b"\n"
    (out / name).write_bytes(content)
    changed = rf"{name} was changed since it was exported.* or --force to replace the model"
    with pytest.raises(ExportUsageError, match=changed):
        require_replaceable(out)
    with pytest.raises(ExportUsageError, match=changed):
        export(out, "second")
    assert (out / name).read_bytes() == content
    assert list(tmp_path.iterdir()) == [out]
    export(out, "second", force=True)
    assert (out / "score.onnx").read_text(encoding="utf-8") == "second"
    require_replaceable(out)
