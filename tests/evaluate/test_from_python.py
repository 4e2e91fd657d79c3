"""An evaluation called from Python: no command line, nothing printed, no signal touched."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from deepmask.evaluate import EvalError, Evaluation, EvalUsageError, Request, evaluate
from tests.evaluate.scenes import figures_only, metrics_of


@pytest.fixture
def request_of_file(files: Path) -> Request:
    return Request(annotations=files / "labels.json", proposals_json=files / "good.json")


def test_a_results_file_is_measured(
    request_of_file: Request, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    steps: list[tuple[str, int, int]] = []
    result = evaluate(
        replace(request_of_file, out=tmp_path / "out"), progress=lambda *step: steps.append(step)
    )
    assert result == Evaluation(metrics_of(tmp_path / "out"), tmp_path / "out", 10, 10)
    assert result.metrics is not None
    assert figures_only(result.metrics) == figures_only(metrics_of(files / "whole"))
    assert steps == [("images", done, 10) for done in range(11)]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert capsys.readouterr() == ("", "")


def test_runs_on_other_categories_are_told_apart(request_of_file: Request, tmp_path: Path) -> None:
    some = replace(request_of_file, categories="1", out=tmp_path / "some")
    evaluate(some)
    assert metrics_of(tmp_path / "some")["run"]["annotations"]["categories"] == "1"
    with pytest.raises(EvalError):
        evaluate(replace(some, categories="not 1", resume=True))
    with pytest.raises(EvalUsageError, match="--categories goes with --annotations"):
        replace(request_of_file, annotations=None, voc=tmp_path, categories="1")


def test_without_a_folder_nothing_is_kept(request_of_file: Request, files: Path) -> None:
    result = evaluate(request_of_file)
    assert result.folder is None
    assert result.metrics is not None
    assert figures_only(result.metrics) == figures_only(metrics_of(files / "whole"))


def test_an_interrupted_one_reports_what_it_has_and_is_resumed(
    request_of_file: Request, files: Path, tmp_path: Path
) -> None:
    def stop(counted: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    kept = replace(request_of_file, out=tmp_path / "out")
    result = evaluate(kept, progress=stop)
    assert (result.measured, result.images, result.interrupted) == (3, 10, True)
    assert metrics_of(tmp_path / "out")["images_missing"] == 7
    whole = evaluate(replace(kept, resume=True))
    assert (whole.measured, whole.interrupted) == (10, False)
    assert whole.metrics is not None
    assert figures_only(whole.metrics) == figures_only(metrics_of(files / "whole"))


def test_errors_are_the_rooms_own(request_of_file: Request, files: Path, tmp_path: Path) -> None:
    model = replace(request_of_file, proposals_json=None, images=files, model=tmp_path)
    with pytest.raises(EvalUsageError, match=r"no model\.json there"):
        evaluate(model)
    with pytest.raises(EvalError, match="already holds an evaluation"):
        evaluate(replace(request_of_file, out=files / "whole"))
    with pytest.raises(EvalError, match="labels"):
        evaluate(replace(request_of_file, annotations=tmp_path / "labels.json"))
    with pytest.raises(EvalError, match=r"good\.json.*Not a directory\): a part of the path is"):
        evaluate(replace(request_of_file, out=files / "good.json" / "out"))
