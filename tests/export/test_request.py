"""An export called from Python: no command line, nothing printed, no signal touched."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from deepmask.export import (
    ExportOptions,
    ExportRequest,
    ExportUsageError,
    PlanOptions,
    export,
    parity,
    request,
)
from deepmask.export.plans import PlanBuilder
from deepmask.runtime.model.folder import load_manifest


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "PICTURE_SIZES", parity.PICTURE_SIZES[:1])


def test_a_checkpoint_becomes_a_model_and_a_version_for_triton(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    lines: list[str] = []
    done = export(
        ExportRequest(
            tiny_checkpoint,
            tmp_path / "model",
            ExportOptions(threshold=0.3),
            triton=tmp_path / "served",
        ),
        lines.append,
    )
    assert done.folder == tmp_path / "model"
    assert done.manifest == load_manifest(tmp_path / "model")
    assert (done.manifest.name, done.manifest.threshold) == ("tiny", 0.3)
    assert done.triton == tmp_path / "served" / "tiny" / "1"
    assert lines[-2:] == [f"wrote {done.folder}", f"wrote {done.triton}"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert capsys.readouterr() == ("", "")


def test_errors_are_the_rooms_own(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    (tmp_path / "empty").mkdir()
    wrong = [
        (tmp_path / "none.pt", "no such checkpoint file"),
        (tmp_path / "notes.pt", "not a checkpoint of deepmask-train"),
        (tmp_path / "empty", r"no model\.json there"),
    ]
    for source, text in wrong:
        with pytest.raises(ExportUsageError, match=text) as caught:
            export(ExportRequest(source, tmp_path / "out", ExportOptions()))
        assert caught.value.exit_code == 2
    with pytest.raises(
        ExportUsageError, match=r"notes\.pt.*Not a directory\): a part of the path is a file"
    ) as caught_too:
        export(ExportRequest(tiny_checkpoint, tmp_path / "notes.pt" / "out"))
    assert caught_too.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "notes.pt"]


def test_what_would_have_no_effect_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportUsageError, match="--opset is for a checkpoint"):
        export(ExportRequest(tmp_path, options=ExportOptions(opset=19)))
    int8 = ExportOptions(precision="int8")
    with pytest.raises(ExportUsageError, match="takes no zero points"):
        export(ExportRequest(tmp_path, options=int8, plans=PlanOptions()))


def test_an_interrupt_says_what_is_left(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    asked = ExportRequest(tiny_checkpoint, tmp_path / "model", triton=tmp_path / "served")
    with pytest.raises(KeyboardInterrupt, match=r"^nothing was written$"):
        export(asked, stop)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(request, "write_repository", stop)
    with pytest.raises(KeyboardInterrupt, match=r"is complete, nothing was added to .*served"):
        export(asked)
    monkeypatch.setattr(PlanBuilder, "__init__", lambda builder, options: None)
    monkeypatch.setattr(PlanBuilder, "build", stop)
    with pytest.raises(KeyboardInterrupt, match="is complete, the plans that were done are kept"):
        export(replace(asked, triton=None, plans=PlanOptions()))
    assert load_manifest(tmp_path / "model").name == "tiny"
