"""`deepmask-export --build-engine`: plans ahead of time, or why there cannot be any."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deepmask.export import cli, plans, request
from deepmask.export.errors import ExportError, ExportUsageError
from deepmask.export.plans import PlanBuilder, PlanOptions
from deepmask.runtime.engines.base import DeviceError, EngineError
from deepmask.runtime.engines.tensorrt.cuda import Gpu
from deepmask.runtime.engines.tensorrt.flavours import Library
from deepmask.runtime.engines.tensorrt.graphs import view_stage
from deepmask.runtime.engines.tensorrt.plan_cache import PLATFORM
from deepmask.runtime.model.folder import load_manifest

COMMAND = "deepmask-export"

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx is not installed; it is a test dependency on Linux on x86-64",
)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


@needs_rtx
def test_plans_are_built_for_a_gpu_that_is_not_here(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out, cache = tmp_path / "model", tmp_path / "cache"
    target = ("--build-engine", "--target", "sm89")
    done = run(tiny_checkpoint, "--out", out, *target, "--cache", cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"wrote {out}\nplans of tensorrt-rtx " in done.stdout
    assert done.stdout.endswith(f"\nprecision fp32, products in TF32\nplans are in {cache}\n")
    said = [json.loads(path.read_bytes()) for path in cache.glob("*.json")]
    manifest = load_manifest(out)
    own = {*manifest.files().values(), view_stage(manifest)[0].sha256}
    assert {one["graph"] for one in said} == own
    assert {one["compute_capability"] for one in said} == {"8.9"}
    assert {one["platform"] for one in said} == {PLATFORM}
    assert f" for compute capability 8.9, {PLATFORM}\n" in done.stdout
    assert len(list(cache.glob("*.plan"))) == 4

    lines: list[str] = []
    builder = PlanBuilder(PlanOptions(targets=("8.9",), cache=cache))
    builder.build(out, lines.append)
    assert not any("building" in line for line in lines)  # they are there


def test_ctrl_c_in_a_build_leaves_the_model_and_says_so(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def __init__(self, options: PlanOptions) -> None:
            pass

        def build(self, folder: Path, report: object, progress: object) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(request, "PlanBuilder", Interrupted)
    monkeypatch.setattr(request, "export_model", lambda *arguments: None)
    arguments = ["deepmask-export", str(tiny_checkpoint), "--out", "model", "--build-engine"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)  # leave the test's own
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
    said = capsys.readouterr()
    assert said.out == "wrote model\n"
    assert said.err == (
        "Error: interrupted: model is complete, the plans that were done are kept\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "sm89"], "--target is for --build-engine"),
        (["--max-size", "2000"], "--max-size is for --build-engine"),
        (["--cache", "x"], "--cache is for --build-engine"),
        (["--build-engine", "--precision", "int8"], "needs --precision int8-symmetric"),
        (["--build-engine", "--max-size", "64"], "1333<=x<=8192"),
        (["--build-engine", "--engine", "onnxruntime"], "'onnxruntime' is not one of"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str], told: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    done = run(tiny_checkpoint, "--out", tmp_path / "model", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


@needs_rtx
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("sm90", r"--target sm90: .* cannot build for SM90; it can for SM75, "),
        ("volta", r"--target volta: expected a compute capability, as in sm89"),
        ("", r"--target : expected a compute capability"),
    ],
)
def test_targets_that_cannot_be_are_told(target: str, told: str) -> None:
    with pytest.raises(ExportUsageError, match=told):
        PlanBuilder(PlanOptions(targets=(target,)))


def test_targets_are_for_tensorrt_for_rtx() -> None:
    with pytest.raises(ExportUsageError, match="--target is for --engine tensorrt-rtx"):
        PlanBuilder(PlanOptions(flavour="tensorrt", targets=("sm89",)))


def test_without_tensorrt_the_command_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(flavour: str) -> Library:
        raise EngineError(f"{flavour} is not installed: pip install 'deepmask-trt[{flavour}]'")

    monkeypatch.setattr(plans, "load_library", missing)
    with pytest.raises(ExportError) as caught:
        PlanBuilder(PlanOptions())
    assert str(caught.value) == (
        "--build-engine: tensorrt is not installed: pip install 'deepmask-trt[tensorrt]'; "
        "or tensorrt-rtx is not installed: pip install 'deepmask-trt[tensorrt-rtx]'"
    )


@needs_rtx
def test_without_a_gpu_the_way_to_do_without_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise DeviceError("no NVIDIA driver on this machine")

    monkeypatch.setattr(plans, "open_device", missing)
    with pytest.raises(ExportError, match=r"no NVIDIA driver .* --target sm89"):
        PlanBuilder(PlanOptions())


@needs_rtx
def test_a_gpu_that_tensorrt_for_rtx_is_not_for_is_told_before_the_export(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu("NVIDIA H200", "9.0", "12.8")
    monkeypatch.setattr(plans, "open_device", lambda: SimpleNamespace(gpu=gpu, active=None))
    with pytest.raises(ExportError, match=r"^--build-engine: NVIDIA H200 has .* 9\.0: .* SM120"):
        PlanBuilder(PlanOptions(flavour="tensorrt-rtx"))
