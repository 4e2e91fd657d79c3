"""`deepmask-doctor`: what it finds, what it says of the rest, and that it never breaks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepmask.runtime.cli import doctor
from deepmask.runtime.doctor import install_hints, system_info
from deepmask.runtime.doctor.system_info import Library
from deepmask.runtime.engines.tensorrt import cuda
from deepmask.runtime.io.checksum import sha256_of

Patch = pytest.MonkeyPatch
COMMAND = str(Path(sys.executable).with_name("deepmask-doctor"))
ON_CPU = ("--engine", "onnxruntime", "--device", "cpu")
CARD = "NVIDIA L4, driver 580.65.06, 20000 MiB of 23034 MiB free"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="names of libraries are Linux's")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)


def test_a_healthy_machine(model_folder: Path) -> None:
    done = run(*ON_CPU, "--model", model_folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line}
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert "for " in found["onnxruntime"]
    assert "CPU" in found["onnxruntime"]
    assert found["model"].endswith(f"{model_folder}, SHA-256 of all files verified")
    assert found["engine"].startswith("onnxruntime ")
    assert found["engine"].endswith(": runs")
    assert len(lines) <= 24  # one screen


@pytest.mark.parametrize(
    ("hash_too", "told"),
    [
        (False, "its SHA-256 is not the one in model.json"),
        (True, "trunk.onnx: onnxruntime cannot load it"),
    ],
)
def test_a_broken_model(model_folder: Path, tmp_path: Path, hash_too: bool, told: str) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "model")
    (copy / "trunk.onnx").write_bytes(b"\x08\x08")  # a model without a graph
    if hash_too:
        content = json.loads((copy / "model.json").read_text(encoding="utf-8"))
        content["stages"][0]["sha256"] = sha256_of(copy / "trunk.onnx")
        (copy / "model.json").write_text(json.dumps(content), encoding="utf-8")
    done = run("--model", copy, *(ON_CPU if hash_too else ()))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "auto cannot run: " in done.stderr or hash_too
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_use_is_one_line_and_exit_code_2() -> None:
    done = run("--engine", "abacus")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'abacus' is not one of 'auto', 'tensorrt', 'tensorrt-rtx', 'openvino', " in done.stderr
    assert done.stderr.count("\n") == 1


Said = Callable[..., list[str]]


@pytest.fixture
def said(monkeypatch: Patch, capsys: pytest.CaptureFixture[str], model_folder: Path) -> Said:
    """What is said where everything but `missing` is installed, and the engine runs."""

    def say(
        *missing: str, providers: str = "CPU", card: str = "", hardware: bool = False
    ) -> list[str]:
        def library(module: str, requirement: str, for_gpu: bool = False) -> Library:
            name = module.partition(".")[0]
            if name in missing:
                return Library(name, "", "not installed", requirement, for_gpu)
            return Library(name, "1.0", "", requirement, for_gpu)

        def shared_library(name: str, *where: object) -> Library:
            there = name not in missing
            return Library(name, "9.1.0" if there else "", "" if there else "not found", "", True)

        found = tuple(f"{name}ExecutionProvider" for name in providers.split())
        cards = ([card], "") if card else ([], "nvidia-smi is not there, so no NVIDIA driver")
        monkeypatch.setattr(system_info, "library", library)
        monkeypatch.setattr(system_info, "shared_library", shared_library)
        monkeypatch.setattr(system_info, "is_there", lambda module: False)
        monkeypatch.setattr(cuda, "may_have_gpu", lambda: hardware)
        monkeypatch.setattr(system_info, "providers", lambda: found)
        monkeypatch.setattr(system_info, "gpus", lambda: cards)
        answer = "onnxruntime 1.0 on CPU\nfirst found"
        monkeypatch.setattr(system_info, "ask", lambda *command: (answer, ""))
        monkeypatch.setattr(sys, "argv", ["deepmask-doctor", "--model", str(model_folder)])
        with pytest.raises(SystemExit) as ended:
            doctor.main()
        assert not ended.value.code
        return capsys.readouterr().out.splitlines()

    return say


def remedies(lines: list[str]) -> list[str]:
    return [line.removeprefix("to get ") for line in lines if line.startswith("to get ")]


def test_what_is_missing_comes_with_its_command(said: Said) -> None:
    missing = ("tensorrt", "pycuda", "tensorrt_rtx", "libnvinfer", "cudnn")
    lines = said(*missing, hardware=True)
    assert "tensorrt     not installed" in lines
    assert "libnvinfer   not found" in lines
    assert "engine       onnxruntime 1.0 on CPU: runs (auto: first found)" in lines
    pip, (driver, *hints) = f"{sys.executable} -m pip", remedies(lines)
    assert driver.startswith("the driver: ")
    assert hints[0].startswith(f"CUDA: {pip} uninstall -y onnxruntime && {pip} install ")
    assert "onnxruntime-gpu[cuda,cudnn]" in hints[0]
    assert hints[2].startswith(f"tensorrt_rtx: {pip} install ")
    assert "tensorrt-rtx" in hints[2]
    named = [line.split(":")[0] for line in hints]
    assert named == ["CUDA", "tensorrt", "tensorrt_rtx", "pycuda"]


def test_without_a_gpu_nothing_for_one_is_missed(said: Said) -> None:
    lines = said("tensorrt", "pycuda", "tensorrt_rtx", "libnvinfer", "cudnn")
    assert remedies(lines) == []
    assert not [line for line in lines if "tensorrt" in line.lower() or "nvinfer" in line]
    hints = remedies(said("tensorrt", "onnxruntime"))
    assert [line.split(":")[0] for line in hints] == ["onnxruntime"]


def test_nothing_is_missing_where_all_is_there(said: Said) -> None:
    lines = said(providers="CUDA CPU", card=CARD)
    assert f"gpu          {CARD}" in lines
    assert "onnxruntime  1.0 for CUDA, CPU" in lines
    assert remedies(lines) == []


def test_cudnn_and_the_driver_are_missed_where_they_would_be_used(said: Said) -> None:
    [remedy] = remedies(said("cudnn", providers="CUDA CPU", card=CARD))
    assert remedy.startswith(f"cudnn: {sys.executable} -m pip install 'onnxruntime-gpu[cuda")
    [remedy] = remedies(said(providers="CUDA", hardware=True))
    assert remedy.startswith("the driver: sudo ubuntu-drivers install")


@pytest.mark.parametrize(("driver", "cuda_of"), [("535.104.05", 12), ("580.65.06", 13)])
def test_tensorrt_is_for_the_drivers_cuda(driver: str, cuda_of: int, monkeypatch: Patch) -> None:
    assert system_info.driver_cuda([f"NVIDIA L4, driver {driver}, 1 MiB of 2 MiB free"]) == cuda_of
    assert system_info.driver_cuda([]) == 0
    monkeypatch.setattr(system_info, "built_for", lambda package: 13)
    there = Library("tensorrt", "11.4.0", "", "tensorrt<12", True)
    hints = list(install_hints.remedies([there], [], gpu=True, driver_cuda=cuda_of))
    if cuda_of == 13:
        assert hints == []
        return
    [exchange] = hints
    assert exchange.startswith("tensorrt is for CUDA 13, the driver for 12; to exchange it: ")
    assert "uninstall -y tensorrt tensorrt-cu13 tensorrt-cu13-libs tensorrt-cu13-b" in exchange
    assert "install 'tensorrt-cu12" in exchange or "install tensorrt-cu12" in exchange
    monkeypatch.setattr(system_info, "built_for", lambda package: 0)
    absent = Library("tensorrt_rtx", "", system_info.ABSENT, "tensorrt-rtx<2", True)
    [hint] = install_hints.remedies([absent], [], gpu=True, driver_cuda=12)
    assert hint.startswith(f"to get tensorrt_rtx: {sys.executable} -m pip install")
    assert "tensorrt-rtx-cu12" in hint


def test_what_does_not_load_is_installed_anew() -> None:
    broken = Library("tensorrt", "", "installed, but does not load: no libnvinfer", "tensorrt<12")
    [remedy] = install_hints.remedies([broken], [], gpu=True)
    assert remedy.endswith("-m pip install --force-reinstall 'tensorrt<12'")


def test_the_cache_is_shown_and_cleared(model_folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    name = "0" * 16 + "-" + "1" * 8
    (cache / f"{name}.plan").write_bytes(b"a plan of a hundred kilobytes" * 3500)
    (cache / f"{name}.json").write_text("{}", encoding="utf-8")
    (cache / "mine.txt").write_text("mine", encoding="utf-8")
    (cache / "lock").write_text("mine, too", encoding="utf-8")
    found = run("--cache", cache, "--engine", "onnxruntime", "--model", model_folder).stdout
    assert f"cache        1 TensorRT plan, 0.1 MB, {cache}\n" in found
    for size in ("0.1", "0.0"):
        done = run("--cache", cache, "--clear-cache")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"removed {size} MB from {cache}\n"
        assert {path.name for path in cache.iterdir()} == {"lock", "mine.txt"}
    done = run("--cache", cache / "mine.txt", "--clear-cache")
    assert (done.returncode, done.stderr) == (0, "")


def test_requirements_are_the_projects_own() -> None:
    assert system_info.requirement("numpy").startswith("numpy")
    assert any(sign in system_info.requirement("numpy") for sign in "<>=")
    assert "<" in system_info.requirement("onnxruntime")
    assert not system_info.requirement("onnxruntime").startswith("onnxruntime-gpu")
    assert system_info.requirement("never-heard-of") == "never-heard-of"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("__version__ = '9.1'", ""),
        ("raise OSError('libnvinfer.so.10: cannot open')", "libnvinfer.so.10: cannot open"),
        ("import os; os.abort()", "crashed (SIGABRT)"),
        ("", "No package metadata was found for pretended-engine"),
    ],
)
def test_tried_at_a_distance(text: str, problem: str, tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "pretended_engine.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = system_info.library("pretended_engine", "pretended-engine")
    assert "pretended_engine" not in sys.modules
    assert found.version == ("" if problem else "9.1")
    assert found.problem.startswith("installed, but does not load: " if problem else "")
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)


def test_a_library_that_does_not_tell_its_version_has_it_from_pip() -> None:
    found = system_info.library("deepmask.runtime.io.rle", "deepmask-trt>=0").version
    assert found == system_info.project_version()


@linux_only
def test_shared_libraries_are_asked_for_their_version(tmp_path: Path, monkeypatch: Patch) -> None:
    ask, wanted = system_info.shared_library, "gnu_get_libc_version"
    assert ask("libc", wanted, ["no.so.1", "libc.so.6"], "no").version.endswith(", libc.so.6")
    absent = ask("cudnn", "cudnnGetVersion", ["no.so.9", "no.so.8"], "click")
    assert (absent.version, absent.problem) == ("", "not found")
    other = ask("cudnn", "cudnnGetVersion", ["libc.so.6"], "click")
    assert other.version == ""
    assert "undefined symbol: cudnnGetVersion" in other.problem
    (tmp_path / "pretended_libs" / "lib").mkdir(parents=True)
    (tmp_path / "pretended_libs" / "lib" / "libc.so.6").write_bytes(b"\x7fELF cut short")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = ask("c", wanted, ["libc.so.6"], "pretended_libs")
    assert broken.version == ""
    assert "pretended_libs/lib/libc.so.6" in broken.problem


def test_an_absent_library_is_not_tried(monkeypatch: Patch) -> None:
    monkeypatch.setattr(system_info, "ask", lambda command: pytest.fail("tried to import it"))
    assert system_info.library("no_such_engine", "x").problem == "not installed"


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: Patch) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_info.gpus() == ([], "nvidia-smi is not there, so no NVIDIA driver")
    tool.touch(0o755)
    for script, found in (
        ("echo 'NVIDIA L4, 580.65.06, 20000 MiB, 23034 MiB'", ([CARD], "")),
        ("echo 'no devices were found'; exit 6", ([], "nvidia-smi: no devices were found")),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        assert system_info.gpus() == found


def test_a_command_that_cannot_be_run_is_a_text() -> None:
    said = "/no/such/command cannot be started (No such file or directory)"
    assert system_info.ask(["/no/such/command"]) == ("", said)
    failing = [sys.executable, "-c", "import sys; sys.exit('a reason')"]
    assert system_info.ask(failing) == ("", "a reason")


def test_a_python_that_cannot_start_another_says_so(monkeypatch: Patch) -> None:
    for executable, frozen, text in (
        ("", False, "does not know its own file"),
        ("/no/such/python", False, "/no/such/python is not there"),
        (sys.executable, True, "this is a frozen program"),
    ):
        monkeypatch.setattr(sys, "executable", executable)
        monkeypatch.setattr(sys, "frozen", frozen, raising=False)
        found = system_info.library("numpy", "numpy")
        assert found.problem.startswith("installed, but was not tried: ")
        assert text in found.problem
