"""`deepmask-train` as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from deepmask.networks.presets import PRESETS
from deepmask.networks.trunks import TRUNKS
from deepmask.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tests.train.small import COMMAND, SMALL, data, deepmask_train


def trained(*arguments: object) -> subprocess.CompletedProcess[str]:
    result = deepmask_train(*arguments)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_train_and_resume(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save(TRUNKS["resnet18"]("zero").state_dict(), tmp_path / "init.pth")
    out = tmp_path / "runs" / "x"
    arguments = [*data(drawn), "--val-annotations", drawn[0], "--val-images", drawn[1], *SMALL]
    arguments += ["--out", out, "--precision", "fp32"]
    first = trained(*arguments, "--init", tmp_path / "init.pth")
    assert "val mask_iou" in first.stdout
    assert "AR@100 masks" in first.stdout
    assert load_checkpoint(out / "last.pt").training["step"] == 3
    again = deepmask_train(*arguments, "--init", tmp_path / "init.pth")
    assert again.returncode == 2
    assert "continue with --resume" in again.stderr
    longer = trained(*arguments, "--steps", "4", "--resume")
    assert "note:" not in longer.stderr
    assert load_checkpoint(out / "last.pt").training["step"] == 4
    other = deepmask_train(*arguments, "--lr", "0.5", "--resume")
    assert other.returncode == 1
    assert "lr was 0.0006, is 0.5" in other.stderr
    elsewhere = subprocess.run(
        [COMMAND, "--resume", "x", "--steps", "5"],
        cwd=out.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert "note:" not in elsewhere.stderr
    assert load_checkpoint(out / "last.pt").training["step"] == 5
    assert "trained 5 steps" in trained("--resume", out).stdout  # nothing is left to do


def test_resuming_says_what_is_not_as_before(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads(drawn[0].read_text())
    content["annotations"].pop()
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    first = [*data(drawn), *SMALL, "--out", tmp_path / "x", "--precision", "fp32"]
    trained(*first, "--init", "random", "--steps", "1")
    other = ["--train-annotations", tmp_path / "fewer.json"]
    again = trained(*first, *other, "--init", "random", "--steps", "2", "--resume")
    assert "--init has no effect on --resume" in again.stderr
    assert "note: the training annotations have changed" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_say_how_to_go_on(
    drawn: tuple[Path, Path], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    command = [COMMAND, *map(str, data(drawn)), *SMALL, "--steps", "100000"]
    command += ["--init", "random", "--out", str(out), "--log-every", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        for line in job.stdout:
            if line.startswith("step 2/"):
                break
        job.send_signal(number)
        rest, errors = job.communicate(timeout=120)
    assert job.returncode == 128 + number, errors
    assert "continue with --resume" in rest
    assert load_checkpoint(out / "last.pt").training["step"] >= 2
    assert sorted(path.name for path in out.iterdir()) == ["last.pt", "log.csv", "run.json"]


def test_mistakes_and_failures_are_one_line(drawn: tuple[Path, Path], tmp_path: Path) -> None:
    other, missing = tmp_path / "other.pt", tmp_path / "none"
    save_checkpoint(Checkpoint(PRESETS["w112-p3-d21"].config, {}, {}), other)
    start = [*data(drawn), "--preset", "deepmask-r18", "--out", tmp_path / "x"]
    plain, sharp = [*start, "--init", "random"], [*start, "--preset", "sharpmask-r18"]
    cases: dict[str, tuple[int, list[object]]] = {
        "--init is missing": (2, start),
        "--out is missing": (2, [*data(drawn), "--init", "random"]),
        "belong together": (2, [*plain, "--val-images", tmp_path]),
        "negatives is 9": (2, [*plain, "--batch", 9, "--negatives", 9]),
        "negatives is 0, it must be at least 1": (2, [*plain, "--negatives", 0]),
        "random and --from": (2, [*plain, "--from", other]),
        "--from is missing": (2, sharp),
        "--init is for presets that train a trunk": (2, [*sharp, "--init", "random"]),
        "--negatives has no effect": (2, [*sharp, "--negatives", 2]),
        "--freeze-stem has no effect": (2, [*sharp, "--freeze-stem"]),
        "none: no such annotation file": (1, [*plain, "--train-annotations", missing]),
        "no such weights file": (1, [*start, "--init", missing]),
        "x/last.pt: no such checkpoint file": (1, [*start, "--resume"]),
        "x and --out y are two folders": (2, [*data(drawn), "--out", "y", "--resume", "x"]),
        "x: no such folder: give that of a run": (2, ["--resume", tmp_path / "x"]),
        "none: no such checkpoint or model folder": (1, [*sharp, "--from", missing]),
        "patch is 112, not 160; trunk is": (1, [*sharp, "--from", other]),
    }
    for text, (code, arguments) in cases.items():
        result = deepmask_train(*arguments)
        assert result.returncode == code, (text, result.stderr)
        assert text in result.stderr
        assert "Traceback" not in result.stderr
        assert not (tmp_path / "x").exists()
