"""The self-test: an engine that is right passes, one that is not is told."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from deepmask import DeepMask
from deepmask.runtime.cli import self_test as command
from deepmask.runtime.doctor.self_test import SIZES, Way, as_lines, as_record, self_test
from deepmask.runtime.doctor.ways import on_cpu, ways
from deepmask.runtime.engines.base import EngineError
from deepmask.runtime.errors import OneLineError
from deepmask.runtime.io.outputs import RefusedError
from tests.runtime.boxes_model import write_boxes_model
from tests.runtime.named_model import write_named_model
from tests.runtime.square_model import write_square_model


def test_an_engine_that_is_right_passes(model_folder: Path) -> None:
    load = partial(on_cpu, model_folder)
    lines: list[str] = []
    [result] = self_test(load, [Way("the same", load)], tell=lines.append, times=1)
    assert result.failed == []
    assert (result.found, lines) == (1.0, ["trying the same"])
    assert result.stages.keys() == {"features", "score", "mask"}
    assert max(result.stages.values()) < 1e-4
    assert result.seconds.keys() >= {"resize", "trunk", "score", "mask", "encode", "all"}
    assert len(result.memory) == 3
    assert len(set(SIZES)) == 20
    assert as_lines([result])[0].split()[:3] == ["the", "same", "right"]
    assert json.loads(json.dumps(as_record([result], {"cpu": "x"})))["ways"][0]["found"] == 1


def test_names_are_compared_too(tmp_path: Path) -> None:
    load = partial(on_cpu, write_named_model(tmp_path / "model"))
    [result] = self_test(load, [Way("the same", load)], times=1)
    assert result.failed == []
    assert result.stages["class"] == 0


def test_a_model_without_masks_is_compared(tmp_path: Path) -> None:
    load = partial(on_cpu, write_boxes_model(tmp_path / "model", stages=True))
    [result] = self_test(load, [Way("the same", load)], times=1)
    assert result.failed == []
    assert result.stages.keys() >= {"near_score", "near_move", "tone", "class"}
    assert "mask" not in result.stages
    assert result.found == 1.0


def test_what_is_wrong_is_told(model_folder: Path, tmp_path: Path) -> None:
    """Another model, an engine that does not start, a process that fails: none ends the rest."""
    other = write_square_model(tmp_path / "other", through_code=True)

    def broken() -> DeepMask:
        raise EngineError("no such engine")

    given = [
        Way("broken", broken),
        Way("other", partial(on_cpu, other), (str(tmp_path), "onnxruntime", "cpu", "", "1")),
    ]
    first, second = self_test(partial(on_cpu, model_folder), given, times=1)
    assert first.failed == ["no such engine"]
    assert second.failed[0] == "code deviates by inf"
    assert second.failed[1].startswith("a process ends with code 1, and says: ")
    assert len(second.failed) == 2
    assert [line for line in as_lines([first, second]) if "FAILED" in line]


def test_the_command_writes_one_file(
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "deepmask")
    monkeypatch.setattr(command, "self_test", partial(self_test, times=1))
    out = tmp_path / "new" / "figures.json"
    for _ in range(2):  # its own file is replaced
        command.run_self_test("onnxruntime", "cpu", model_folder, None, out, [])
    [way] = json.loads(out.read_text(encoding="utf-8"))["ways"]
    assert (way["name"], way["failed"]) == ("onnxruntime on cpu", [])
    shown = [record.getMessage() for record in caplog.records]
    assert len(shown) < 2 * 24
    assert shown[-1].endswith(str(out))
    kept = out.write_text("mine")
    with pytest.raises(RefusedError):
        command.run_self_test("onnxruntime", "cpu", model_folder, None, out, [])
    assert out.stat().st_size == kept


def test_ways_are_those_that_are_there(model_folder: Path) -> None:
    names = [way.name for way in ways(model_folder, "auto", "cpu", None)]
    assert "onnxruntime on cpu" in names
    assert not any("cuda" in name for name in names)
    with pytest.raises(EngineError):
        ways(model_folder, "tensorrt", "cpu", None)
    assert issubclass(EngineError, OneLineError)
