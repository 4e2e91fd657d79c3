"""`deepmask-export` as installed: help, errors and a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = shutil.which("deepmask-export", path=str(Path(sys.executable).parent))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert COMMAND is not None
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys, deepmask.export.cli;"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_run_writes_a_model_beside_the_checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copy(tiny_checkpoint, tmp_path / "best.pt")
    runs_by = ["--scales", "-2:0:0.5", "--threshold", "0.3", "--scale-prior", "0.5"]
    done = run(checkpoint, "--weights", "fp16", *runs_by)
    assert (done.returncode, done.stderr) == (0, "")
    assert "334×258" in done.stdout
    assert "Weights rounded to float16" in done.stdout
    assert done.stdout.endswith(f"wrote {tmp_path / 'best'}\n")
    content = json.loads((tmp_path / "best" / "model.json").read_text(encoding="utf-8"))
    assert content["views"]["scales"] == {"start": -2.0, "stop": 0.0, "step": 0.5}
    assert (content["name"], content["threshold"]) == ("best", 0.3)
    assert content["scale_prior"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["absent.pt"], "Error: absent.pt: no such checkpoint file"),
        ([], "Error: Missing argument 'CHECKPOINT|MODEL'"),
        (["a.pt", "--weights", "int4"], "'int4' is not one of 'fp32', 'fp16'"),
        (["a.pt", "--scales", "1:0:0.5"], "expected FROM:TO:STEP, as in -2:1:0.5"),
        (["a.pt", "--scales", "0:nan:1"], "expected FROM:TO:STEP, as in -2:1:0.5"),
        (["a.pt", "--threshold", "1"], "1.0 is not in the range 0<x<1"),
        (["a.pt", "--scale-prior", "nan"], "nan is not a number"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("library", ["torch", "onnxruntime"])
def test_a_missing_library_is_named_with_its_remedy(library: str, tmp_path: Path) -> None:
    (tmp_path / "a.pt").touch()
    code = (
        f"import sys; sys.modules[{library!r}] = None; sys.argv = ['deepmask-export', 'a.pt'];"
        "from deepmask.export.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == f"Error: {library} is not installed: pip install 'deepmask-trt[export]'\n"


def test_a_terminated_export_leaves_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert COMMAND is not None
    command = [COMMAND, str(tiny_checkpoint), "--out", str(tmp_path / "model")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("trunk.onnx")
        assert len(list(tmp_path.iterdir())) == 1
        process.terminate()
        _, error = process.communicate()
    assert process.returncode == 143
    assert error == "Error: interrupted: nothing was written\n"
    assert list(tmp_path.iterdir()) == []
